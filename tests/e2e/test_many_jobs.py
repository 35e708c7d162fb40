"""More jobs than slots: every one gets its turn."""

import pytest

from client import events as e
from client import ordering
from tests.e2e.conftest import Ordered, came_late, follow

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_three_jobs_of_two_trainers_share_two_slots(many_jobs: Ordered) -> None:
    assert len(set(many_jobs.job_ids)) == 3
    followed = [follow(many_jobs.owner, job_id) for job_id in many_jobs.job_ids]
    for told in followed:
        model = told[-1]
        assert isinstance(model, e.ModelSealed)
        assert model.outcome in {"finished", "finished_short"} or came_late(told)
    assert not all(came_late(told) for told in followed)
    listed = [event for event in ordering.jobs(many_jobs.owner.party) if isinstance(event, e.JobSeen)]
    assert [event.job_id for event in listed] == list(many_jobs.job_ids)
