"""A bundle's terms have versions as a data set's policy has: chained, approved, never older, and they widen no job."""

import json
from typing import Any

import pytest

from common.errors import AppraisalError, AuthenticityError, FreshnessError, PolicyError
from common.identifiers import Fmspc, JobId
from common.key_retrieval import renew_lease
from common.messages.decision_log import LogEntry
from common.messages.policy import BundleTerms
from common.messages.registration import Registered
from common.messages.signed import Signed, sign
from common.messages.tcb_terms import TcbTerms
from services.attestation.party_records import accepted_key
from services.attestation.records import JobRecord
from tests.fakes.broker_world import QUERY, TRAINER, BrokerWorld, Party, SealedBundle
from tests.fakes.handover_world import Heir
from tests.fakes.identities import Recoverable, bind, replaced
from tests.unit.services.attestation.test_budget import Served

APPROVERS = [Party() for _ in range(3)]
UNWANTED = TcbTerms(denied_fmspcs=(Fmspc("c0ffee000000"),))
OTHER_CODE = "ab" * 32


def newest(world: BrokerWorld, bundle: SealedBundle) -> Signed:
    return world.context.bundle(bundle.bundle_id).terms_document


def following(world: BrokerWorld, bundle: SealedBundle, *signers: Party, **changes: Any) -> Signed:
    before = BundleTerms.decode(newest(world, bundle).payload)
    fields = {
        "policy_version": before.policy_version + 1, "previous": newest(world, bundle).digest,
        "approvers": before.approvers, "approvals_needed": before.approvals_needed,
    } | changes  # fmt: skip
    return sign(world.bundle_terms(bundle.provider, **fields), *(one.key for one in signers or (bundle.provider,)))


def update(world: BrokerWorld, bundle: SealedBundle, terms: Signed) -> None:
    world.channel(bundle.provider).ask(world.terms_update(bundle, terms), Registered)


def change(world: BrokerWorld, bundle: SealedBundle, **changes: Any) -> None:
    update(world, bundle, following(world, bundle, **changes))


def test_versions_are_chained_and_never_older(world: BrokerWorld) -> None:
    bundle = world.register_bundle()
    second = following(world, bundle, answers_total=9)
    update(world, bundle, second)
    update(world, bundle, second)  # the same again
    third = following(world, bundle, answers_total=8)
    update(world, bundle, third)
    beside = following(world, bundle, policy_version=3, previous=second.digest, answers_total=7)
    for older in (bundle.terms, second, beside):
        with pytest.raises(FreshnessError, match="freshness.terms") as told:
            update(world, bundle, older)
        assert told.value.expected == str((4, third.digest))
    world.restart()
    assert newest(world, bundle).digest == third.digest
    [first, *_] = [entry for raw in world.store.entries if (entry := LogEntry.decode(raw)).decision == "update-policy"]
    assert (first.subjects.bundle, first.subjects.terms) == (bundle.bundle_id, second.digest)
    assert first.subjects.parties == (world.provider.party,)


def test_nobody_else_changes_them(world: BrokerWorld) -> None:
    bundle, thief = world.register_bundle(), Party()
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        update(world, bundle, following(world, bundle, thief))
    with pytest.raises(PolicyError, match="policy.signer"):
        update(world, bundle, following(world, bundle, provider=thief.party))
    other = world.register_bundle(thief)
    body = world.terms_update(other, following(world, other))
    with pytest.raises(AuthenticityError, match="authenticity.wrapped_key"):
        world.channel().ask(body.model_copy(update={"bundle_id": bundle.bundle_id}), Registered)
    world.revoke(world.provider, "bundle", bundle.bundle_id)
    with pytest.raises(PolicyError, match="policy.revoked"):
        change(world, bundle)


def test_a_later_version_is_not_published_as_the_first(world: BrokerWorld) -> None:
    bundle = world.seal_bundle(policy_version=2)
    with pytest.raises(PolicyError, match="policy.signer"):
        world.channel(bundle.provider).ask(world.bundle_registration(bundle), Registered)


@pytest.mark.parametrize("approving", [[], APPROVERS[:1], [APPROVERS[0], Party()]])
def test_too_few_approvals_change_nothing(world: BrokerWorld, approving: list[Party]) -> None:
    bundle = world.register_bundle(approvers=tuple(one.party for one in APPROVERS), approvals_needed=2)
    for changes in ({}, {"approvers": (), "approvals_needed": 0}):
        with pytest.raises(PolicyError, match="policy.terms_approvals") as told:
            update(world, bundle, following(world, bundle, bundle.provider, *approving, **changes))
        assert str(told.value.expected).startswith("signatures of 2 of")
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        update(world, bundle, following(world, bundle, *APPROVERS))
    assert newest(world, bundle).digest == bundle.terms.digest
    update(world, bundle, following(world, bundle, bundle.provider, *APPROVERS[1:]))


def test_a_quorum_that_cannot_be_had_is_no_terms(world: BrokerWorld) -> None:
    for wrong in ({"approvals_needed": 1}, {"approvers": (world.provider.party,), "approvals_needed": 1}):
        with pytest.raises(ValueError, match="approve"):
            world.bundle_terms(world.provider, **wrong)


class Running:
    """A job whose order was accepted under the first of these terms, with a trainer that holds a lease."""

    def __init__(self, world: BrokerWorld, **first: Any) -> None:
        self.world, self.bundle = world, world.register_bundle(**first)
        self.job_id: JobId = world.start_job(world.register_data(), self.bundle)


