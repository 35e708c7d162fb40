"""Challenge, evidence, keys: how one launch is admitted (side: enclave).

Keys leave only after these checks, in this order; each raises and none can be skipped:

  (1) the challenge was issued here, is fresh, and is spent by this call;
  (2) the job runs (for a query enclave: it has made a model), and neither its release nor anything that the role gets
      a key of is revoked, nor the identity of one of its parties;
  (3) the attempt is still the slot's next, and within every owner's limits (attempts, bits);
  (4) the quote binds this launch, is authentic, and meets the release (`verifier`); no document of its collateral is
      older than one that was accepted before (`collateral`);
  (5) platform and code are as strong as the job's, as every party's terms demand (trust level, TCB, measurements), and
      sound for the sandbox.

Of each owner a job's launch is judged under two versions of the policy, that under which its order was accepted and
the newest: a later one may stop a running job and never widens what it may do. A query enclave's: the newest alone.

Only then is the launch written down, durably, and its keys wrapped to the key that its quote bound.
"""

from dataclasses import dataclass
from typing import Final

from common.dcap import QuoteClaims, require_tcb, require_trust_level
from common.dcap.completion import complete_evidence
from common.errors import ConflictError, FreshnessError, NotFoundError
from common.identifiers import Digest, RoleName
from common.messages.attestation import Admission, Admit, AppraiseEvidence, Challenge, IssueChallenge, LaunchBinding
from common.messages.evidence import Evidence
from common.messages.policy import BundleTerms, DataPolicy
from common.policy_rules import (
    require_attempt_left,
    require_level,
    require_measurement,
    require_release_kept,
    require_sound_pair,
    require_terms_unexpired,
    require_unexpired,
)
from services.attestation.challenges import OpenChallenge
from services.attestation.collateral import require_not_older
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.entitlement import entitled
from services.attestation.key_grants import grant_keys
from services.attestation.ledger import charged_attempt, require_attempt_bits
from services.attestation.log_subjects import of_launch
from services.attestation.members import QUERY, TRAINER, next_attempt, require_next, require_slot, with_launch
from services.attestation.platform_inventory import require_known_platform, require_unrevoked_platform
from services.attestation.records import AppraisedMachine, CollateralRecord, JobRecord, LaunchRecord
from services.attestation.verifier import measurement_of, verify_launch

PLACEMENT_SECONDS: Final = 86_400
"""How long a query enclave is placed before it must show a fresh quote."""


def issue_challenge(broker: BrokerContext, body: IssueChallenge, at: int) -> Challenge:
    """A nonce for one launch. Raises `NotFoundError`, `ConflictError` or `PolicyError` (2, 3)."""
    job = broker.job(body.job_id)
    require_slot(job, body.role, body.slot)
    subject = require_admissible(broker, job, body.role, at)
    attempt = next_attempt(job, body.role, body.slot)
    if body.role == QUERY:
        attempt += broker.challenges.open_for(job.job_id, body.role)
    else:
        for policy in _policies(broker, job, body.role):
            with entitled(policy):
                require_attempt_left(policy, attempt)
    if body.role == TRAINER:
        require_attempt_bits(broker, job)
    challenge = broker.challenges.issue(job.job_id, body.role, body.slot, attempt=attempt, subject=subject, at=at)
    return challenge_of(broker, challenge)


def challenge_of(broker: BrokerContext, challenge: OpenChallenge) -> Challenge:
    """What a launch is told of its challenge."""
    return Challenge(
        challenge_id=challenge.challenge_id,
        nonce=challenge.nonce,
        broker=broker.broker,
        subject=challenge.subject,
        attempt=challenge.attempt,
        not_after=challenge.not_after,
    )


def admit(broker: BrokerContext, body: Admit, at: int) -> Admission:
    """Checks (1) to (5), then keys. Raises the refusal of the first that fails."""
    newcomer = appraise_newcomer(broker, body, at)
    job, claims = newcomer.job, newcomer.claims
    launch = launch_record(broker, job, body.binding, claims, at)
    admitted = with_launch(job, launch, at)
    subjects = of_launch(broker, job, newcomer.challenge, body, measurement=launch.mr_enclave)
    charges = charged_attempt(broker, job) if launch.role == TRAINER else ()
    broker.state.commit(Decision("admit-launch", subjects), at, admitted, *charges, *newcomer.marks)
    return grant_keys(broker, admitted, newcomer.challenge, body.binding, launch, claims)


@dataclass(frozen=True)
class Newcomer:
    """A launch that passed the checks (1) to (5). `marks` are to be remembered if it is admitted."""

    job: JobRecord
    challenge: OpenChallenge
    claims: QuoteClaims
    marks: tuple[CollateralRecord, ...]


