"""Design code in the real engine, its design in the real sandbox: what it can't do, and that nothing of it shows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.bundle import BundleContents
from common.data_shares import SAMPLE_UNITS, share_of
from common.door_objects import DoorObjects
from common.job_design import open_design
from common.messages.objects import ModelManifest
from common.messages.order import Schedule
from common.messages.policy import JobReport
from common.messages.training_door import JobEnded
from common.model_file import decode_document, decode_model
from common.refused_calls import NONE_REFUSED
from common.sandbox.native import NativeQuerySandbox
from common.sandbox.protocol import RoundMetrics, RoundOutcome, Rows, StateP
from common.sandboxed.wire import PLAIN_COURSE, Course
from common.sealed_object import ObjectKind
from services.trainer_enclave.provider_work import Starts
from tests.fakes.breast_cancer import example_bundle, example_design, small_component, table
from tests.fakes.in_memory_job import make_schedule
from tests.fakes.training_world import TrainingWorld, WorldDoor
from tests.fakes.wasm_components import answering, component, designing, quoted, steering

pytestmark = pytest.mark.integration

TRAIN, HELD = table()
ROWS = len(TRAIN["label"])


def schedule(**changes: Any) -> Schedule:
    fields = {
        "tick_milliseconds": 40, "rounds": 8, "steps_per_round": 20, "batch_rows": 32, "ticks_per_round": 10,
        "warmup_ticks": 300, "frame_bytes": 16384, "reads_per_tick": 4, "state_class": 20480,
    }  # fmt: skip
    return make_schedule(**(fields | changes))


def world_of(directory: Path, code: bytes, **changes: Any) -> TrainingWorld:
    return TrainingWorld(directory, schedule(**changes), columns=(TRAIN,), bundle=example_bundle(code))


PATIENCE = (1, 2, 5)
"""Times the ticks of a schedule, in turn, where the machine was too busy for it."""


def more(times: int, warmup_ticks: int = 300, ticks_per_round: int = 10) -> dict[str, int]:
    return {"warmup_ticks": times * warmup_ticks, "ticks_per_round": times * ticks_per_round}


def is_whole(report: JobReport) -> bool:
    """Whether no round was late."""
    return report.outcome == "finished" and not report.codes


def is_told_by_both(report: JobReport) -> bool:
    """Whether each trainer said in time what became of the code."""
    return len(report.codes) == 2


def ran_in_time(
    make: Callable[[int], TrainingWorld], had_time: Callable[[JobReport], bool]
) -> tuple[TrainingWorld, JobEnded, JobReport]:
    """A job, and again, twice at most and with more time each time, where the machine was too busy for its schedule."""
    for patience in PATIENCE:
        world = make(patience)
        ended = world.run()
        last = world.read_reports()[-1]
        if had_time(last):
            break
    return world, ended, last


@pytest.mark.timeout(300)
def test_what_design_code_designed_is_trained_sealed_and_answers(tmp_path: Path) -> None:
    code = small_component(ROWS)
    world, ended, last = ran_in_time(lambda times: world_of(tmp_path / str(times), code, **more(times)), is_whole)
    assert (ended.outcome, last.outcome, last.codes, last.rounds_delivered) == ("finished", "finished", (), (8, 8))
    assert ended.manifest is not None
    manifest = ModelManifest.decode(ended.manifest.payload)
    payload = DoorObjects(WorldDoor(world)).load(manifest.object, world.keys["model"], ObjectKind.MODEL)
    state_P, weights = decode_model(payload, world.bundle.manifest)
    document = decode_document(payload, world.bundle.manifest)
    assert (weights, document.decode()) == (manifest.weights, example_design(ROWS))
    served = open_design(document, world.bundle.manifest, manifest.schedule)
    sandbox = NativeQuerySandbox.start(served, state_P[: served.manifest.state_count], seed=1)
    try:
        answers = [sandbox.answer(HELD["features"][at : at + 16], 20.0).answer_NA for at in range(0, 160, 16)]
    finally:
        sandbox.close()
    told = np.concatenate([one for one in answers if one is not None]).argmax(axis=1)
    assert (told == HELD["label"][:160]).mean() > 0.9


HOSTILE = {
    "no design": (component(design=answering("{}")), ("format.design", "provider.output")),
    "a trap": (component(design=designing("unreachable")), ("provider.raised",)),
    "an endless loop": (component(design=designing("(loop $l (br $l)) unreachable")), ("provider.timeout",)),
    "no component": (b"nothing", ("provider.import",)),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_design_ends_as_a_note_in_a_job_like_any_other(tmp_path: Path, name: str) -> None:
    code, allowed = HOSTILE[name]
    world, ended, last = ran_in_time(
        lambda times: world_of(tmp_path / str(times), code, rounds=2, warmup_ticks=60 * times), is_told_by_both
    )
    assert (ended.outcome, ended.code, last.outcome, len(last.codes)) == ("finished", None, "failed", 2)
    assert set(last.codes) <= set(allowed)
    assert {size for way, size in world.frames if way == "up"} == {world.schedule.frame_bytes}
    assert ended.manifest is not None
    learned = ModelManifest.decode(ended.manifest.payload).object.chunk_count
    assert learned == 1


@pytest.mark.timeout(300)
def test_code_that_traps_while_it_steers_ends_as_a_note(tmp_path: Path) -> None:
    code = component(design=answering(example_design(ROWS)), after=steering("unreachable"))
    _, _, last = ran_in_time(lambda times: world_of(tmp_path / str(times), code, **more(times)), is_told_by_both)
    assert (last.outcome, last.codes, last.round) == ("finished_short", ("provider.raised", "provider.raised"), 1)


WAYS = ("designs", "traps", "nonsense", "stops")
"""By the rows that the profile tells, modulo 4."""


def obedient() -> bytes:
    """Design code that does what the data say, by the number of rows: the deliberate sender of the threat model."""
    text = answering(example_design(ROWS)).split("(func", 1)[0]
    designs = f"""
      (global $way (mut i32) (i32.const 0))
      (data (i32.const 528) {quoted((1024).to_bytes(4, "little") + (1).to_bytes(4, "little"))})
      (data (i32.const 832) {quoted(bytes([2]))})
      (func (export "design") (param i32) (result i32)
        (global.set $way (i32.and (i32.wrap_i64 (i64.load (local.get 0))) (i32.const 3)))
        (if (i32.eq (global.get $way) (i32.const 1)) (then unreachable))
        (select (i32.const 528) (i32.const 512) (i32.eq (global.get $way) (i32.const 2))))
    """
    stops = "(select (i32.const 832) (i32.const 768) (i32.eq (global.get $way) (i32.const 3)))"
    return component(design=text + designs, after=steering(stops))


class Still:
    """Trains nothing, at once: torch would only take time here, of which a busy machine has too little."""

    refused_calls = NONE_REFUSED

    def __init__(self, contents: BundleContents) -> None:
        self._state_P = np.zeros(contents.manifest.state_count, np.float32)

    def initial_state(self, deadline_seconds: float) -> RoundOutcome:
        """Zeros."""
        assert deadline_seconds > 0
        return RoundOutcome(self._state_P, RoundMetrics(0, 0.0, 0.0))

    def run_round(
        self,
        state_P: StateP,
        rows: Rows,
        steps: int,
        batch: int,
        deadline_seconds: float,
        course: Course = PLAIN_COURSE,
    ) -> RoundOutcome:
        """As before."""
        assert (len(rows["label"]), course.learning_rate, deadline_seconds > 0) == (steps * batch, 1.0, True)
        return RoundOutcome(state_P, RoundMetrics(steps, 1.0, 1.0))

    def close(self) -> None:
        """Nothing to end."""


@pytest.mark.timeout(300)
def test_design_code_is_told_of_a_sample_where_data_are_large_and_all_trainers_agree(tmp_path: Path) -> None:
    """Each trainer reads another part of the rows; a design that hung on that would be another one at each."""
    large = {name: np.tile(values, (25, *[1] * (values.ndim - 1))) for name, values in TRAIN.items()}
    rows = len(large["label"])
    fields = {"reads_per_tick": 8, "rounds": 4, "slack_percent": 300}

    def make(times: int) -> TrainingWorld:
        planned = schedule(**fields, **more(times, warmup_ticks=200, ticks_per_round=20))
        bundle = example_bundle(small_component(rows))
        return TrainingWorld(tmp_path / str(times), planned, columns=(large,), bundle=bundle, chunk_bytes=1024)

    world, ended, last = ran_in_time(make, is_whole)
    parts = [one.chunk_count for data in world.datasets for one in data.manifest.parts]
    assert not any(share_of(parts, slot, 2).kept for slot in range(2))
    assert (ended.outcome, last.outcome, last.codes) == ("finished", "finished", ())
    assert min(last.rounds_delivered) >= 2, "both train one design"
    root = world.datasets[0].manifest.parts[0].root
    first = [[leaf for place, leaf in world.asked[slot] if place == root][: 2 + SAMPLE_UNITS * 8] for slot in range(2)]
    assert first[0] == first[1]


class StillWorld(TrainingWorld):
    """A world in which designs are real, and training is not."""

    def starts(self, slot: int) -> Starts:
        """The real design code."""
        assert slot in (0, 1)
        return Starts(sandbox=lambda contents, *_: Still(contents))


@dataclass(frozen=True)
class Told:
    """What the host of one job was given."""

    ended: tuple[str, str | None]
    frame_bytes: set[tuple[str, int]]
    reports: set[int]
    model_chunks: int
    leaves: list[int]


@pytest.mark.timeout(240)
def test_a_host_is_told_the_same_whatever_the_data_have_design_code_do(tmp_path: Path) -> None:
    """Clocks are this busy machine's, so frames are compared by size; in test_designed_job each one is, by its tick."""
    seen, owners = {}, {}
    for way, name in enumerate(WAYS):
        columns = {key: values[: ROWS - 4 + way] for key, values in TRAIN.items()}
        world = StillWorld(
            tmp_path / name, schedule(rounds=4, warmup_ticks=120), columns=(columns,), bundle=example_bundle(obedient())
        )
        ended = world.run()
        last = world.read_reports()[-1]
        owners[name] = set(last.codes)
        assert ended.manifest is not None
        chunks = ModelManifest.decode(ended.manifest.payload).object.chunk_count
        sizes = sorted(len(leaf) for leaf in world.store.leaves.values())
        reports = {len(one.sealed) for one in world.reports}
        seen[name] = Told((ended.outcome, ended.code), set(world.frames), reports, chunks, sizes)
    assert owners == {
        "designs": set(), "traps": {"provider.raised"}, "nonsense": {"provider.output"}, "stops": {"provider.stopped"},
    }  # fmt: skip
    assert all(one == seen["designs"] for one in seen.values())
