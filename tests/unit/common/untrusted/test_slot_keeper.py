"""The slot keeper against a real board: claims, leases, crashes, jobs that are over."""

import threading
import time
from dataclasses import dataclass

import pytest

from common.errors import UnavailableError
from common.identifiers import JobId, PartyKey
from common.untrusted.database import Database
from common.untrusted.job_board import JobBoard, NewJob
from common.untrusted.slot_board import LEASE_SECONDS, TRAINER, Slot
from common.untrusted.slot_keeper import GRACE_SECONDS, SlotKeeper

OWNER = PartyKey("a1" * 32)
JOB = JobId(f"job_{1:032x}")
WORKER = "worker-1"
FIRST, SECOND = Slot(JOB, TRAINER, 0), Slot(JOB, TRAINER, 1)


class Clock:
    def __init__(self) -> None:
        self.at = 1_000_000.0

    def __call__(self) -> float:
        return self.at


@dataclass
class Work:
    """A holder whose end the test decides."""

    over: bool = False
    failed: bool = False
    told: str | None = None
    stops: int = 0

    def ended(self) -> bool:
        return self.over

    def crashed(self) -> bool:
        return self.failed

    def code(self) -> str | None:
        return self.told

    def stop(self) -> None:
        self.stops += 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(database_url: str, clock: Clock) -> JobBoard:
    made = JobBoard(Database(database_url), now=clock)
    made.submit(NewJob(JOB, b"order", [OWNER], 2, 2_000_000, "simulation"))
    made.slots.heartbeat(WORKER, TRAINER, 2)
    made.slots.heartbeat("paramserver-1", "paramserver", 1)
    assert made.slots.reserve() == [JOB]
    return made


@pytest.fixture
def keeper(board: JobBoard, clock: Clock) -> SlotKeeper:
    return SlotKeeper(board.slots, WORKER, TRAINER, 2, now=clock)


def waiting(board: JobBoard, clock: Clock) -> list[Slot]:
    clock.at += 60
    return [slot for slot in board.slots.due(resend_seconds=0) if slot.role == TRAINER]


def test_a_slot_is_taken_once(board: JobBoard, keeper: SlotKeeper) -> None:
    assert keeper.take(FIRST, Work)
    assert not keeper.take(FIRST, Work)
    assert not SlotKeeper(board.slots, "worker-2", TRAINER, 2).take(FIRST, Work)
    assert keeper.count == 1
    assert board.state(JOB) == "running"


def test_what_does_not_start_is_given_back(board: JobBoard, keeper: SlotKeeper, clock: Clock) -> None:
    def fail() -> Work:
        raise UnavailableError("unavailable.launcher")

    with pytest.raises(UnavailableError):
        keeper.take(FIRST, fail)
    assert keeper.count == 0
    assert FIRST in waiting(board, clock)


def test_done_work_is_not_done_again_and_a_crash_is(board: JobBoard, keeper: SlotKeeper, clock: Clock) -> None:
    done, crashed = Work(), Work()
    assert keeper.take(FIRST, lambda: done)
    assert keeper.take(SECOND, lambda: crashed)
    keeper._collect()
    assert keeper.count == 2
    done.over = crashed.over = crashed.failed = True
    keeper._collect()
    assert keeper.count == 0
    assert waiting(board, clock) == [SECOND]


def test_a_final_refusal_fails_the_job_and_ends_the_others(board: JobBoard, keeper: SlotKeeper, clock: Clock) -> None:
    refused, other = Work(over=True, failed=True, told="policy.revoked"), Work()
    assert keeper.take(FIRST, lambda: refused)
    assert keeper.take(SECOND, lambda: other)
    keeper._collect()
    assert (board.job(JOB).state, board.job(JOB).code) == ("failed", "policy.revoked")
    keeper._renew()
    clock.at += 0.9 * GRACE_SECONDS
    keeper._renew()
    assert (other.stops, keeper.count) == (0, 1), "its enclave hears the end from the broker: it has time to say so"
    clock.at += 0.2 * GRACE_SECONDS
    keeper._renew()
    assert (other.stops, keeper.count) == (1, 0)


def test_work_that_ends_by_itself_after_its_job_is_not_stopped(board: JobBoard, keeper: SlotKeeper) -> None:
    work = Work()
    assert keeper.take(FIRST, lambda: work)
    board.finish(JOB, "finished")
    keeper._renew()
    work.over = True
    keeper._collect()
    assert (work.stops, keeper.count) == (0, 0)
    assert board.state(JOB) == "finished"


def test_leases_are_renewed_and_a_lapsed_one_is_not_ours_any_more(
    board: JobBoard, keeper: SlotKeeper, clock: Clock
) -> None:
    work = Work()
    assert keeper.take(FIRST, lambda: work)
    for _ in range(5):
        clock.at += 0.9 * LEASE_SECONDS
        keeper._renew()
        assert board.slots.reap() == []
    clock.at += 1.1 * LEASE_SECONDS
    assert board.slots.reap() == [FIRST]
    keeper._renew()
    assert (work.stops, keeper.count) == (1, 0)


def test_a_holder_that_does_not_stop_ends_no_keeper(
    board: JobBoard, keeper: SlotKeeper, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.untrusted.slot_keeper.LOOK_SECONDS", 0.01)
    beats = threading.Event()

    def stubborn() -> None:
        if beats.is_set():
            return
        beats.set()
        raise OSError

    work = Work()
    keeper.start()
    board.slots.heartbeat(WORKER, TRAINER, 2)
    assert keeper.take(FIRST, lambda: work)
    monkeypatch.setattr(work, "stop", stubborn)
    clock.at += 2 * LEASE_SECONDS
    board.slots.reap()
    assert beats.wait(10)
    deadline = time.monotonic() + 10
    while keeper.count and time.monotonic() < deadline:
        clock.at += LEASE_SECONDS
        time.sleep(0.01)
    assert keeper.count == 0, "it was stopped in the end"
    keeper.stop()


def test_stopping_ends_all_work_and_gives_slots_back(board: JobBoard, keeper: SlotKeeper, clock: Clock) -> None:
    work = Work()
    keeper.start()
    board.slots.heartbeat(WORKER, TRAINER, 2)
    assert keeper.take(FIRST, lambda: work)
    keeper.stop()
    assert work.stops == 1
    assert not keeper.take(SECOND, Work)
    assert FIRST in waiting(board, clock)
