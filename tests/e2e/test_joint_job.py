"""Two owners train one model on the data of both: each sees and signs what it says, each reads its own reports."""

from pathlib import Path

import numpy as np
import pytest

from client import events as e
from client import granting, joint, ordering, user
from client import joint_events as j
from client.digits import DigitsFiles
from common.errors import AuthenticityError, PolicyError, Refusal
from common.identifiers import JobId
from common.messages.signed import Signed
from tests.e2e.conftest import TINY, MakeParty, Published, Registered, came_late, follow, register

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def half(source: Path, number: int, destination: Path) -> Path:
    """Every other row."""
    with np.load(source) as columns:
        np.savez(destination, **{name: columns[name][number::2] for name in columns})
    return destination


@pytest.fixture
def owners(make_party: MakeParty, published: Published, digits: DigitsFiles, tmp_path: Path) -> list[Registered]:
    halves = [half(digits.train, number, tmp_path / f"{number}.npz") for number in range(2)]
    return [register(make_party("owner"), published, one, tmp_path / f"{one.stem}.sealed") for one in halves]


def test_two_owners_train_one_model(
    owners: list[Registered], published: Published, digits: DigitsFiles, make_party: MakeParty, tmp_path: Path
) -> None:
    first, second = owners
    training = ordering.Training(first.dataset.dataset_id, published.bundle.bundle_id, 2, TINY)
    partner = joint.Partner(second.dataset.dataset_id, second.party.identity.signing_key.party)
    file = tmp_path / "order.json"
    drafted = list(joint.draft(first.party, training, [partner], file))
    assert [part.slots for event in drafted if isinstance(event, j.JointOrder) for part in event.parts] == [(0,), (1,)]
    with pytest.raises(PolicyError, match=r"policy\.signer"):
        list(joint.submit(first.party, [file]))
    with pytest.raises(Refusal, match=r"policy\.signer"):
        list(joint.agree(make_party("stranger"), file, tmp_path / "other.json"))
    agreed = e.outcome(joint.agree(second.party, file, file), j.JointlySigned)
    assert agreed.missing == ()
    job_id = e.outcome(joint.submit(second.party, [file]), e.OrderAccepted).job_id
    assert job_id == JobId.of(Signed.decode(file.read_bytes()).digest)

    told = [follow(one, job_id) for one in owners]
    models = [one[-1] for one in told]
    assert all(isinstance(model, e.ModelSealed) for model in models)
    if came_late(told[0]):
        pytest.skip("the machine was too busy for this schedule")
    reports = [[event.report for event in one if isinstance(event, e.ReportOpened)] for one in told]
    assert reports[0][-1] == reports[1][-1]
    assert len(reports[0][-1].rounds_delivered) == 2

    model = models[0]
    assert isinstance(model, e.ModelSealed)
    asker, grant = make_party("user"), tmp_path / "grant.json"
    terms = granting.GrantTerms(4)
    e.outcome(
        granting.grant(first.party, asker.identity.signing_key.party, model.model_id, terms, grant), e.GrantSigned
    )
    rows = np.zeros((2, 8, 8), np.uint8)
    with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
        user.open_session(asker, Signed.decode(grant.read_bytes())).ask(rows)
    e.outcome(joint.agree_grant(second.party, grant, grant), j.JointlySigned)
    assert user.open_session(asker, Signed.decode(grant.read_bytes())).ask(rows).answers_left == 2
