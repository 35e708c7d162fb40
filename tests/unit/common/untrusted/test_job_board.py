"""The job board: idempotent acceptance, all-or-none reservation, leases, ends."""

import threading
from pathlib import Path

import pytest

from common.errors import ConflictError, NotFoundError
from common.identifiers import Digest, JobId, ModelId, PartyKey
from common.messages.base import MAX_MESSAGE_BYTES
from common.messages.service import JobReports, ReportView
from common.untrusted.database import Database
from common.untrusted.job_board import JobBoard, NewJob
from common.untrusted.slot_board import LIVE_SECONDS, MAX_CLAIMS, PARAMSERVER, TRAINER, Lease, Slot

OWNER = PartyKey("a1" * 32)
STRANGER = PartyKey("b2" * 32)


class Clock:
    def __init__(self) -> None:
        self.at = 1_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(database_url: str, clock: Clock) -> JobBoard:
    return JobBoard(Database(database_url), now=clock)


def job_id(number: int) -> JobId:
    return JobId(f"job_{number:032x}")


def submit(board: JobBoard, number: int, *, trainers: int = 2, not_after: int = 2_000_000) -> JobId:
    new = NewJob(job_id(number), b"order %d" % number, [OWNER], trainers, not_after, "simulation")
    assert board.submit(new)
    return new.job_id


def test_an_order_is_put_on_the_board_once(board: JobBoard) -> None:
    job = submit(board, 1)
    again = NewJob(job, b"order 1", [OWNER], 2, 2_000_000, "simulation")
    assert not board.submit(again)
    assert board.order(job) == b"order 1"
    assert [one.kind for one in board.events(job)] == ["accepted"]


def test_a_foreign_job_is_as_unknown_as_none(board: JobBoard) -> None:
    job = submit(board, 1)
    assert board.job(job, party=OWNER).state == "accepted"
    for who, which in ((STRANGER, job), (OWNER, job_id(9))):
        with pytest.raises(NotFoundError, match="not_found.job"):
            board.job(which, party=who)
    assert board.jobs_of(STRANGER) == []


def test_nothing_is_reserved_without_live_workers(board: JobBoard, clock: Clock) -> None:
    submit(board, 1)
    assert board.slots.reserve() == []
    board.slots.heartbeat("t", TRAINER, 2)
    assert board.slots.reserve() == []  # no parameter server
    board.slots.heartbeat("p", PARAMSERVER, 1)
    clock.at += LIVE_SECONDS + 1
    assert board.slots.reserve() == []  # not heard of for too long


def test_three_two_trainer_jobs_on_two_slots_run_one_after_the_other(board: JobBoard) -> None:
    board.slots.heartbeat("t", TRAINER, 2)
    board.slots.heartbeat("p", PARAMSERVER, 4)
    jobs = [submit(board, number) for number in (3, 1, 2)]
    for job in jobs:
        assert board.slots.reserve() == [job]
        assert board.slots.reserve() == []
        due = board.slots.due(resend_seconds=10)
        assert {one.job_id for one in due} == {job}
        for slot in due:
            assert board.slots.claim(slot, "p" if slot.role == PARAMSERVER else "t")
        assert board.state(job) == "running"
        for slot in due:
            board.slots.release(slot, "p" if slot.role == PARAMSERVER else "t", crashed=False)
        board.finish(job, "finished")
    assert [one.state for one in board.jobs_of(OWNER)] == ["finished"] * 3


def test_a_job_larger_than_all_workers_does_not_hold_back_others(board: JobBoard) -> None:
    board.slots.heartbeat("t", TRAINER, 2)
    board.slots.heartbeat("p", PARAMSERVER, 4)
    submit(board, 1, trainers=3)
    small = submit(board, 2, trainers=2)
    assert board.slots.reserve() == [small]


def test_a_larger_job_is_not_starved_by_later_small_ones(board: JobBoard) -> None:
    board.slots.heartbeat("t", TRAINER, 2)
    board.slots.heartbeat("p", PARAMSERVER, 4)
    first, large, small = submit(board, 1, trainers=1), submit(board, 2), submit(board, 3, trainers=1)
    assert board.slots.reserve() == [first]
    board.finish(first, "finished")
    assert board.slots.reserve() == [large]
    board.finish(large, "failed", code="provider.import")
    assert board.slots.reserve() == [small]


def running(board: JobBoard) -> Slot:
    board.slots.heartbeat("t", TRAINER, 2)
    board.slots.heartbeat("other", TRAINER, 2)
    board.slots.heartbeat("p", PARAMSERVER, 1)
    job = submit(board, 1, trainers=1)
    assert board.slots.reserve() == [job]
    slot = Slot(job, TRAINER, 0)
    assert board.slots.claim(slot, "t", lease_seconds=20)
    return slot


def test_a_claimed_slot_is_not_claimed_twice(board: JobBoard) -> None:
    slot = running(board)
    assert not board.slots.claim(slot, "t")
    assert not board.slots.claim(slot, "other")
    assert not board.slots.claim(Slot(slot.job_id, TRAINER, 7), "other")


