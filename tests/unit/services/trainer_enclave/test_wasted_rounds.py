"""When there is nothing more to learn, work goes on to the end of the schedule, and nothing comes of it."""

from dataclasses import dataclass

import numpy as np
import pytest

from common.exchange.schedule import round_deadline_ticks
from common.sandbox.protocol import RoundOutcome
from tests.fakes.in_memory_job import DelayedExecutor, InMemoryJob, LeastSquares, make_schedule


@dataclass
class Mortal(LeastSquares):
    """Dies in a round; a new one, as often as it is started, does not, or dies again if it is `stubborn`."""

    stubborn: bool = False
    starts: int = 0

    def initial_state(self, deadline_seconds: float) -> RoundOutcome:
        self.starts += 1
        if self.starts > 1:
            self.fails_in = self.rounds if self.stubborn else None
        return super().initial_state(deadline_seconds)


@pytest.mark.parametrize("ahead", [0, 1])
def test_trainers_work_on_behind_the_last_round_for_nothing(ahead: int) -> None:
    job = InMemoryJob(make_schedule(rounds_ahead=ahead, slack_percent=400), momentum=0.5)
    job.publish_members()
    tick = 0
    while not job.server.rounds.all_done:
        job.step(tick)
        tick += 1
    model_P, trained, report = job.server.state_P, job.sandboxes[0].rounds, job.server.report(1, tick)
    progress = job.server.progress(tick)
    job.run(tick)
    rounds_left = (job.schedule.total_ticks - tick - round_deadline_ticks(job.schedule)) // job.schedule.ticks_per_round
    assert rounds_left > 5
    assert job.sandboxes[0].rounds > trained + rounds_left, "as many as before, or more: nothing slows them down"
    assert job.server.state_P is model_P
    last, after = job.server.report(2, tick), job.server.progress(tick)
    assert (last.round, last.loss, last.rounds_delivered) == (6, report.loss, (6, 6))
    assert last.real_frames == report.real_frames
    assert last.real_frames + last.dummy_frames == len(job.trace)
    assert (after.rounds_done, after.velocity_P is progress.velocity_P) == (6, True)
    assert (after.delivered, after.epochs, after.loss) == (progress.delivered, progress.epochs, progress.loss)
    assert job.server.outcome() == "finished"


def test_a_later_server_goes_on_behind_the_last_round() -> None:
    job = InMemoryJob(make_schedule(slack_percent=400))
    job.run(last=80)
    assert job.server.rounds.closed > job.server.rounds.rounds_done == 6
    model_P, progress = job.server.state_P, job.server.progress(79)
    trained = job.sandboxes[0].rounds
    job.start_server(2, progress)
    job.run(80)
    assert job.server.state_P is model_P
    assert job.server.outcome() == "finished"
    assert job.server.rounds.closed > 8
    assert job.sandboxes[0].rounds > trained
    assert job.server.report(1, 9).real_frames == 0, "all of them are for nothing"


def test_no_round_begins_when_less_than_its_time_is_left() -> None:
    job = InMemoryJob(make_schedule(slack_percent=400))
    job.run(last=job.schedule.total_ticks - round_deadline_ticks(job.schedule) + 1)
    trained = job.sandboxes[0].rounds
    job.run(job.schedule.total_ticks - round_deadline_ticks(job.schedule) + 1)
    assert job.sandboxes[0].rounds == trained


def test_a_failure_behind_the_last_round_is_nobodys() -> None:
    healthy = InMemoryJob(make_schedule(slack_percent=400))
    late = InMemoryJob(make_schedule(slack_percent=400), sandboxes={1: LeastSquares(fails_in=8)})
    for job in (healthy, late):
        job.run()
    assert late.server.report(1, 9).codes == ()
    assert np.array_equal(healthy.server.state_P, late.server.state_P)  # type: ignore[arg-type]  # both have one
    assert healthy.trace == late.trace


def test_a_failure_in_the_last_round_is_told_though_it_comes_late() -> None:
    slow = DelayedExecutor()
    job = InMemoryJob(make_schedule(slack_percent=400), sandboxes={1: LeastSquares(fails_in=5)}, executors={1: slow})
    job.publish_members()
    tick = 0
    while not job.server.rounds.all_done:
        if job.server.rounds.rounds_done < 5:
            slow.finish()
        job.step(tick)
        tick += 1
    assert job.server.members.delivered() == (6, 5)
    slow.finish()
    job.run(tick, tick + 4)
    assert job.server.report(1, tick).codes == ("provider.raised",)


def test_a_sandbox_that_died_is_followed_by_another_of_which_nothing_is_said() -> None:
    healthy = InMemoryJob(make_schedule(slack_percent=400))
    job = InMemoryJob(make_schedule(slack_percent=400), sandboxes={1: Mortal(fails_in=2)})
    for one in (healthy, job):
        one.run()
    died = job.sandboxes[1]
    assert isinstance(died, Mortal)
    due = (job.schedule.total_ticks - round_deadline_ticks(job.schedule)) // job.schedule.ticks_per_round
    assert (died.starts, died.closed) == (2, True)
    assert 0.7 * due < died.rounds - 2 <= due, "one in a round's time"
    assert job.server.members.delivered() == (6, 2)
    assert job.server.report(1, 9).codes == ("provider.raised",)
    assert job.trace == healthy.trace


def test_one_that_dies_each_time_is_started_once_in_a_rounds_time() -> None:
    job = InMemoryJob(make_schedule(slack_percent=400), sandboxes={1: Mortal(fails_in=2, stubborn=True)})
    job.run()
    died = job.sandboxes[1]
    assert isinstance(died, Mortal)
    assert 5 < died.starts <= 1 + job.schedule.total_ticks // job.schedule.ticks_per_round
    assert died.rounds == 2


def test_a_slot_without_data_has_nothing_to_work_on() -> None:
    job = InMemoryJob(make_schedule(), executors={0: DelayedExecutor()})
    job.publish_members()
    job.jobs[0].give_up("authenticity.sealed_object")
    job.run()
    assert job.sandboxes[0].rounds == 0
