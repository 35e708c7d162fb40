"""What the board tells whoever watches: jobs by state, the oldest, the overdue, slots and room."""

import pytest

from common.crypto.signing import SigningKey
from common.identifiers import JobId, PartyKey
from common.messages.order import TrainingOrder
from common.messages.signed import sign
from common.untrusted.board_metrics import OVERDUE_SECONDS, BoardMetrics
from common.untrusted.database import Database
from common.untrusted.job_board import JobBoard, NewJob
from common.untrusted.slot_board import PARAMSERVER, TRAINER, Slot
from tests.fakes.sealed_rows import order_of

OWNER = PartyKey("a1" * 32)
ORDER = sign(order_of(2), SigningKey.generate())
SCHEDULE = TrainingOrder.decode(ORDER.payload).schedule


class Watched:
    """A board, and what is told of it."""

    def __init__(self, url: str) -> None:
        self.at = 1_000_000.0
        database = Database(url)
        self.board = JobBoard(database, now=lambda: self.at)
        self._metrics = BoardMetrics(database, now=lambda: self.at)

    def told(self, name: str) -> dict[tuple[str, ...], float]:
        return {
            tuple(sample.labels.values()): sample.value
            for family in self._metrics()
            for sample in family.samples
            if sample.name == name
        }

    def submit(self, number: int) -> JobId:
        job = NewJob(JobId(f"job_{number:032x}"), ORDER.encode(), [OWNER], 2, 2_000_000_000, "simulation")
        assert self.board.submit(job)
        return job.job_id

    def start(self, number: int) -> JobId:
        self.board.slots.heartbeat("t", TRAINER, 2)
        self.board.slots.heartbeat("p", PARAMSERVER, 1)
        job_id = self.submit(number)
        assert self.board.slots.reserve() == [job_id]
        assert self.board.slots.claim(Slot(job_id, TRAINER, 0), "t")
        return job_id


@pytest.fixture
def watched(database_url: str) -> Watched:
    return Watched(database_url)


def test_an_empty_board_tells_zeros(watched: Watched) -> None:
    assert set(watched.told("cloister_jobs").values()) == {0.0}
    assert len(watched.told("cloister_jobs")) == 6
    assert watched.told("cloister_overdue_jobs") == {(): 0.0}
    assert watched.told("cloister_capacity") == {("trainer",): 0.0, ("paramserver",): 0.0}


def test_jobs_slots_and_room(watched: Watched) -> None:
    job_id = watched.start(1)
    watched.at += 5
    watched.submit(2)
    watched.submit(3)
    jobs = {state: count for (state,), count in watched.told("cloister_jobs").items() if count}
    assert jobs == {"running": 1, "accepted": 2}
    slots = {labels: count for labels, count in watched.told("cloister_slots").items() if count}
    assert slots == {("trainer", "claimed"): 1, ("trainer", "waiting"): 1, ("paramserver", "waiting"): 1}
    assert watched.told("cloister_capacity") == {("trainer",): 2.0, ("paramserver",): 1.0}
    watched.at += 7
    ages = watched.told("cloister_oldest_job_seconds")
    assert ages == {("accepted",): 7.0, ("reserved",): 0.0, ("running",): 12.0}
    watched.board.cancel(job_id)
    assert watched.told("cloister_jobs")["cancelled",] == 1
    watched.at += 60
    assert watched.told("cloister_capacity")["trainer",] == 0


def test_a_job_is_overdue_long_after_its_schedule(watched: Watched) -> None:
    job_id = watched.start(1)
    watched.at += SCHEDULE.total_ticks * SCHEDULE.tick_seconds + OVERDUE_SECONDS - 1
    assert watched.told("cloister_overdue_jobs") == {(): 0.0}
    watched.at += 2
    assert watched.told("cloister_overdue_jobs") == {(): 1.0}
    watched.board.finish(job_id, "finished")
    assert watched.told("cloister_overdue_jobs") == {(): 0.0}