def test_only_one_of_many_threads_claims(board: JobBoard) -> None:
    slot = running(board)
    board.slots.retire("t", TRAINER)
    workers = [f"w{number}" for number in range(6)]
    for worker in workers:
        board.slots.heartbeat(worker, TRAINER, 1)
    won: list[str] = []
    threads = [
        threading.Thread(target=lambda name=worker: won.append(name) if board.slots.claim(slot, name) else None)
        for worker in workers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_a_full_or_unknown_worker_claims_nothing(board: JobBoard) -> None:
    slot = running(board)
    board.slots.retire("t", TRAINER)
    board.slots.heartbeat("full", TRAINER, 0)
    assert not board.slots.claim(slot, "full")
    assert not board.slots.claim(slot, "nobody")


def test_a_lapsed_lease_is_requeued_and_its_late_holder_learns_it(board: JobBoard, clock: Clock) -> None:
    slot = running(board)
    clock.at += 15
    assert board.slots.renew(slot, "t", lease_seconds=20) is Lease.HELD
    clock.at += 15
    assert board.slots.reap() == []
    clock.at += 10
    assert board.slots.reap() == [slot]
    assert board.slots.renew(slot, "t") is Lease.LOST
    clock.at += 5
    assert slot in board.slots.due(resend_seconds=10)
    assert board.slots.claim(slot, "other")
    board.slots.release(slot, "t", crashed=False)  # the late one speaks: nothing changes
    assert board.slots.renew(slot, "other") is Lease.HELD
    assert board.slots.renew(slot, "t") is Lease.LOST


def test_a_slot_that_always_crashes_fails_the_job(board: JobBoard, clock: Clock) -> None:
    slot = running(board)
    for _ in range(MAX_CLAIMS - 1):
        board.slots.release(slot, "t", crashed=True, code="unavailable.enclave")
        clock.at += 60
        board.slots.heartbeat("t", TRAINER, 2)
        assert board.slots.claim(slot, "t")
    board.slots.release(slot, "t", crashed=True)
    record = board.job(slot.job_id)
    assert (record.state, record.code) == ("failed", "policy.attempts")


def test_a_final_refusal_fails_the_job_at_once(board: JobBoard) -> None:
    slot = running(board)
    board.slots.release(slot, "t", crashed=True, code="confinement.bubblewrap")
    assert (board.job(slot.job_id).state, board.job(slot.job_id).code) == ("failed", "confinement.bubblewrap")


def test_tasks_are_due_again_after_a_while_until_claimed(board: JobBoard, clock: Clock) -> None:
    slot = running(board)
    server = Slot(slot.job_id, PARAMSERVER, 0)
    assert board.slots.due(resend_seconds=10) == [server]
    board.slots.mark_sent(server)
    assert board.slots.due(resend_seconds=10) == []
    clock.at += 11
    assert board.slots.due(resend_seconds=10) == [server]


def test_an_order_whose_time_is_over_fails(board: JobBoard, clock: Clock) -> None:
    waiting = submit(board, 1, not_after=int(clock.at) + 10)
    clock.at += 11
    board.slots.reap()
    assert (board.job(waiting).state, board.job(waiting).code) == ("failed", "freshness.order")


def test_cancel_ends_slots_and_stays(board: JobBoard) -> None:
    slot = running(board)
    assert board.cancel(slot.job_id) == "cancelled"
    assert board.slots.renew(slot, "t") is Lease.OVER
    assert board.finish(slot.job_id, "finished") == "cancelled"
    assert board.slots.due(resend_seconds=0) == []


def test_a_model_is_recorded_once_and_only_for_its_owner(board: JobBoard) -> None:
    slot = running(board)
    model = (ModelId("model_" + "1" * 32), b"manifest", Digest("c3" * 32))
    for _ in range(2):
        assert board.finish(slot.job_id, "finished", model=model) == "finished"
    assert board.job(slot.job_id).model_id == model[0]
    assert [one.model_id for one in board.models()] == [model[0]]
    assert board.unannounced_models() == [model[0]]
    board.mark_announced(model[0])
    assert board.unannounced_models() == []
    assert board.owns_model_object(model[2], OWNER)
    assert not board.owns_model_object(model[2], STRANGER)
    with pytest.raises(NotFoundError, match="not_found.model"):
        board.model(model[0], party=STRANGER)


def test_a_cancelled_job_gets_no_model(board: JobBoard) -> None:
    slot = running(board)
    board.cancel(slot.job_id)
    with pytest.raises(ConflictError, match="conflict.job_state"):
        board.finish(slot.job_id, "finished", model=(ModelId("model_" + "1" * 32), b"manifest", Digest("c3" * 32)))
    assert board.models() == []


def test_a_page_of_long_reports_is_one_message(board: JobBoard) -> None:
    job = submit(board, 1)
    for number in range(12):
        board.add_report(job, OWNER, number, bytes(60 << 10))
    page = board.reports(job, OWNER)
    assert [number for number, _ in page] == list(range(8)), "512 KiB at most"
    assert len(board.reports(job, OWNER, after=7)) == 4
    encoded = JobReports(reports=tuple(ReportView(sequence=number, sealed=sealed) for number, sealed in page)).encode()
    assert len(encoded) < MAX_MESSAGE_BYTES


def test_reports_are_per_owner_and_kept_once(board: JobBoard) -> None:
    job = submit(board, 1)
    for sequence, sealed in ((0, b"first"), (1, b"second"), (1, b"forged later")):
        board.add_report(job, OWNER, sequence, sealed)
    assert board.reports(job, OWNER) == [(0, b"first"), (1, b"second")]
    assert board.reports(job, OWNER, after=0) == [(1, b"second")]
    assert board.reports(job, STRANGER) == []
    with pytest.raises(NotFoundError):
        board.add_report(job, STRANGER, 0, b"for nobody")


def test_the_board_survives_reopening(database_url: str, clock: Clock) -> None:
    first = Database(database_url)
    submit(JobBoard(first, now=clock), 1)
    first.close()
    assert JobBoard.open(database_url).order(job_id(1)) == b"order 1"


def test_a_database_file_is_its_users_alone(tmp_path: Path) -> None:
    Database(f"sqlite:///{tmp_path}/registry.sqlite").close()
    assert (tmp_path / "registry.sqlite").stat().st_mode & 0o077 == 0
