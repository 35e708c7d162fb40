"""A job from admission to its sealed model, in real time, with trainers beside it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.crypto.labels import LAUNCH_STATEMENT
from common.crypto.signing import verify_signature
from common.door_objects import DoorObjects
from common.exchange.clock import RELEASE_SECONDS
from common.exchange.payloads import Figures, StateP, decode_delta
from common.exchange.schedule import REPORT_BYTES, question_ticks
from common.messages.objects import ModelManifest
from common.messages.order import Schedule
from common.messages.signed import open_signed
from common.model_file import decode_model
from common.sealed_object import ObjectKind
from services.paramserver.running import JobRun
from tests.fakes.in_memory_job import LeastSquares, loss_of, make_schedule, rows_for
from tests.fakes.training_world import TrainingWorld, WorldDoor, small_bundle
from tests.fakes.unhurried_time import UNHURRIED

PATIENCE_SECONDS = 100
"""Time waits for this process (tests/fakes/unhurried_time.py): on a busy machine there is less of it."""


def quick(**changes: Any) -> Schedule:
    return make_schedule(**({"tick_milliseconds": 15, "rounds": 4, "warmup_ticks": 30, "reads_per_tick": 2} | changes))


def test_a_job_ends_with_a_sealed_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.paramserver.ending.PERSIST_PAUSE_SECONDS", 0.05)
    world = TrainingWorld(tmp_path, quick(), outages=1)
    ended = world.run()
    assert (ended.outcome, ended.completed, ended.code) == ("finished", True, None)
    assert world.codes == {0: None, 1: None}
    assert world.completed is not None
    assert ended.manifest is not None
    server = world.members["paramserver", 0].signing_public
    manifest = open_signed(ended.manifest, ModelManifest, [server])
    verify_signature(
        server,
        world.completed.statement,
        LAUNCH_STATEMENT,
        b"complete-job",
        world.job_id.encode(),
        b"finished",
        ended.manifest.digest.raw(),
    )
    assert manifest.order == world.order.digest
    last = world.read_reports()[-1]
    assert (last.round, last.outcome, last.rounds_delivered) == (4, "finished", (4, 4))
    payload = DoorObjects(WorldDoor(world)).load(manifest.object, world.keys["model"], ObjectKind.MODEL)
    state_P, weights = decode_model(payload, world.bundle.manifest)
    assert weights == manifest.weights
    assert loss_of(state_P) < 0.2 * loss_of(np.zeros(20, np.float32))
    assert manifest.object.root in world.store.committed


def test_the_owner_reads_reports_of_one_size(tmp_path: Path) -> None:
    world = TrainingWorld(tmp_path, quick())
    world.sandboxes[1] = LeastSquares(fails_in=1, code="provider.killed")
    ended = world.run()
    reports = world.read_reports()
    assert len({len(one.sealed) for one in world.reports}) == 1
    assert len(world.reports[0].sealed) > REPORT_BYTES
    assert [one.sequence for one in reports] == list(range(1, len(reports) + 1))
    last = reports[-1]
    assert (last.outcome, ended.outcome) == ("finished", "finished")
    assert last.codes == ("provider.killed",)
    assert last.loss is not None
    assert last.real_frames > 0
    assert last.dummy_frames > 0
    assert last.refused_frames == 0
    assert reports[0].outcome is None


def test_provider_that_fails_at_once_leaves_the_host_what_it_sees_of_every_job(tmp_path: Path) -> None:
    world = TrainingWorld(tmp_path, quick(rounds=2))
    world.sandboxes = {slot: LeastSquares(fails_in=0) for slot in range(2)}
    ended = world.run()
    assert (ended.outcome, ended.completed, ended.code) == ("finished", True, None)
    assert ended.manifest is not None
    last = world.read_reports()[-1]
    assert (last.outcome, last.codes) == ("failed", ("provider.raised", "provider.raised"))
    down = [size for way, size in world.frames if way == "down"]
    assert len(set(down)) == 1
    assert len(down) <= world.schedule.total_ticks * world.schedule.frames_per_tick


def test_a_cancelled_job_ends_everybody(tmp_path: Path) -> None:
    world = TrainingWorld(tmp_path, quick(rounds=2000))
    world.state = "cancelled"
    ended = world.run()
    assert (ended.outcome, ended.completed) == ("cancelled", True)
    assert world.completed is None
    assert world.codes == {0: None, 1: None}


def test_one_owners_revocation_ends_the_job_of_all_before_its_next_tick(tmp_path: Path) -> None:
    """The broker cancels the job when one of them revokes, and says so at once: lists are asked for each 10 ticks."""
    schedule = quick(rounds=2000, tick_milliseconds=100, warmup_ticks=0, ticks_per_round=100)
    assert question_ticks(schedule) == 10
    world = TrainingWorld(tmp_path, schedule, owners=2)
    for slot in range(2):
        world.start_trainer(slot)
    server = world.start_server()
    ending = world.in_background(server)
    await_rounds(server, 1)
    while world.ticks[-1] % 10 != 1:
        time.sleep(0.005)
    tick, done = world.ticks[-1], rounds_done(server)
    world.state = "cancelled"
    ended = ending.result(PATIENCE_SECONDS)
    assert (ended.outcome, ended.manifest) == ("cancelled", None)
    assert world.ticks[-1] <= tick + 1
    assert rounds_done(server) <= done + 1
    for trainer in world.threads.values():
        trainer.join(PATIENCE_SECONDS)
    assert world.codes == {0: None, 1: None}


def test_jobs_side_by_side_take_nothing_of_each_other(tmp_path: Path) -> None:
    """A host that gives each of two jobs all frames of the other too."""
    schedule = quick(slack_percent=1000, tick_milliseconds=25)  # two jobs of six members in one process
    worlds = [TrainingWorld(tmp_path / str(number), schedule) for number in range(2)]
    for world in worlds:
        for slot in range(2):
            world.start_trainer(slot)
    servers = [world.start_server() for world in worlds]
    for world, other in zip(worlds, reversed(servers), strict=True):
        world.servers.append(other)
    endings = [world.in_background(server) for world, server in zip(worlds, servers, strict=True)]
    for world, ending in zip(worlds, endings, strict=True):
        assert ending.result(PATIENCE_SECONDS).outcome == "finished"
        last = world.read_reports()[-1]
        assert (last.rounds_delivered, last.codes) == ((4, 4), ())
        assert last.refused_frames > 20
        assert last.loss is not None
        assert last.loss < 0.2 * loss_of(np.zeros(20, np.float32))


def test_a_partition_delays_and_corrupts_nothing(tmp_path: Path) -> None:
    """400 ticks on end no frame arrives, at either end: as many as 40 s of a clock of 100 ms."""
    world = TrainingWorld(tmp_path, quick(rounds=12, slack_percent=1000))
    for slot in range(2):
        world.start_trainer(slot)
    server = world.start_server()
    ending = world.in_background(server)
    await_rounds(server, 2)
    world.parted = True
    UNHURRIED.sleep(0.5)  # what had arrived is worked on
    done = rounds_done(server)
    UNHURRIED.sleep(400 * world.schedule.tick_seconds)
    assert rounds_done(server) == done
    world.parted = False
    ended = ending.result(PATIENCE_SECONDS)
    assert ended.outcome == "finished"
    last = world.read_reports()[-1]
    assert (last.round, last.rounds_delivered, last.refused_frames, last.codes) == (12, (12, 12), 0, ())
    assert last.loss is not None
    assert last.loss < 0.2 * loss_of(np.zeros(20, np.float32))


def rounds_done(server: JobRun) -> int:
    return 0 if server._job is None else server._job.rounds.rounds_done


def await_rounds(server: JobRun, count: int) -> None:
    wait_until(lambda: rounds_done(server) >= count)


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_the_owner_reads_of_passes_over_the_data_and_of_several_none_does(tmp_path: Path) -> None:
    alone, joint = (TrainingWorld(tmp_path / str(owners), quick(), owners=owners) for owners in (1, 2))
    for world in (alone, joint):
        assert world.run().outcome == "finished"
    rows = sum(len(rows_for(0)(number)["y"]) for number in range(2))
    seen = 4 * 2 * alone.schedule.steps_per_round * alone.schedule.batch_rows
    last = alone.read_reports()[-1]
    assert last.epochs == seen // rows > 0
    assert last.epoch_loss is not None
    assert {(one.epochs, one.epoch_loss) for one in joint.read_reports()} == {(0, None)}
    chunks = sum(part.chunk_count for data in alone.datasets for part in data.manifest.parts)
    assert last.read_chunks == 2 * chunks, "each trainer reads all of so few, once"
    assert {one.read_chunks for one in joint.read_reports()} == {0}


def test_buffers_of_the_layout_are_told_to_the_optimiser(tmp_path: Path) -> None:
    bundle = small_bundle()
    weight, more = bundle.manifest.layout
    layout = (weight, more.model_copy(update={"buffer": True}))
    bundle = bundle.model_copy(update={"manifest": bundle.manifest.model_copy(update={"layout": layout})})
    world = TrainingWorld(tmp_path, quick(rounds=1), bundle=bundle)
    world.run()
    assert world.servers[0]._job is not None
    assert world.servers[0]._job.context.buffers == (slice(18, 20),)


def test_a_later_launch_supersedes_this_one_and_begins_anew(tmp_path: Path) -> None:
    world = TrainingWorld(tmp_path, quick(rounds=3))
    for slot in range(2):
        world.start_trainer(slot)
    first = world.in_background(world.start_server())
    assert world.spoke.wait(PATIENCE_SECONDS)
    second = world.in_background(world.start_server())
    assert first.result(PATIENCE_SECONDS).outcome == "superseded"
    assert not first.result().completed
    ended = second.result(PATIENCE_SECONDS)
    assert (ended.outcome, ended.completed) == ("finished", True)
    assert ended.manifest is not None
    manifest = ModelManifest.decode(ended.manifest.payload)
    assert [record.attempt for record in manifest.members] == [1, 1]
    assert world.read_reports()[-1].rounds_delivered == (3, 3)


def test_a_job_that_the_host_gives_up_is_not_completed(tmp_path: Path) -> None:
    world = TrainingWorld(tmp_path, quick(rounds=500))
    world.start_trainer(0)
    server = world.start_server()
    ending = world.in_background(server)
    server.close()
    ended = ending.result(PATIENCE_SECONDS)
    assert (ended.outcome, ended.completed, ended.code) == ("failed", False, "unavailable.enclave")
    assert world.completed is None
    world.state = "failed"


@pytest.mark.parametrize("damage", ["tamper", "remove"])
def test_damaged_data_is_told_to_the_owner_and_changes_no_schedule(tmp_path: Path, damage: str) -> None:
    world = TrainingWorld(tmp_path, quick(rounds=2))
    root = world.datasets[1].manifest.parts[0].root
    if damage == "tamper":
        leaf = world.store.leaves[root, 2]
        world.store.leaves[root, 2] = leaf[:-1] + bytes([leaf[-1] ^ 1])
    else:
        del world.store.leaves[root, 2]
    ended = world.run()
    assert (ended.outcome, ended.code) == ("finished", None)
    expected = {"tamper": "authenticity.sealed_object", "remove": "not_found.object"}[damage]
    last = world.read_reports()[-1]
    assert (last.outcome, last.codes) == ("failed", (expected, expected))


def test_a_trainer_without_a_parameter_server_gives_its_slot_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.trainer_enclave.running.SERVER_SECONDS", 0.5)
    world = TrainingWorld(tmp_path, quick(), trainers=1)
    world.start_trainer(0)
    world.threads[0].join(PATIENCE_SECONDS)
    assert world.codes == {0: "unavailable.enclave"}


def test_a_slot_that_was_taken_over_ends(tmp_path: Path) -> None:
    world = TrainingWorld(tmp_path, quick(rounds=2), trainers=1)
    world.start_trainer(0)
    while ("trainer", 0) not in world.members:
        world.spoke.wait(0.01)
    first = world.threads[0]
    world.start_trainer(0)
    first.join(PATIENCE_SECONDS)
    assert world.codes == {0: "freshness.attempt"}
    world.state = "cancelled"


def test_leases_are_renewed_while_a_job_runs(tmp_path: Path) -> None:
    world = TrainingWorld(tmp_path, quick(), lease_seconds=3)
    assert world.run().outcome == "finished"
    assert world.renewals >= 3, "two trainers and the parameter server"


@pytest.mark.parametrize("code", ["policy.revoked", "appraisal.tcb_status"])
def test_a_lease_that_is_refused_ends_everybody_without_a_model(tmp_path: Path, code: str) -> None:
    world = TrainingWorld(tmp_path, quick(rounds=500), lease_seconds=1, refuses_renewal=code)
    ended = world.run()
    assert (ended.outcome, ended.completed, ended.code) == ("failed", False, code)
    assert world.codes == {0: code, 1: code}
    assert world.completed is None
    assert world.store.committed == []


def test_a_host_that_keeps_every_later_word_back_gains_one_lease(tmp_path: Path) -> None:
    world = TrainingWorld(tmp_path, quick(rounds=500), lease_seconds=2)
    for slot in range(2):
        world.start_trainer(slot)
    ending = world.in_background(world.start_server())
    assert world.spoke.wait(PATIENCE_SECONDS)
    world.holding = True
    ended = ending.result(PATIENCE_SECONDS)
    assert (ended.outcome, ended.completed, ended.code) == ("failed", False, "freshness.lease")
    for thread in world.threads.values():
        thread.join(PATIENCE_SECONDS)
    assert world.codes == {0: "freshness.lease", 1: "freshness.lease"}
    assert world.store.committed == []


def test_no_model_is_sealed_without_the_broker_s_word_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job was cancelled, the host lets nobody hear it and lets the schedule run to its end."""
    monkeypatch.setattr("services.paramserver.ending.PERSIST_PAUSE_SECONDS", 0.05)
    world = TrainingWorld(tmp_path, quick(rounds=2), lease_seconds=2 * PATIENCE_SECONDS)  # no lease ends it
    for slot in range(2):
        world.start_trainer(slot)
    ending = world.in_background(world.start_server())
    assert world.spoke.wait(PATIENCE_SECONDS)
    world.holding, world.state = True, "cancelled"
    wait_until(lambda: world.schedule.total_ticks - 1 in world.ticks)
    UNHURRIED.sleep(3 * RELEASE_SECONDS)  # a model would leave at the second release
    assert not ending.done()
    assert world.store.committed == []
    world.holding = False
    ended = ending.result(PATIENCE_SECONDS)
    assert (ended.outcome, ended.manifest) == ("cancelled", None)
    assert world.store.committed == []


