"""More jobs than slots, and code that fails: every order ends with a reason, and the host sees no difference."""

from pathlib import Path

import pytest

from client import events as e
from client import ordering
from client.digits import DigitsFiles
from client.measuring import CODE_ROOT
from tests.e2e.conftest import MakeParty, Published, Registered, came_late, follow, order, publish, register

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SOURCE = CODE_ROOT / "examples" / "providers" / "digits_cnn"
BROKEN_STEP = "raise RuntimeError('an image: ' + str(batch['image']))"


def test_three_jobs_of_two_trainers_share_two_slots(registered: Registered, published: Published) -> None:
    job_ids = [order(registered, published) for _ in range(3)]
    assert len(set(job_ids)) == 3
    followed = [follow(registered, job_id) for job_id in job_ids]
    for told in followed:
        model = told[-1]
        assert isinstance(model, e.ModelSealed)
        assert model.outcome in {"finished", "finished_short"} or came_late(told)
    assert not all(came_late(told) for told in followed)
    listed = [event for event in ordering.jobs(registered.party) if isinstance(event, e.JobSeen)]
    assert [event.job_id for event in listed] == job_ids


def test_the_owner_reads_why_provider_code_failed_and_the_host_sees_a_whole_schedule(
    make_party: MakeParty, digits: DigitsFiles, tmp_path: Path
) -> None:
    source = tmp_path / "broken"
    source.mkdir()
    code = (SOURCE / "digits_cnn.py").read_text()
    intact = 'return functional.cross_entropy(self(batch["image"]), batch["label"])'
    assert intact in code
    (source / "digits_cnn.py").write_text(code.replace(intact, BROKEN_STEP))
    (source / "provider.toml").write_text((SOURCE / "provider.toml").read_text())
    published = publish(make_party("provider"), source, tmp_path / "bundle")
    registered = register(make_party("owner"), published, digits.train, tmp_path / "sealed")
    told = follow(registered, order(registered, published))
    last = [event.report for event in told if isinstance(event, e.ReportOpened)][-1]
    assert last.outcome == "failed"
    assert set(last.codes) == {"provider.raised"}
    assert last.tick >= last.total_ticks - 1
    seen = [event for event in told if isinstance(event, e.JobSeen)][-1]
    assert (seen.state, seen.code) == ("finished", None)
    assert seen.model_id is not None