def test_a_tightened_version_ends_what_runs(world: BrokerWorld) -> None:
    running = Running(world)
    launch = world.launch(TRAINER, running.job_id)
    change(world, running.bundle, tcb=UNWANTED)
    with pytest.raises(AppraisalError, match="appraisal.platform"):
        renew_lease(world.runtime("trainer"), world.channel(), launch)
    with pytest.raises(AppraisalError, match="appraisal.platform"):
        world.launch(TRAINER, running.job_id, 1)


@pytest.mark.parametrize(
    ("narrow", "code"),
    [
        ({"tcb": UNWANTED}, "appraisal.platform"),
        ({"measurements": (OTHER_CODE,)}, "policy.provider_terms"),
        ({"not_after": 5}, "policy.provider_terms"),
    ],
)
def test_a_wider_version_widens_no_running_job(world: BrokerWorld, narrow: dict[str, Any], code: str) -> None:
    narrow = {name: world.time + value if name == "not_after" else value for name, value in narrow.items()}
    running = Running(world, **narrow)
    change(world, running.bundle)
    world.time += 6
    for _ in range(2):
        with pytest.raises((PolicyError, AppraisalError), match=code):
            world.launch(TRAINER, running.job_id)
        world.restart()
    assert world.launch(TRAINER, world.start_job(world.register_data(), running.bundle))


def test_jobs_of_a_state_that_names_no_terms_are_held_to_the_first(world: BrokerWorld) -> None:
    """What an earlier build stored: neither a job's terms nor the document of version 1 apart."""
    running = Running(world, tcb=UNWANTED)
    records = world.context.state._records
    records[running.job_id] = world.context.job(running.job_id).model_copy(update={"terms": None})
    del records[accepted_key(f"{running.bundle.bundle_id} 1")]
    change(world, running.bundle)
    assert world.context.state.find(JobRecord, running.job_id) == records[running.job_id]
    with pytest.raises(AppraisalError, match="appraisal.platform"):
        world.launch(TRAINER, running.job_id)


def test_answers_go_by_the_newest_alone(world: BrokerWorld) -> None:
    served = Served(world, terms={"answers_total": 10, "detail": "label"})
    grant = world.grant(served.manifest)
    assert world.draw(served.enclave, grant).detail == "label"
    with pytest.raises(PolicyError, match="policy.budget"):
        world.draw(served.enclave, grant)
    change(world, served.bundle, answers_total=30)
    block = world.draw(served.enclave, grant)
    assert (block.answers, block.detail) == (20, "scores")
    change(world, served.bundle, users=(Party().party,))
    with pytest.raises(PolicyError, match="policy.provider_terms"):
        world.draw(served.enclave, grant)
    assert world.launch(QUERY, served.job_id)


def test_orders_go_by_the_newest(world: BrokerWorld) -> None:
    data, bundle = world.register_data(), world.register_bundle(owners=(Party().party,))
    with pytest.raises(PolicyError, match="policy.provider_terms"):
        world.start_job(data, bundle)
    change(world, bundle)
    job_id = world.start_job(data, bundle)
    terms = world.context.job(job_id).terms
    assert terms is not None
    assert terms.digest == newest(world, bundle).digest


def test_terms_of_an_earlier_client_are_version_1(world: BrokerWorld) -> None:
    """They were signed without the fields of versions, and name themselves by those bytes."""
    document = json.loads(world.bundle_terms(world.provider).encode())
    earlier = {"policy_version", "previous", "approvers", "approvals_needed"}
    text = json.dumps({name: value for name, value in document.items() if name not in earlier})
    assert BundleTerms.decode(text.encode()) == world.bundle_terms(world.provider)


def test_a_handover_asks_the_newest_and_bringing_the_key_again_undoes_none(world: BrokerWorld) -> None:
    heir = Heir.of(world)
    both = (world.release.digest, heir.release.digest)
    first, stays = world.register_bundle(), world.register_bundle(releases=both)
    change(world, first, releases=both)
    change(world, stays, answers_total=7)
    heir.succeed(leave_behind=True)
    assert world.context.bundle(first.bundle_id).keys is not None
    assert world.context.bundle(stays.bundle_id).keys is None
    world.channel().ask(world.bundle_registration(stays), Registered)
    record = world.context.bundle(stays.bundle_id)
    assert (record.keys is None, record.terms.answers_total, record.terms.policy_version) == (False, 7, 2)


def test_what_a_thief_signed_is_void(world: BrokerWorld) -> None:
    """Terms fall back to the version before the theft; those of an earlier build's bundle, too."""
    provider = Recoverable()
    bind(world, provider)
    bundle, early = world.register_bundle(provider, answers_total=5), world.register_bundle(provider, answers_total=4)
    del world.context.state._records[accepted_key(f"{early.bundle_id} 1")]
    second = following(world, bundle, answers_total=6)
    update(world, bundle, second)
    stolen = world.head.size
    for one in (bundle, early):
        change(world, one, answers_total=10**6)
        change(world, one, answers_total=10**7)
    successor = replaced(world, provider, void_from=stolen)
    world.restart()
    assert newest(world, bundle).digest == second.digest
    assert newest(world, early).digest == early.terms.digest
    with pytest.raises(PolicyError, match=r"policy\.identity"):
        change(world, bundle)
    update(world, bundle, following(world, bundle, successor, answers_total=7))
    assert world.context.bundle(bundle.bundle_id).terms.policy_version == 3
