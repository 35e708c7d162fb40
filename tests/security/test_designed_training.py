"""Design code in the real engine, its design in the real sandbox: what it can't do, and that nothing of it shows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.door_objects import DoorObjects
from common.job_design import open_design
from common.messages.objects import ModelManifest
from common.messages.order import Schedule
from common.model_file import decode_document, decode_model
from common.sandbox.native import NativeQuerySandbox
from common.sealed_object import ObjectKind
from tests.fakes.breast_cancer import example_bundle, example_design, small_component, table
from tests.fakes.in_memory_job import make_schedule
from tests.fakes.training_world import TrainingWorld, WorldDoor
from tests.fakes.wasm_components import answering, component, designing, steering

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


@pytest.mark.timeout(120)
def test_what_design_code_designed_is_trained_sealed_and_answers(tmp_path: Path) -> None:
    world = world_of(tmp_path, small_component(ROWS))
    ended = world.run()
    last = world.read_reports()[-1]
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


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_design_ends_as_a_note_in_a_job_like_any_other(tmp_path: Path, name: str) -> None:
    code, allowed = HOSTILE[name]
    world = world_of(tmp_path, code, rounds=2, warmup_ticks=60)
    ended = world.run()
    last = world.read_reports()[-1]
    assert (ended.outcome, ended.code, last.outcome, len(last.codes)) == ("finished", None, "failed", 2)
    assert set(last.codes) <= set(allowed)
    assert {size for way, size in world.frames if way == "up"} == {world.schedule.frame_bytes}
    assert ended.manifest is not None
    learned = ModelManifest.decode(ended.manifest.payload).object.chunk_count
    assert learned == 1


@pytest.mark.timeout(120)
def test_code_that_traps_while_it_steers_ends_as_a_note(tmp_path: Path) -> None:
    world = world_of(tmp_path, component(design=answering(example_design(ROWS)), after=steering("unreachable")))
    world.run()
    last = world.read_reports()[-1]
    assert (last.outcome, last.codes, last.round) == ("finished_short", ("provider.raised", "provider.raised"), 1)