@pytest.mark.parametrize("least", [(), (3, 2), (2, 3), (3, 3)])
def test_no_model_is_made_without_the_part_that_each_owner_states(tmp_path: Path, least: tuple[int, ...]) -> None:
    """One owner's trainer delivers two rounds and fails. The host sees a model either way; here it knows nothing."""
    enough = least in {(), (3, 2)}
    world = TrainingWorld(tmp_path, quick(), owners=2, minimal_rounds=least)
    world.sandboxes[1] = LeastSquares(fails_in=2, code="provider.killed")
    ended = world.run()
    assert (ended.outcome, ended.completed) == ("finished", True)
    assert ended.manifest is not None
    last = world.read_reports()[-1]
    assert last.rounds_delivered == (4, 2)
    manifest = ModelManifest.decode(ended.manifest.payload)
    payload = DoorObjects(WorldDoor(world)).load(manifest.object, world.keys["model"], ObjectKind.MODEL)
    state_P, _ = decode_model(payload, world.bundle.manifest)
    assert last.outcome == ("finished" if enough else "failed")
    assert bool(state_P.any()) == enough


def test_without_enough_trainers_no_round_counts_and_there_is_no_model(tmp_path: Path) -> None:
    world = TrainingWorld(tmp_path, quick(rounds=2), minimal_trainers=2)
    world.sandboxes[1] = LeastSquares(fails_in=0, code="provider.killed")
    ended = world.run()
    assert (ended.outcome, ended.completed) == ("finished", True)
    assert ended.manifest is not None
    last = world.read_reports()[-1]
    assert (last.outcome, last.round, last.codes) == ("failed", 0, ("provider.killed",))
    assert (last.members_live, last.members_needed) == (1, 2)
    manifest = ModelManifest.decode(ended.manifest.payload)
    payload = DoorObjects(WorldDoor(world)).load(manifest.object, world.keys["model"], ObjectKind.MODEL)
    assert not decode_model(payload, world.bundle.manifest)[0].any()


