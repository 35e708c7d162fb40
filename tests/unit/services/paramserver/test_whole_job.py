"""A whole job, in process: it converges, outlasts what goes wrong, and looks the same whatever happens inside."""

import numpy as np

from common.exchange.frames import FrameHeader
from common.exchange.schedule import patience_ticks, round_deadline_ticks, rounds_per_answer
from tests.fakes.in_memory_job import DelayedExecutor, InMemoryJob, LeastSquares, loss_of, make_schedule


def final_loss(job: InMemoryJob) -> float:
    assert job.server.state_P is not None
    return loss_of(job.server.state_P)


def test_two_trainers_converge_and_dummies_go_on() -> None:
    job = InMemoryJob(make_schedule())
    job.run()
    assert job.server.outcome() == "finished"
    assert final_loss(job) < 0.01 * loss_of(np.zeros(256, np.float32))
    ticks, per_tick = job.schedule.total_ticks, job.schedule.frames_per_tick
    assert len(job.trace) == ticks * per_tick * 3
    assert {shape[-1] for shape in job.trace} == {job.schedule.frame_bytes}
    report = job.server.report(1, ticks, job.server.outcome())
    assert report.real_frames + report.dummy_frames == len(job.trace)
    assert min(report.real_frames, report.dummy_frames) > 0
    assert (report.refused_frames, report.codes, report.round) == (0, (), 6)
    assert job.server.members.delivered() == (6, 6)


def test_equal_runs_give_equal_models() -> None:
    states = []
    for _ in range(2):
        job = InMemoryJob(make_schedule())
        job.run()
        assert job.server.state_P is not None
        states.append(job.server.state_P.tobytes())
    assert states[0] == states[1]


def test_momentum_changes_the_path_and_still_converges() -> None:
    job = InMemoryJob(make_schedule(rounds=12), learning_rate=0.7, momentum=0.5)
    job.run()
    assert job.server.outcome() == "finished"
    assert final_loss(job) < 0.1 * loss_of(np.zeros(256, np.float32))


def test_schedule_too_short_ends_finished_short() -> None:
    job = InMemoryJob(make_schedule(rounds=6, ticks_per_round=1, slack_percent=200, warmup_ticks=2))
    job.run()
    assert job.server.outcome() == "finished_short"
    assert 0 < job.server.rounds.rounds_done < 6


def test_a_job_without_a_round_tells_its_owner_so_though_no_member_did() -> None:
    job = InMemoryJob(make_schedule(), executors={slot: DelayedExecutor() for slot in (0, 1)})
    job.run()
    assert (outcome := job.server.outcome()) == "failed"
    assert job.server.report(1, 10).codes == ()
    assert job.server.report(2, job.schedule.total_ticks, outcome).codes == ("unavailable.rounds",)


def test_failing_provider_leaves_the_same_trace() -> None:
    healthy = InMemoryJob(make_schedule())
    failing = InMemoryJob(make_schedule(), sandboxes={1: LeastSquares(fails_in=2, code="provider.timeout")})
    all_fail = InMemoryJob(make_schedule(), sandboxes={slot: LeastSquares(fails_in=0) for slot in (0, 1)})
    for job in (healthy, failing, all_fail):
        job.run()
    assert healthy.trace == failing.trace == all_fail.trace
    assert healthy.server.outcome() == failing.server.outcome() == "finished"
    assert failing.server.report(1, 1).codes == ("provider.timeout",)
    assert all_fail.server.outcome() == "failed"
    assert all_fail.server.report(1, 1).codes == ("provider.raised", "provider.raised")


def test_straggler_is_left_behind_after_the_deadline() -> None:
    slow = DelayedExecutor()
    job = InMemoryJob(make_schedule(), executors={1: slow})
    job.run(last=10)
    slow.finish()
    job.run(10, job.schedule.warmup_ticks + round_deadline_ticks(job.schedule))
    assert job.server.rounds.rounds_done == 0
    job.run(job.schedule.warmup_ticks + round_deadline_ticks(job.schedule))
    assert job.server.rounds.rounds_done >= 1
    assert job.server.members.rounds_delivered == {0: job.server.rounds.rounds_done}


def test_lost_member_is_not_waited_for_and_its_successor_joins() -> None:
    job = InMemoryJob(make_schedule(rounds=8))
    job.run(last=20)
    before = job.server.rounds.rounds_done
    lost = job.jobs.pop(1)
    job.run(20, 45)
    assert job.server.rounds.rounds_done > before
    assert job.server.report(1, 44).members_live == 1
    job.start_trainer(1, 2)
    job.run(45)
    assert job.server.outcome() == "finished"
    attempts = [record.attempt for record in job.server.members.records()]
    delivered = dict(enumerate(zip(attempts, job.server.members.delivered(), strict=True)))
    assert delivered[1][0] == 2
    refused = job.server.refused_frames
    for frame in lost.emit(job.schedule.total_ticks - 1):
        assert FrameHeader.parse(frame).attempt == 1
        job.server.receive(frame)
    job.server.process(job.schedule.total_ticks)
    assert job.server.refused_frames == refused + job.schedule.frames_per_tick


def test_lost_frames_are_said_again() -> None:
    def outage(_sender: int, tick: int) -> bool:
        return 8 <= tick < 12

    job = InMemoryJob(make_schedule(rounds=3, slack_percent=400), trainers=1, drop=outage)
    job.run()
    assert job.server.outcome() == "finished"


def test_after_a_silence_of_all_a_round_waits_for_those_that_are_heard_later() -> None:
    """Longer than a round is waited for; then the second trainer's frames come some ticks behind the first one's."""
    schedule = make_schedule(rounds=6, slack_percent=1000)
    back = 12 + 2 * max(round_deadline_ticks(schedule), patience_ticks(schedule))

    def partition(sender: int, tick: int) -> bool:
        return 12 <= tick < back + (5 if sender == 1 else 0)

    job = InMemoryJob(schedule, drop=partition)
    job.run()
    assert job.server.members.hearing_since == back
    assert (job.server.outcome(), job.server.members.delivered()) == ("finished", (6, 6))


def test_restarted_server_begins_the_schedule_anew() -> None:
    job = InMemoryJob(make_schedule(rounds=3))
    job.run(last=20)
    old_frames = [frame for sender, frame in job.frames if sender == -1]
    job.start_server(2)
    job.run()
    assert job.server.outcome() == "finished"
    refused = job.jobs[0].exchange.refused_frames
    job.jobs[0].exchange.receive(old_frames[-1])
    job.jobs[0].exchange.listen()
    assert job.jobs[0].exchange.refused_frames == refused + 1


def test_a_host_that_keeps_the_broker_s_answers_back_stops_the_rounds() -> None:
    """Whatever its clock says: each answer is to a fresh nonce, and lets one round pass."""
    schedule = make_schedule(rounds=40)
    job = InMemoryJob(schedule, lists_kept_back=True)
    job.run()
    assert job.server.rounds.rounds_done == rounds_per_answer(schedule) == 1
    free = InMemoryJob(schedule)
    free.run()
    assert free.server.outcome() == "finished"
    assert [entry[3:] for entry in job.trace] == [entry[3:] for entry in free.trace], "the host sees the same frames"
