"""Trainers that go on while a round is exchanged: what they learn, what they say, and that a host sees none of it."""

import numpy as np
import pytest

from common.sandbox.protocol import StateP
from services.trainer_enclave.job import TrainerJob
from tests.fakes.in_memory_job import FEATURES, DelayedExecutor, InMemoryJob, LeastSquares, loss_of, make_schedule

AHEAD = make_schedule(rounds_ahead=1, rounds=8)


def final(job: InMemoryJob) -> StateP:
    assert job.server.state_P is not None
    return job.server.state_P


def test_two_trainers_converge_in_every_round() -> None:
    job = InMemoryJob(AHEAD)
    job.run()
    assert (job.server.outcome(), job.server.members.delivered()) == ("finished", (8, 8))
    assert job.server.report(1, 9).codes == ()
    assert loss_of(final(job)) < 0.01 * loss_of(np.zeros(256, np.float32))


def test_equal_runs_give_equal_models() -> None:
    states = []
    for _ in range(2):
        job = InMemoryJob(AHEAD)
        job.run()
        states.append(final(job).tobytes())
    assert states[0] == states[1]


def test_one_trainer_alone_learns_as_in_lockstep_but_for_rounding() -> None:
    both = [InMemoryJob(make_schedule(rounds=8, rounds_ahead=ahead), trainers=1) for ahead in (0, 1)]
    for job in both:
        job.run()
    lockstep, ahead = (final(job)[:FEATURES] for job in both)
    np.testing.assert_allclose(ahead, lockstep, rtol=0.01, atol=0.01)


def trained_at(job: InMemoryJob) -> list[int]:
    """The tick at which each round of slot 0 was begun."""
    begun, sandbox = list[int](), job.sandboxes[0]
    job.publish_members()
    for tick in range(job.schedule.total_ticks):
        before = sandbox.rounds
        job.step(tick)
        begun += [tick] * (sandbox.rounds - before)
    return begun


def test_a_round_is_begun_before_the_one_before_was_exchanged() -> None:
    lockstep, ahead = (trained_at(InMemoryJob(make_schedule(rounds_ahead=ahead))) for ahead in (0, 1))
    assert min(len(lockstep), len(ahead)) > 6
    assert lockstep[1] - lockstep[0] > ahead[1] - ahead[0] == 1


def test_never_more_than_one_round_ahead() -> None:
    """Of one that waits for the other's delta: round 1 is begun, round 2 is not before round 1's state has come."""
    slow = DelayedExecutor()
    job = InMemoryJob(AHEAD, executors={1: slow})
    job.run(last=10)
    assert job.sandboxes[0].rounds == 2
    slow.finish()
    for tick in range(10, 30):
        job.step(tick)
    assert (job.server.rounds.rounds_done, job.sandboxes[0].rounds) == (1, 3)


def test_a_round_is_queued_behind_the_one_that_is_trained() -> None:
    """Its state came meanwhile, so the provider's thread goes from one to the next without waiting for a tick."""
    slow = DelayedExecutor()
    job = InMemoryJob(AHEAD, trainers=1, executors={0: slow})
    job.run(last=6)
    slow.finish()
    waited = list[int]()
    for tick in range(6, 30):
        job.step(tick)
        waited.append(len(slow.waiting))
        if len(slow.waiting) == 2:
            slow.finish()
    assert max(waited) == 2, "never more than one"
    assert job.sandboxes[0].rounds > 2


def test_what_is_queued_from_an_old_state_is_taken_back() -> None:
    slow = DelayedExecutor()
    job = InMemoryJob(AHEAD, executors={1: slow})
    job.run(last=12)
    slow.finish()
    job.run(12, 100)
    assert job.server.rounds.rounds_done > 3
    queued = [work for work, _ in slow.waiting if not work.cancelled()]
    assert len(queued) == 2
    assert len(slow.waiting) > 2
    (*_, last) = job.jobs[1]._begun
    assert last.state_round == job.server.rounds.rounds_done


def test_one_that_was_left_behind_goes_on_from_the_newest_state() -> None:
    slow = DelayedExecutor()
    job = InMemoryJob(AHEAD, executors={1: slow})
    job.run(last=12)
    slow.finish()
    job.run(12, 60)
    done = job.server.rounds.rounds_done
    assert done > 1
    for tick in range(60, job.schedule.total_ticks):
        slow.finish()
        job.step(tick)
    assert job.server.members.rounds_delivered[1] > 0
    assert job.server.report(1, 9).codes == ()


def test_a_failure_takes_back_no_delta_that_was_said() -> None:
    job = InMemoryJob(AHEAD, sandboxes={1: LeastSquares(fails_in=3)})
    job.run()
    assert job.server.members.delivered() == (8, 3)
    assert job.server.report(1, 9).codes == ("provider.raised",)


@pytest.mark.parametrize("lost", [range(9, 14), range(16, 40)])
def test_lost_frames_delay_and_lose_nothing(lost: range) -> None:
    job = InMemoryJob(
        make_schedule(rounds=8, rounds_ahead=1, slack_percent=400), drop=lambda _sender, tick: tick in lost
    )
    job.run()
    assert (job.server.outcome(), job.server.members.delivered()) == ("finished", (8, 8))


def test_a_later_server_begins_anew_with_both() -> None:
    job = InMemoryJob(AHEAD)
    job.run(last=30)
    job.start_server(2)
    job.run(0)
    assert (job.server.outcome(), job.server.members.delivered()) == ("finished", (8, 8))


def test_a_host_sees_the_same() -> None:
    lockstep, ahead, failing = (
        InMemoryJob(make_schedule(rounds_ahead=0)),
        InMemoryJob(make_schedule(rounds_ahead=1)),
        InMemoryJob(make_schedule(rounds_ahead=1), sandboxes={0: LeastSquares(fails_in=1)}),
    )
    for job in (lockstep, ahead, failing):
        job.run()
    assert lockstep.trace == ahead.trace == failing.trace


def test_designs_never_go_ahead() -> None:
    job = InMemoryJob(make_schedule(rounds_ahead=1, warmup_ticks=90), designers={})
    job.run()
    assert job.server.outcome() == "finished"
    assert not any(one._ahead for one in job.jobs.values() if isinstance(one, TrainerJob))