def test_a_model_of_one_owner_alone_is_not_had_by_keeping_the_others_trainer_away(tmp_path: Path) -> None:
    world = TrainingWorld(tmp_path, quick(), owners=2)
    world.sandboxes[1] = LeastSquares(fails_in=0)
    ended = world.run()
    assert ended.manifest is not None
    assert {report.outcome for report in world.read_reports() if report.outcome} == {"failed"}
    manifest = ModelManifest.decode(ended.manifest.payload)
    payload = DoorObjects(WorldDoor(world)).load(manifest.object, world.keys["model"], ObjectKind.MODEL)
    assert not decode_model(payload, world.bundle.manifest)[0].any()


def test_deltas_count_by_the_rows_that_their_owner_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two owners with a trainer each, one with twice as many rows: as in federated averaging (McMahan et al. 2017)."""
    weights: set[int] = set()

    def watched(payload: bytes | bytearray | memoryview, state_class: int) -> tuple[StateP, Figures]:
        delta_P, figures = decode_delta(payload, state_class)
        weights.add(figures.rows)
        return delta_P, figures

    monkeypatch.setattr("services.paramserver.aggregation.decode_delta", watched)
    few, many = rows_for(0)(0), rows_for(0)(1)
    few = {name: column[:64] for name, column in few.items()}
    TrainingWorld(tmp_path, quick(rounds=2), owners=2, columns=(few, many)).run()
    assert weights == {64, 128}
    TrainingWorld(tmp_path, quick(rounds=2), columns=(few, many)).run()
    assert weights == {64, 96, 128}, "all slots of one owner share its rows evenly"