def appraise_newcomer(broker: BrokerContext, body: Admit | AppraiseEvidence, at: int) -> Newcomer:
    """Checks (1) to (5); changes nothing but that the challenge is spent."""
    challenge = broker.challenges.spend(body.challenge_id, at)  # (1)
    job = broker.job(challenge.job_id)
    require_admissible(broker, job, challenge.role, at)  # (2)
    require_next(job, challenge.role, challenge.slot, challenge.attempt)  # (3)
    if challenge.role == TRAINER:
        require_attempt_bits(broker, job)
    claims, marks = appraise_launch(broker, job, challenge, body.binding, body.evidence, at)  # (4), (5)
    return Newcomer(job, challenge, claims, marks)


def appraise_launch(
    broker: BrokerContext, job: JobRecord, challenge: OpenChallenge, binding: LaunchBinding, shown: Evidence, at: int
) -> tuple[QuoteClaims, tuple[CollateralRecord, ...]]:
    """Checks (4) and (5); the claims, and what is to be remembered of the collateral if the launch is admitted."""
    evidence = complete_evidence(shown)
    claims = verify_launch(
        evidence,
        binding,
        challenge,
        broker=broker.broker,
        trust=broker.platform.trust_settings,
        release=broker.release_of(job),
        at=at,
    )
    marks = require_not_older(broker, evidence.collateral)
    _require_platform(broker, job, challenge.role, claims, at)
    return claims, marks


def require_admissible(broker: BrokerContext, job: JobRecord, role: RoleName, at: int) -> Digest:
    """Check (2); what a launch of this role is about: the order's digest, or the model manifest's."""
    bundle = broker.bundle(job.order.bundle)
    broker.require_in_force(job.order.release)
    owners = [data.manifest.owner for data in broker.datasets_of(job)]
    broker.parties.require_held(*owners, bundle.publication.provider)
    for policy in _policies(broker, job, role):
        with entitled(policy):
            require_unexpired(policy, at)
            require_release_kept(policy, job.order.release)
    with entitled(bundle.terms):
        require_terms_unexpired(bundle.terms, at)
    broker.require_unrevoked([bundle])
    if role == QUERY:
        if job.manifest_document is None:
            raise NotFoundError("not_found.model", expected="a job that has sealed its model", seen=job.state)
        broker.keys_of(job)
        return job.manifest_document.digest
    if job.state != "running":
        raise ConflictError("conflict.job_state", expected="running", seen=job.state)
    broker.require_unrevoked(broker.datasets_of(job))
    if at > job.order.not_after:
        raise FreshnessError("freshness.order", expected=f"valid at {at}", seen=f"until {job.order.not_after}")
    return job.order_document.digest


def _policies(broker: BrokerContext, job: JobRecord, role: RoleName) -> list[DataPolicy]:
    newest = [data.policy for data in broker.datasets_of(job)]
    return newest if role == QUERY else [*newest, *job.accepted_policies]


def _all_terms(broker: BrokerContext, job: JobRecord, role: RoleName) -> list[DataPolicy | BundleTerms]:
    return [*_policies(broker, job, role), broker.bundle(job.order.bundle).terms]


def _require_platform(broker: BrokerContext, job: JobRecord, role: RoleName, claims: QuoteClaims, at: int) -> None:
    require_trust_level(claims.trust_level, job.trust_level)
    require_unrevoked_platform(broker, claims.machine)
    for terms in _all_terms(broker, job, role):
        with entitled(terms):
            require_level(terms, claims.trust_level)
            require_tcb(claims.machine, terms.tcb, at)
            require_known_platform(broker, claims.machine, terms.tcb)
            require_measurement(terms, claims.measurement)
    require_sound_pair(job.order.sandbox, claims.trust_level)


def launch_record(
    broker: BrokerContext, job: JobRecord, binding: LaunchBinding, claims: QuoteClaims, at: int
) -> LaunchRecord:
    """What the broker writes down of a launch that it admits."""
    ends = (at + PLACEMENT_SECONDS, *(terms.not_after for terms in _all_terms(broker, job, binding.role)))
    return LaunchRecord(
        role=binding.role,
        slot=binding.slot,
        attempt=binding.attempt,
        signing_public=binding.signing_public,
        mr_enclave=measurement_of(claims),
        not_after=min(ends) if binding.role == QUERY else 0,
        appraised=AppraisedMachine(trust_level=claims.trust_level, tcb_status=claims.machine.tcb_status, at=at),
    )
