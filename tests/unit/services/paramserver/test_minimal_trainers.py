"""An order says how many trainers a round needs: with fewer the job waits, and the host sees the same."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from common.exchange.schedule import round_deadline_ticks
from tests.fakes.in_memory_job import InMemoryJob, make_schedule
from tests.vectors.sample_documents import ORDER

PATIENT = make_schedule(rounds=8, slack_percent=600)


def test_no_round_counts_while_a_needed_trainer_is_away() -> None:
    job = InMemoryJob(PATIENT, trainers=3, minimal_trainers=2)
    job.run(last=25)
    del job.jobs[0], job.jobs[1]
    job.run(25, 45)  # what they had said is taken, and they are given up
    done, state_P = job.server.rounds.rounds_done, job.server.state_P
    assert 0 < done < PATIENT.rounds
    assert state_P is not None
    job.run(45, 45 + 4 * round_deadline_ticks(PATIENT))
    assert job.server.rounds.rounds_done == done
    assert job.server.state_P is state_P
    report = job.server.report(1, 45 + 4 * round_deadline_ticks(PATIENT))
    assert (report.round, report.members_live, report.members_needed) == (done, 1, 2)
    job.start_trainer(1, 2)
    job.run(45 + 4 * round_deadline_ticks(PATIENT))
    assert job.server.outcome() == "finished"


def test_with_enough_it_goes_on_without_the_others() -> None:
    job = InMemoryJob(PATIENT, trainers=3, minimal_trainers=2)
    job.run(last=25)
    del job.jobs[2]
    job.run(25)
    assert job.server.outcome() == "finished"
    assert job.server.members.delivered()[2] < 8


@pytest.mark.parametrize("away", [range(20, 200), range(200)])
def test_the_host_sees_the_same_whatever_is_needed(away: range) -> None:
    def lost(sender: int, tick: int) -> bool:
        return sender == 1 and tick in away

    needs_one, needs_both = (InMemoryJob(PATIENT, drop=lost, minimal_trainers=needed) for needed in (1, 2))
    for job in (needs_one, needs_both):
        job.run(last=200)
    assert needs_one.server.rounds.rounds_done > needs_both.server.rounds.rounds_done
    for job in (needs_one, needs_both):
        job.run(200)
    assert needs_one.trace == needs_both.trace


@pytest.mark.parametrize("trainers", [2, 3])
def test_an_invalid_delta_counts_for_none_and_the_valid_ones_are_kept(trainers: int) -> None:
    """Of a trainer that says it trained on no rows."""
    job = InMemoryJob(PATIENT, trainers=trainers, minimal_trainers=2)
    training = job.jobs[1]._training
    training._parts = replace(training._parts, weight=int)
    job.run(last=40)
    assert job.server.members.codes() == ("provider.output",)
    if trainers == 2:
        assert (job.server.rounds.rounds_done, set(job.server._delivered)) == (0, {0})
    job.run(40)
    assert job.server.outcome() == {2: "failed", 3: "finished"}[trainers]
    assert job.server.members.rounds_delivered == {2: {}, 3: {0: 8, 2: 8}}[trainers]


@pytest.mark.parametrize(
    "changes", [{"minimal_trainers": 3}, {"minimal_rounds": (1, 1)}, {"minimal_rounds": (1 << 20,)}]
)
def test_an_order_whose_minima_cant_be_met_is_none(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        type(ORDER).model_validate(dict(ORDER) | changes)


def test_by_default_one_round_of_each_owner_is_needed() -> None:
    assert ORDER.rounds_of_owners == (1,)
    assert ORDER.model_copy(update={"owners": (*ORDER.owners, *ORDER.owners)}).rounds_of_owners == (1, 1)
    assert ORDER.model_copy(update={"minimal_rounds": (4,)}).rounds_of_owners == (4,)
