"""A parameter server that is killed: the next launch goes on from the newest checkpoint, and from no other."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.messages.checkpoint import Checkpoint
from common.messages.objects import ObjectRef
from common.messages.order import Schedule
from common.sealed_object import CHUNK_BYTES
from common.sealed_object.layout import size_class
from services.paramserver.checkpoint import checkpoint_bytes
from tests.fakes.in_memory_job import LeastSquares, make_schedule
from tests.fakes.training_world import TrainingWorld

EVERY = 10


def often(**changes: Any) -> Schedule:
    fields = {"tick_milliseconds": 15, "rounds": 12, "warmup_ticks": 30, "reads_per_tick": 2, "checkpoint_ticks": EVERY}
    return make_schedule(**(fields | changes))


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def begun(world: TrainingWorld) -> None:
    """Trainers, and a first parameter server that has kept a few checkpoints with rounds in them, then is killed."""
    for slot in range(world.trainers):
        world.start_trainer(slot)
    server = world.start_server()
    ending = world.in_background(server)
    wait_until(lambda: any(report.round >= 3 for report in world.read_reports()))
    kept = len(world.kept)
    wait_until(lambda: len(world.kept) > kept)
    server.close()
    assert not ending.result(30.0).completed
    world.servers.clear()


def test_a_later_launch_goes_on_from_the_newest_checkpoint(tmp_path: Path) -> None:
    world = TrainingWorld(tmp_path, often())
    begun(world)
    assert world.checkpoint is not None
    tick, reports = world.checkpoint.tick, len(world.reports)
    ended = world.start_server().run()
    assert (ended.outcome, ended.completed, ended.code) == ("finished", True, None)
    later = world.read_reports()[reports:]
    assert tick < later[0].tick <= tick + world.schedule.ticks_per_round + EVERY
    assert later[0].round >= 1, "it did not begin anew"
    assert later[-1].outcome == "finished"
    assert later[-1].rounds_delivered == (12, 12)
    assert world.codes == {0: None, 1: None} or set(world.codes.values()) <= {None}


def test_one_is_kept_after_every_so_many_ticks_of_one_size(tmp_path: Path) -> None:
    """Also before there is a state, and when the provider's code fails at once."""
    worlds = [TrainingWorld(tmp_path / name, often(rounds=3)) for name in ("trains", "fails")]
    worlds[1].sandboxes = {slot: LeastSquares(fails_in=0) for slot in range(2)}
    chunks = size_class(checkpoint_bytes(worlds[0].schedule, 2), CHUNK_BYTES)
    for world in worlds:
        assert world.run().completed
        due = [tick for tick in range(world.schedule.total_ticks) if world.schedule.has_checkpoint(tick)]
        ticks = [one.tick for one in world.kept]
        assert set(ticks) <= set(due)
        assert len(ticks) >= len(due) - 2, "a busy machine may leave one out"
        assert {one.object.chunk_count for one in world.kept} == {chunks}
        assert world.told_kept == [one.object.root for one in world.kept]


def test_a_checkpoint_that_the_host_has_lost_ends_the_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.paramserver.ending.PERSIST_SECONDS", 0.0)
    world = TrainingWorld(tmp_path, often())
    begun(world)
    assert world.checkpoint is not None
    del world.store.leaves[world.checkpoint.object.root, 1]
    ended = world.start_server().run()
    assert (ended.outcome, ended.completed, ended.code) == ("failed", False, "not_found.object")
    world.state = "failed"


@pytest.mark.parametrize("relabelled", [True, False])
def test_an_older_checkpoint_is_not_taken_for_the_newest(tmp_path: Path, relabelled: bool) -> None:
    """The broker's word names one object. A host that serves another's leaves for it, or a broker's word that was put
    together of two, opens nothing."""
    world = TrainingWorld(tmp_path, often())
    begun(world)
    older, newest = world.kept[0], world.kept[-1]
    assert older != newest
    if relabelled:
        world.checkpoint = Checkpoint(attempt=1, tick=newest.tick, object=older.object)
    else:
        for leaf in range(newest.object.chunk_count + 1):
            world.store.leaves[newest.object.root, leaf] = world.store.leaves[older.object.root, leaf]
    ended = world.start_server().run()
    assert (ended.completed, ended.code) == (False, "authenticity.sealed_object")
    world.state = "failed"


@pytest.mark.parametrize(
    "changes", [{"attempt": 2}, {"attempt": 3}, {"tick": EVERY + 1}, {"tick": 0}, {"tick": 1 << 20}]
)
def test_one_that_this_launch_cant_have_is_refused(tmp_path: Path, changes: dict[str, int]) -> None:
    world = TrainingWorld(tmp_path, often())
    begun(world)
    assert world.checkpoint is not None
    world.checkpoint = world.checkpoint.model_copy(update=changes)
    ended = world.start_server().run()
    assert (ended.completed, ended.code) == (False, "appraisal.binding")
    world.state = "failed"


def test_an_object_reference_names_its_size(tmp_path: Path) -> None:
    world = TrainingWorld(tmp_path, often())
    begun(world)
    assert world.checkpoint is not None
    kept = world.checkpoint.object
    other = ObjectRef(root=kept.root, chunk_count=kept.chunk_count + 1)
    world.checkpoint = world.checkpoint.model_copy(update={"object": other})
    assert not world.start_server().run().completed
    world.state = "failed"
