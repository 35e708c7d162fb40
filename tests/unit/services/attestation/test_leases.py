"""Renewals at the broker: what was tightened since the admission counts."""

from dataclasses import replace
from typing import Any

import pytest

from common.broker_channel import BrokerChannel
from common.crypto.signing import SigningKey
from common.errors import AppraisalError, ConflictError, FreshnessError, PolicyError, UnavailableError
from common.identifiers import JobId, MrEnclave
from common.key_retrieval import Launch, renew_lease
from common.messages.admission import Admission, Admit, Challenge, IssueChallenge, Leased, RenewLease
from common.messages.decision_log import LogEntry
from common.messages.registration import Registered
from common.messages.signed import sign
from common.messages.tcb_terms import TcbTerms
from services.attestation.challenges import LIFETIME_SECONDS
from services.attestation.lease_table import LEASE_SECONDS
from tests.fakes.broker_world import PARAMSERVER, QUERY, TRAINER, BrokerWorld, SealedData


@pytest.fixture
def data(world: BrokerWorld) -> SealedData:
    return world.register_data()


@pytest.fixture
def job_id(world: BrokerWorld, data: SealedData) -> JobId:
    return world.start_job(data)


def renew(world: BrokerWorld, launch: Launch) -> int:
    return renew_lease(world.runtime(launch.binding.role), world.channel(), launch)


def challenge_for(world: BrokerWorld, launch: Launch) -> Challenge:
    ask = IssueChallenge(role=launch.binding.role, job_id=launch.terms.job_id, slot=0, renews=launch.attempt)
    return world.channel().ask(ask, Challenge)


def answer(world: BrokerWorld, launch: Launch, challenge: Challenge, **changes: Any) -> Leased:
    binding = launch.binding.model_copy(update={"nonce": challenge.nonce} | changes)
    evidence = world.runtime(launch.binding.role).evidence(binding.report_data())
    body = RenewLease(challenge_id=challenge.challenge_id, binding=binding, evidence=evidence)
    return world.channel().ask(body, Leased)


@pytest.mark.parametrize("role", [TRAINER, PARAMSERVER])
def test_a_live_launch_renews_as_often_as_it_likes(world: BrokerWorld, job_id: JobId, role: Any) -> None:
    launch = world.launch(role, job_id)
    assert launch.terms.lease_seconds == LEASE_SECONDS
    size = world.head.size
    for _ in range(20):
        assert renew(world, launch) == LEASE_SECONDS
    assert world.head.size == size, "nothing is decided by it"
    assert world.launch(role, job_id).attempt == 2, "and no attempt is used up"


def test_a_query_enclave_renews_beside_others_of_its_model(world: BrokerWorld, job_id: JobId) -> None:
    world.finish(job_id)
    first, second = world.launch(QUERY, job_id), world.launch(QUERY, job_id)
    assert renew(world, first) == renew(world, second) == LEASE_SECONDS


def test_what_is_revoked_is_not_renewed(world: BrokerWorld, data: SealedData, job_id: JobId) -> None:
    trainer = world.launch(TRAINER, job_id)
    begun = world.time
    world.time += 50
    renew(world, trainer)
    revoked = world.revoke(data.owner, "dataset", data.dataset_id)
    assert revoked.leases_end == begun + 50 + LEASE_SECONDS
    with pytest.raises(ConflictError, match=r"conflict\.job_state"):
        renew(world, trainer)


def test_a_clock_that_was_held_back_shortens_no_end(world: BrokerWorld, data: SealedData, job_id: JobId) -> None:
    """The host grants under a clock that stands still, and sets it right before it lets the revocation through."""
    trainer = world.launch(TRAINER, job_id)
    renew(world, trainer)
    world.time += 10 * LEASE_SECONDS
    assert world.revoke(data.owner, "dataset", data.dataset_id).leases_end == world.time + LEASE_SECONDS


def test_a_model_s_enclaves_lose_it_with_its_bundle(world: BrokerWorld) -> None:
    bundle = world.register_bundle()
    job_id = world.start_job(bundle=bundle)
    world.finish(job_id)
    query = world.launch(QUERY, job_id)
    revoked = world.revoke(bundle.provider, "bundle", bundle.bundle_id)
    assert revoked.leases_end == world.time + LEASE_SECONDS
    with pytest.raises(PolicyError, match=r"policy\.revoked"):
        renew(world, query)


def test_after_a_restart_earlier_leases_count_for_a_whole_lease(
    world: BrokerWorld, data: SealedData, job_id: JobId
) -> None:
    world.launch(TRAINER, job_id)
    world.time += 100
    world.restart()
    assert world.revoke(data.owner, "dataset", data.dataset_id).leases_end == world.time + LEASE_SECONDS


def test_a_tightened_policy_counts_at_the_next_renewal(world: BrokerWorld, data: SealedData, job_id: JobId) -> None:
    """Also a machine that was shut out in mid-job, and a TCB that is no longer accepted."""
    launch = world.launch(TRAINER, job_id)
    terms = world.policy_terms(
        data.owner, policy_version=2, previous=data.policy.digest, tcb=TcbTerms(min_tcb_evaluation=99)
    )
    world.channel().ask(world.policy_update(data, sign(terms, data.owner.key)), Registered)
    with pytest.raises(AppraisalError, match=r"appraisal\.tcb_evaluation"):
        renew(world, launch)


