"""A whole job that judges int8, in process: the final state goes to slot 0, and no host sees what came of it."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from common.exchange.payloads import encode_state
from common.exchange.quantised import Quantised
from common.sandbox.protocol import Rows
from common.sandboxed.quantised_layout import Finding, Findings
from services.trainer_enclave.dataset import Split
from services.trainer_enclave.quantising import JobQuantising, UnreadModel
from tests.fakes.in_memory_job import FEATURES, InMemoryJob, make_schedule

SCHEDULE = make_schedule(rounds=6, quantising_ticks=60)
GRAPH = b'{"a graph": "as slot 0 says it"}'
FOUND = Findings(Finding.JUDGED, 150, 80.0, 79.0, np.array([[0.0, 1.0]], np.float32))


class Judge:
    """Slot 0's sandbox, planted: it says `findings`, or raises them. `states`: what it was shown."""

    def __init__(self, findings: Findings | Exception = FOUND) -> None:
        self._findings, self.states, self.seconds = findings, list[np.ndarray](), list[float]()

    def run(self, state_P: np.ndarray, rows: Rows, calibrating: int, seconds: float) -> Findings:
        """What was planted."""
        assert (len(rows["x"]), calibrating) == (3, 2)
        self.states.append(state_P.copy())
        self.seconds.append(seconds)
        if isinstance(self._findings, Exception):
            raise self._findings
        return self._findings

    def of_job(self, *, graph: bool = True) -> JobQuantising:
        """What a launch of slot 0 gets."""
        manifest: Any = SimpleNamespace(state_count=FEATURES)
        model = UnreadModel(manifest, GRAPH, GRAPH) if graph else None
        return JobQuantising(
            lambda *_: self, lambda: model, lambda: Split({"x": np.zeros((3, 1), np.float32)}, calibrating=2)
        )


def done(judge: Judge | None, **fields: Any) -> InMemoryJob:
    job = InMemoryJob(SCHEDULE, quantising=None if judge is None else judge.of_job(), **fields)
    job.run()
    return job


def found(job: InMemoryJob) -> Quantised:
    assert job.server.quantised is not None
    return Quantised.parse(job.server.quantised)


def test_slot_0_judges_the_state_that_is_sealed() -> None:
    judge = Judge()
    job = done(judge)
    assert job.server.state_P is not None
    assert found(job).encode() == Quantised.of(GRAPH, encode_state(job.server.state_P), FOUND).encode()
    (state_P,) = judge.states
    np.testing.assert_array_equal(state_P, job.server.state_P[:FEATURES])
    assert 0 < judge.seconds[0] < SCHEDULE.quantising_ticks * SCHEDULE.tick_seconds
    assert (job.server.outcome(), job.server.refused_frames) == ("finished", 0)


def test_what_is_learned_and_what_the_host_sees_hang_on_nothing_that_was_found() -> None:
    jobs = [done(Judge()), done(Judge(Findings(Finding.NO_CLASSES))), done(Judge(MemoryError())), done(None)]
    assert all(job.trace == jobs[0].trace for job in jobs)
    states = [job.server.state_P for job in jobs]
    assert all(one is not None and one.tobytes() == states[0].tobytes() for one in states if states[0] is not None)
    assert found(jobs[2]).findings.finding is Finding.FAILED
    assert jobs[3].server.quantised is None


def test_what_was_ordered_is_learned_before() -> None:
    usual = InMemoryJob(make_schedule(rounds=6))
    usual.run()
    job = done(Judge())
    assert job.server.rounds.rounds_done == usual.server.rounds.rounds_done == 6
    assert job.server.state_P is not None
    assert usual.server.state_P is not None
    assert job.server.state_P.tobytes() == usual.server.state_P.tobytes()


def test_no_round_closes_in_the_quantising_ticks() -> None:
    job = InMemoryJob(SCHEDULE, quantising=Judge().of_job())
    job.run(last=SCHEDULE.learning_ticks)
    closed = job.server.rounds.closed
    for tick in range(SCHEDULE.learning_ticks, SCHEDULE.total_ticks):
        job.step(tick)
    assert job.server.rounds.closed == closed


def test_without_a_graph_slot_0_says_so() -> None:
    judge = Judge()
    job = InMemoryJob(SCHEDULE, quantising=judge.of_job(graph=False))
    job.run()
    assert found(job).findings.finding is Finding.NO_GRAPH
    assert judge.states == []


@pytest.mark.parametrize("sender", [-1, 0])
def test_frames_that_were_lost_are_said_again(sender: int) -> None:
    first = SCHEDULE.learning_ticks
    job = done(Judge(), drop=lambda who, tick: who == sender and first <= tick < first + 4)
    assert found(job).findings.finding is Finding.JUDGED


def test_a_later_launch_of_the_server_hears_it_too() -> None:
    judge, last = Judge(), SCHEDULE.learning_ticks + 3
    job = InMemoryJob(SCHEDULE, quantising=judge.of_job())
    job.run(last=last)
    progress = job.server.progress(last)
    job.start_server(2, progress)
    job.run(first=last)
    assert job.server.state_P is not None
    assert found(job).encode() == Quantised.of(GRAPH, encode_state(job.server.state_P), FOUND).encode()


def test_others_are_not_asked() -> None:
    """What slot 1 says of int8 is no word of it."""
    judge = Judge()
    job = InMemoryJob(SCHEDULE, quantising=judge.of_job(), quantising_slot=1)
    job.run()
    assert judge.states
    assert job.server.quantised is None


def test_a_schedule_without_time_for_it_judges_nothing() -> None:
    judge = Judge()
    job = InMemoryJob(make_schedule(rounds=6, quantising_ticks=12), quantising=judge.of_job())
    job.run()
    assert (judge.states, job.server.quantised) == ([], None)
