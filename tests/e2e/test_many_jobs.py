"""More jobs than slots: every one gets its turn."""

import dataclasses

import pytest

from client import events as e
from client import ordering
from tests.e2e.conftest import TINY, Published, Registered, came_late, follow, order

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_three_jobs_of_two_trainers_share_two_slots(registered: Registered, published: Published) -> None:
    wishes = dataclasses.replace(TINY, rounds=1)
    job_ids = [order(registered, published, wishes) for _ in range(3)]
    assert len(set(job_ids)) == 3
    followed = [follow(registered, job_id) for job_id in job_ids]
    for told in followed:
        model = told[-1]
        assert isinstance(model, e.ModelSealed)
        assert model.outcome in {"finished", "finished_short"} or came_late(told)
    assert not all(came_late(told) for told in followed)
    listed = [event for event in ordering.jobs(registered.party) if isinstance(event, e.JobSeen)]
    assert [event.job_id for event in listed] == job_ids