def test_a_superseded_launch_renews_nothing(world: BrokerWorld, job_id: JobId) -> None:
    old = world.launch(TRAINER, job_id)
    pending = challenge_for(world, old)
    world.launch(TRAINER, job_id)
    with pytest.raises(FreshnessError, match=r"freshness\.attempt"):
        renew(world, old)
    with pytest.raises(FreshnessError, match=r"freshness\.attempt"):
        answer(world, old, pending)


def test_another_key_of_the_same_code_renews_nothing(world: BrokerWorld, job_id: JobId) -> None:
    """A clone that was never admitted."""
    launch = world.launch(TRAINER, job_id)
    with pytest.raises(FreshnessError, match=r"freshness\.attempt"):
        answer(world, launch, challenge_for(world, launch), signing_public=SigningKey.generate().party)


def test_fresh_evidence_is_evidence_over_this_challenge(world: BrokerWorld, job_id: JobId) -> None:
    launch = world.launch(TRAINER, job_id)
    challenge = challenge_for(world, launch)
    with pytest.raises(AppraisalError, match=r"appraisal\.binding"):
        answer(world, launch, challenge, nonce=launch.binding.nonce)
    with pytest.raises(FreshnessError, match=r"freshness\.challenge"):
        answer(world, launch, challenge)
    stale = challenge_for(world, launch)
    world.time += LIFETIME_SECONDS + 1
    with pytest.raises(FreshnessError, match=r"freshness\.challenge"):
        answer(world, launch, stale)


def test_other_code_renews_nothing(world: BrokerWorld, job_id: JobId) -> None:
    launch = world.launch(TRAINER, job_id)
    with pytest.raises(AppraisalError, match=r"appraisal\.measurement"):
        renew_lease(world.runtime("trainer", MrEnclave("ab" * 32)), world.channel(), launch)


def test_challenges_of_admissions_and_renewals_are_not_exchanged(world: BrokerWorld, job_id: JobId) -> None:
    launch = world.launch(TRAINER, job_id)
    renewal = challenge_for(world, launch)
    binding = launch.binding.model_copy(update={"nonce": renewal.nonce})
    evidence = world.runtime("trainer").evidence(binding.report_data())
    with pytest.raises(FreshnessError, match=r"freshness\.challenge"):
        world.channel().ask(Admit(challenge_id=renewal.challenge_id, binding=binding, evidence=evidence), Admission)
    admission = world.channel().ask(IssueChallenge(role=TRAINER, job_id=job_id, slot=0), Challenge)
    with pytest.raises(FreshnessError, match=r"freshness\.challenge"):
        answer(world, launch, admission, attempt=admission.attempt)


def test_a_broker_with_an_older_state_renews_nothing_before_its_witness_has_spoken(tmp_path: Any) -> None:
    world = BrokerWorld(tmp_path, witnesses=1)
    (witness,) = world.witnesses
    world.confirm(witness)
    data = world.register_data()
    job_id = world.start_job(data)
    with world.attended(witness):
        launch = world.launch(TRAINER, job_id)
        before = world.store.copy()
        world.revoke(data.owner, "dataset", data.dataset_id)
    world.restart(before)
    with pytest.raises(UnavailableError, match=r"unavailable\.frozen"):
        renew(world, launch)


def test_a_broker_beside_its_successor_renews_nothing_that_its_witness_has_not_seen(tmp_path: Any) -> None:
    """The host keeps the old one running, with all its confirmations, and shows the new one to everybody else."""
    world = BrokerWorld(tmp_path, witnesses=1)
    (witness,) = world.witnesses
    world.confirm(witness)
    data = world.register_data()
    job_id = world.start_job(data)
    with world.attended(witness):
        launch = world.launch(TRAINER, job_id)
        assert renew(world, launch) == LEASE_SECONDS
        world.revoke(world.owner, "grant", "grant_" + 32 * "0")  # one more decision that the witness sees
    old = world.core
    kept = BrokerChannel(lambda raw: old.handle(raw, world.time), world.genesis.signing_public)
    world.restart(world.store.copy())
    world.confirm(witness)
    with world.attended(witness):
        world.revoke(data.owner, "dataset", data.dataset_id)
    assert renew_lease(world.runtime(TRAINER), kept, launch) == LEASE_SECONDS, "counted from the question before"
    for _ in range(3):
        with pytest.raises(UnavailableError, match=r"unavailable\.frozen"):
            renew_lease(world.runtime(TRAINER), kept, launch)
    assert old._context.anchor.unconfirmed == 1, "and tries leave no more than one entry"


def test_one_entry_serves_all_launches_until_they_renew_again(tmp_path: Any) -> None:
    world = BrokerWorld(tmp_path, witnesses=1)
    (witness,) = world.witnesses
    world.confirm(witness)
    job_id = world.start_job()
    with world.attended(witness):
        launches = [world.launch(PARAMSERVER, job_id), world.launch(TRAINER, job_id)]
        size = world.head.size
        for _ in range(10):
            for launch in launches:
                assert renew(world, launch) == LEASE_SECONDS
        assert world.head.size == size + 10
    assert LogEntry.decode(world.store.entries[-1]).decision == "renew-lease"


def test_a_launch_that_was_told_another_challenge_s_attempt_stops(world: BrokerWorld, job_id: JobId) -> None:
    launch = world.launch(TRAINER, job_id)
    foreign = replace(launch, binding=launch.binding.model_copy(update={"attempt": 9}))
    with pytest.raises(AppraisalError, match=r"appraisal\.binding"):
        renew(world, foreign)
