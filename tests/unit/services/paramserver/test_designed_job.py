"""A whole job whose bundle is design code, in process: designs agree, steer, fail, and no host sees any of it."""

import json

import numpy as np
import pytest

from common.crypto.digests import sha256
from common.exchange.steering import MAX_EPOCHS, rounds_per_epoch
from common.model_graph.design import Adjustment, Change
from common.sandbox.wasm.interface import Metrics
from tests.fakes.in_memory_job import FEATURES, InMemoryJob, LeastSquares, loss_of, make_schedule
from tests.fakes.plain_designs import GO_ON, STOP, PlainDesigner, another_answer, linear_design, too_large_design

SCHEDULE = make_schedule(warmup_ticks=90)


def designed(**fields: object) -> InMemoryJob:
    job = InMemoryJob(SCHEDULE, **({"designers": {}} | fields))  # type: ignore[arg-type]
    job.run()
    return job


def codes(job: InMemoryJob) -> tuple[str, ...]:
    return job.server.report(1, job.schedule.total_ticks, job.server.outcome()).codes


def test_a_design_is_trained_and_the_host_sees_what_it_sees_of_other_code() -> None:
    job, native = designed(), InMemoryJob(SCHEDULE)
    native.run()
    assert job.server.outcome() == "finished"
    assert job.server.state_P is not None
    assert loss_of(job.server.state_P) < 0.01 * loss_of(np.zeros(256, np.float32))
    assert job.server.design == linear_design().encode()
    assert (codes(job), job.server.refused_frames) == ((), 0)
    assert job.trace == native.trace


def test_all_trainers_see_one_profile_and_one_past() -> None:
    job = designed()
    first, second = (designer for _, designer in job.started)
    assert first.profiles == second.profiles
    assert first.told == second.told
    assert [one.epoch for one in first.told] == list(range(SCHEDULE.rounds - 1))
    assert first.told[-1].steps == (SCHEDULE.rounds - 1) * SCHEDULE.steps_per_round
    losses = [one.loss_mean for one in first.told]
    assert losses == sorted(losses, reverse=True)


def test_an_adjustment_holds_from_the_next_round_on() -> None:
    def halve_once(metrics: Metrics) -> Change:
        return Change(action="continue", adjustment=Adjustment(learning_rate=0.5)) if metrics.epoch == 1 else GO_ON

    sandboxes = {slot: LeastSquares() for slot in (0, 1)}
    designed(designers={slot: [PlainDesigner(steer=halve_once)] for slot in (0, 1)}, sandboxes=sandboxes)
    for sandbox in sandboxes.values():
        assert [one.learning_rate for one in sandbox.courses][:6] == [1.0, 1.0, 0.5, 0.5, 0.5, 0.5]
        assert [one.round for one in sandbox.courses] == list(range(len(sandbox.courses)))


def test_a_stop_leaves_the_model_and_nobody_sees_it() -> None:
    def stop_early(metrics: Metrics) -> Change:
        return STOP if metrics.epoch == 1 else GO_ON

    job = designed(designers={slot: [PlainDesigner(steer=stop_early)] for slot in (0, 1)}, momentum=0.9)
    short = InMemoryJob(make_schedule(warmup_ticks=90, rounds=2), designers={}, momentum=0.9)
    short.run()
    assert job.server.state_P is not None
    assert short.server.state_P is not None
    np.testing.assert_array_equal(job.server.state_P, short.server.state_P)
    assert (job.server.outcome(), codes(job)) == ("finished", ("provider.stopped", "provider.stopped"))
    assert all(len(designer.told) == 2 for _, designer in job.started)
    assert job.trace == designed().trace


HOSTILE = {
    "refused": ("{}", "format.design"),
    "deep": ("[" * 5000, "format.design"),
    "huge": (" " * (1 << 20), "format.design"),
    "too large a state": (too_large_design(), "format.design"),
    "another answer": (another_answer(), "format.design"),
    "another input": (linear_design(FEATURES + 1), "format.design"),
    "trap": ("provider.raised", "provider.raised"),
    "endless": ("provider.timeout", "provider.timeout"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_design_is_a_note_that_no_host_sees(name: str) -> None:
    text, code = HOSTILE[name]
    job = designed(designers={slot: [PlainDesigner(text)] for slot in (0, 1)})
    assert (job.server.outcome(), codes(job)) == ("failed", (code, code))
    assert (job.server.design, job.server.state_P) == (None, None)
    assert job.trace == designed().trace


def test_trainers_whose_designs_differ_do_not_train_together() -> None:
    other = json.loads(linear_design())
    other["optimiser"]["learning_rate"] = 0.2
    job = designed(designers={1: [PlainDesigner(json.dumps(other))]})
    assert job.server.design == linear_design().encode()
    assert codes(job) == ("provider.differs",)
    assert job.server.members.delivered() == (6, 0)
    assert job.trace == designed().trace


@pytest.mark.parametrize("wanted", ["provider.raised", "provider.timeout", "provider.output"])
def test_design_code_that_fails_later_ends_its_member(wanted: str) -> None:
    def fail(metrics: Metrics) -> Change | str:
        return wanted if metrics.epoch == 2 else GO_ON

    job = designed(designers={1: [PlainDesigner(steer=fail)]})
    assert (job.server.outcome(), codes(job)) == ("finished", (wanted,))
    assert job.server.members.delivered() == (6, 3)


def test_a_late_trainer_tells_its_design_code_what_the_others_told_theirs() -> None:
    job = InMemoryJob(make_schedule(warmup_ticks=90, rounds=30), designers={})
    job.run(last=100)
    job.jobs.pop(1)
    job.run(100, 125)
    job.start_trainer(1, 2)
    job.run(125)
    first, late = job.started[0][1], job.started[-1][1]
    assert job.server.outcome() == "finished"
    assert job.server.members.delivered()[1] > 0
    assert late.told == first.told
    assert len(late.told) == 29


def test_a_server_that_begins_anew_gets_fresh_design_code() -> None:
    job = InMemoryJob(make_schedule(warmup_ticks=90), designers={})
    job.run(last=110)
    assert job.started[0][1].told
    job.start_server(2)
    job.run()
    assert (job.server.outcome(), codes(job)) == ("finished", ())
    assert len(job.started) == 4
    assert job.started[0][1].closed
    assert [one.epoch for one in job.started[-1][1].told] == list(range(5))
    assert sha256(job.server.design or b"") == sha256(linear_design().encode())


def test_lost_designs_and_steering_are_said_again() -> None:
    def outage(sender: int, tick: int) -> bool:
        return 3 <= tick < 10 or (sender == -1 and 95 <= tick < 98)

    job = InMemoryJob(make_schedule(warmup_ticks=120, rounds=3, slack_percent=400), designers={}, drop=outage)
    job.run()
    assert (job.server.outcome(), codes(job)) == ("finished", ())


def test_design_code_is_asked_at_most_so_often() -> None:
    assert rounds_per_epoch(make_schedule(rounds=MAX_EPOCHS)) == 1
    assert rounds_per_epoch(make_schedule(rounds=MAX_EPOCHS + 1)) == 2
    assert rounds_per_epoch(make_schedule(rounds=1 << 31)) * MAX_EPOCHS >= 1 << 31
