"""A policy as a file, approved by two of three, over real services: what it does not allow is not read, and counted."""

from pathlib import Path

import pytest

from client import events as e
from client import ledger, owner, policy_changes, provider_reports
from client.context import Party
from client.digits import DigitsFiles
from client.policy_events import LedgerRead, PolicyToApprove
from client.policy_file import read_policy_file
from client.policy_terms import PolicyTerms
from client.scheduling import plan_schedule
from common.errors import PolicyError
from common.leakage import attempt_bits, report_bits
from tests.e2e.conftest import TINY, MakeParty, Published, Registered, follow, order

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def approved_by(parties: list[Party], proposal: Path) -> list[Path]:
    """A copy of the proposal from each, signed."""
    copies = [proposal.with_name(f"approval-{number}.json") for number in range(len(parties))]
    for party, copy in zip(parties, copies, strict=True):
        e.outcome(policy_changes.approve(party, proposal, copy), PolicyToApprove)
    return copies


def test_a_policy_file_with_approvals_from_upload_to_ledger(
    make_party: MakeParty, published: Published, digits: DigitsFiles, tmp_path: Path
) -> None:
    party, approvers = make_party("owner"), [make_party(f"approver-{number}") for number in range(3)]
    keys = tuple(one.identity.signing_key.party for one in approvers)
    sealed, file, proposal = tmp_path / "sealed", tmp_path / "policy.yaml", tmp_path / "proposal.json"
    e.outcome(owner.seal(party, digits.train, sealed), e.Sealed)
    dataset = e.outcome(owner.upload(party, sealed, owner.Quorum(keys, 2)), e.DatasetRegistered)
    file.write_text(
        f"policy: data\nallow: {{providers: [{published.party.identity.signing_key.party}]}}\n"
        f"columns: [image]\nwhere: {{trust_level: simulation}}\nuntil: 2099-01-01\n"
        f"answering: {{refusal_report: classes}}\n"
        f"changing: {{approvers: [{', '.join(keys)}], approvals: 2}}\n"
    )
    terms = read_policy_file(file)
    assert isinstance(terms, PolicyTerms)
    with pytest.raises(PolicyError, match="policy.approvals"):
        list(owner.set_policy(party, dataset.dataset_id, terms))
    e.outcome(policy_changes.propose(party, dataset.dataset_id, terms, proposal), PolicyToApprove)
    with pytest.raises(PolicyError, match="policy.approvals"):
        list(policy_changes.submit_approved(party, dataset.dataset_id, approved_by(approvers[:1], proposal)))
    copies = approved_by(approvers[1:], proposal)
    signed = e.outcome(policy_changes.submit_approved(party, dataset.dataset_id, copies), e.PolicySigned)
    assert signed.policy_version == 2

    registered = Registered(party, dataset)
    told = follow(registered, order(registered, published, trainers=1))
    model, reports = told[-1], [one.report for one in told if isinstance(one, e.ReportOpened)]
    assert isinstance(model, e.ModelSealed)
    assert (model.outcome, reports[-1].codes) == ("failed", ("provider.input",))

    read = e.outcome(ledger.read_ledger(party, dataset.dataset_id), LedgerRead)
    price = attempt_bits(plan_schedule(TINY, published.bundle.state_class))
    assert (read.ledger.jobs, read.ledger.attempts, read.bits) == (1, 1, price + report_bits("classes"))
    assert (read.ledger.policy_version, read.ledger.max_bits) == (2, None)
    read_by_provider = [
        one
        for one in provider_reports.reports(published.party, published.bundle.bundle_id)
        if isinstance(one, e.ProviderReportRead) and one.job_id == model.job_id
    ]
    assert [(one.outcome, one.told) for one in read_by_provider] == [("finished", reports[-1].told_provider)]
    assert read_by_provider[0].told is not None
    assert read_by_provider[0].told.learned == "failed"
