"""Data that no trainer can keep: what it asks for is the walk on the job's clock, whatever data and code are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.data_shares import share_of
from common.identifiers import Digest
from common.sandbox.protocol import RoundOutcome
from services.trainer_enclave.walking import Walk
from tests.fakes.in_memory_job import FEATURES, LeastSquares, loss_of, make_schedule
from tests.fakes.training_world import TrainingWorld

ROWS = 25_000
READS = 8
SCHEDULE = make_schedule(
    tick_milliseconds=25, rounds=5, warmup_ticks=120, ticks_per_round=8, steps_per_round=8, batch_rows=16,
    reads_per_tick=READS,
)  # fmt: skip


def columns(seed: int) -> dict[str, np.ndarray]:
    """y = x w, with the weights of every other test."""
    true_F = np.random.default_rng(5).normal(size=FEATURES).astype(np.float32)
    x = np.random.default_rng(seed).normal(size=(ROWS, FEATURES)).astype(np.float32)
    return {"x": x, "y": (x @ true_F).astype(np.float32)}


def large_world(directory: Path, seed: int = 1, **changes: Any) -> TrainingWorld:
    world = TrainingWorld(directory, SCHEDULE, columns=(columns(seed), columns(seed + 1)), chunk_bytes=2048, **changes)
    for slot in range(2):
        assert not share_of(chunk_counts(world), slot, 2).kept
    return world


def chunk_counts(world: TrainingWorld) -> list[int]:
    return [one.manifest.parts[0].chunk_count for one in world.datasets]


def ticks_read(world: TrainingWorld, slot: int) -> list[int]:
    """The ticks whose reads a slot made. Fails where it asked for anything else."""
    roots, asked = [one.manifest.parts[0].root for one in world.datasets], world.asked[slot]
    before = [(world.publication.object.root, leaf) for leaf in range(world.publication.object.chunk_count + 1)]
    before += [(root, leaf) for leaf in (0, 1) for root in roots]
    assert asked[: len(before)] == before
    walk = Walk(share_of(chunk_counts(world), slot, 2), world.keys["seed"], slot)

    def reads(tick: int) -> list[tuple[Digest, int]]:
        places = [walk.at(position) for position in range(tick * READS, (tick + 1) * READS)]
        return [(roots[unit.part], unit.first_chunk + chunk + 1) for _, unit, chunk in places]

    walked, told = asked[len(before) :], list[int]()
    for at in range(0, len(walked) - READS, READS):  # the last tick may have been cut by the end
        later = range(told[-1] + 1 if told else 0, SCHEDULE.total_ticks)
        told.append(next(tick for tick in later if reads(tick) == walked[at : at + READS]))
    return told


class Hanging(LeastSquares):
    """Code that is at work for longer than its job."""

    def run_round(self, *arguments: Any, **named: Any) -> RoundOutcome:
        del arguments, named
        return RoundOutcome(code="provider.timeout")


WAYS = {"trains": LeastSquares, "fails at once": lambda: LeastSquares(fails_in=0), "times out": Hanging}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_asked_for_is_the_walk_whatever_code_does(tmp_path: Path, way: str) -> None:
    world = large_world(tmp_path, seed=len(way))
    world.sandboxes = {slot: WAYS[way]() for slot in range(2)}
    ended = world.run()
    assert (ended.outcome, ended.completed, ended.code) == ("finished", True, None)
    last = world.read_reports()[-1]
    assert last.outcome == ("finished" if way == "trains" else "failed")
    for slot in range(2):
        ticks = ticks_read(world, slot)
        assert len(ticks) > 0.7 * SCHEDULE.total_ticks, "reads go on until the schedule ends"
        assert ticks[-1] >= SCHEDULE.total_ticks - 10


def test_large_data_are_learned_from(tmp_path: Path) -> None:
    world, seen, ends = large_world(tmp_path), list[dict[str, np.ndarray]](), list[Any]()
    known = {row.tobytes() for seed in (1, 2) for row in columns(seed)["x"]}

    class Watching(LeastSquares):
        def run_round(self, state_P: Any, rows: Any, *arguments: Any, **named: Any) -> RoundOutcome:
            seen.append(rows)
            outcome = super().run_round(state_P, rows, *arguments, **named)
            ends.append(outcome.state_P)
            return outcome

    world.sandboxes = {slot: Watching() for slot in range(2)}
    assert world.run().outcome == "finished"
    assert min(world.read_reports()[-1].rounds_delivered) >= 3, "each was there for some"
    trained = [row.tobytes() for rows in seen for row in rows["x"]]
    assert set(trained) <= known
    assert len(trained) == len(seen) * 128
    assert len(set(trained)) > 0.8 * len(trained)
    assert loss_of(ends[-1]) < 0.2 * loss_of(np.zeros(FEATURES, np.float32))


def test_a_false_chunk_is_a_note_and_not_an_early_end(tmp_path: Path) -> None:
    world = large_world(tmp_path)
    root = world.datasets[0].manifest.parts[0].root
    leaf = world.store.leaves[root, 20]
    world.store.leaves[root, 20] = leaf[:-1] + bytes([leaf[-1] ^ 1])
    ended = world.run()
    assert (ended.outcome, ended.completed, ended.code) == ("finished", True, None)
    assert "authenticity.sealed_object" in world.read_reports()[-1].codes
    for slot in range(2):
        assert ticks_read(world, slot)[-1] >= SCHEDULE.total_ticks - 10


def test_an_object_swapped_for_another_of_its_owner_is_a_note(tmp_path: Path) -> None:
    """Both data sets' chunks are genuine; only the order in which they stand under the roots is the host's."""
    world = large_world(tmp_path)
    first, second = (one.manifest.parts[0] for one in world.datasets)
    assert first.chunk_count == second.chunk_count
    for leaf in range(first.chunk_count + 1):
        world.store.leaves[first.root, leaf] = world.store.leaves[second.root, leaf]
    assert world.run().outcome == "finished"
    last = world.read_reports()[-1]
    assert (last.outcome, set(last.codes)) == ("failed", {"authenticity.sealed_object"})
