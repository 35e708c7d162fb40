"""Challenge, evidence, keys: how one launch is admitted (side: enclave).

Keys leave only after these checks, in this order; each raises and none can be skipped:

  (1) the challenge was issued here, is fresh, and is spent by this call;
  (2) the job runs (for a query enclave: it has made a model), and neither its release nor anything that the role gets
      a key of is revoked, nor the identity of one of its parties;
  (3) the attempt is still the slot's next, and within every owner's limits (attempts, bits);
  (4) the quote binds this launch, is authentic, meets the release (`release_choice`), and is of no revoked machine
      (`verifier`); no document of its collateral is older than one that was seen before (`collateral`);
  (5) platform and code are as strong as the job's, as every party's terms demand (trust level, TCB, measurements), and
      sound for the sandbox.

Of each party a job's launch is judged under two versions of its policy or terms, that under which its order was
accepted and the newest: a later one may stop a running job and never widens what it may do. A query enclave's: the
newest alone.

Each party whose terms refuse is told why, the release keys where it is the release or the inventory, and the operator
what its own machine showed (`entitlement`).

Only then is the launch written down, durably, and its keys wrapped to the key that its quote bound.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from common.dcap import QuoteClaims, require_tcb, require_trust_level
from common.dcap.completion import complete_evidence
from common.dcap.exposure import NOT_EXPOSED
from common.errors import ConflictError, FreshnessError, NotFoundError
from common.identifiers import Digest, RoleName
from common.messages.admission import Admission, Admit, Challenge, IssueChallenge
from common.messages.evidence import Evidence
from common.messages.launch_binding import LaunchBinding
from common.messages.policy import BundleTerms, DataPolicy
from common.messages.release import Release
from common.messages.tokens import AppraiseEvidence
from common.policy_rules import (
    require_attempt_left,
    require_level,
    require_measurement,
    require_release_kept,
    require_sound_device,
    require_sound_pair,
    require_terms_unexpired,
    require_unexpired,
)
from services.attestation.challenges import OpenChallenge
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.entitlement import beside, in_the_clear, judge_each
from services.attestation.key_grants import grant_keys
from services.attestation.ledger import charged_attempt, require_attempt_bits
from services.attestation.log_subjects import of_launch
from services.attestation.members import QUERY, TRAINER, next_attempt, require_next, require_slot, with_launch
from services.attestation.records import AppraisedMachine, JobRecord, LaunchRecord
from services.attestation.release_choice import judge_under, release_of_launch
from services.attestation.verifier import verify_launch
from services.attestation.versions import accepted_terms

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
    _require_within_limits(broker, job, body.role, attempt)
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
    job, appraised = newcomer.job, newcomer.appraised
    launch = launch_record(broker, job, body.binding, appraised, at)
    admitted = with_launch(job, launch, at)
    told = {"measurement": launch.mr_enclave, "release": release_of_launch(job, launch)}
    subjects = of_launch(broker, job, newcomer.challenge, body, **told)
    charges = charged_attempt(broker, job) if launch.role == TRAINER else ()
    broker.state.commit(Decision("admit-launch", subjects), at, admitted, *charges)
    return grant_keys(broker, admitted, newcomer.challenge, body.binding, launch, appraised.claims)


@dataclass(frozen=True)
class Appraised:
    """What was verified of a launch, and under which release, where that is not its order's (`release_choice`)."""

    claims: QuoteClaims
    release: Digest | None


@dataclass(frozen=True)
class Newcomer:
    """A launch that passed the checks (1) to (5)."""

    job: JobRecord
    challenge: OpenChallenge
    appraised: Appraised


def appraise_newcomer(broker: BrokerContext, body: Admit | AppraiseEvidence, at: int) -> Newcomer:
    """Checks (1) to (5). Spends the challenge and remembers verified collateral; changes nothing else."""
    challenge = broker.challenges.spend(body.challenge_id, at)  # (1)
    job = broker.job(challenge.job_id)
    require_admissible(broker, job, challenge.role, at)  # (2)
    require_next(job, challenge.role, challenge.slot, challenge.attempt)  # (3)
    _require_within_limits(broker, job, challenge.role, challenge.attempt)  # (3)
    appraised = appraise_launch(broker, job, challenge, body.binding, body.evidence, at)  # (4), (5)
    return Newcomer(job, challenge, appraised)


def _require_within_limits(broker: BrokerContext, job: JobRecord, role: RoleName, attempt: int) -> None:
    """Check (3), at the question as at the answer: a policy may have been tightened in between."""
    if role != QUERY:
        policies = _policies(broker, job, role)
        judge_each([(policy, partial(require_attempt_left, policy, attempt)) for policy in policies])
    if role == TRAINER:
        require_attempt_bits(broker, job)


def appraise_launch(
    broker: BrokerContext, job: JobRecord, challenge: OpenChallenge, binding: LaunchBinding, shown: Evidence, at: int
) -> Appraised:
    """Checks (4) and (5)."""

    def verify(release: Release) -> QuoteClaims:
        return verify_launch(
            complete_evidence(shown),
            binding,
            challenge,
            broker=broker.broker,
            trust=broker.platform.trust_settings,
            release=release,
            rules=broker.platform_rules,
            at=at,
            require_not_older=broker.collateral.require_not_older,
        )

    with in_the_clear(of_release=True):
        claims, release = judge_under(broker, job, challenge.role, verify)  # (4)
    _require_platform(broker, job, challenge.role, claims, at)  # (5)
    return Appraised(claims, release)


def require_admissible(broker: BrokerContext, job: JobRecord, role: RoleName, at: int) -> Digest:
    """Check (2); what a launch of this role is about: the order's digest, or the model manifest's."""
    bundle = broker.bundle(job.order.bundle)
    with in_the_clear(of_release=True):
        broker.require_in_force(job.order.release)
    owners = [data.manifest.owner for data in broker.datasets_of(job)]
    broker.parties.require_held(*owners, bundle.publication.provider)
    judge_each([(terms, partial(_require_lasting, terms, job, at)) for terms in _all_terms(broker, job, role)])
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
    newest = broker.bundle(job.order.bundle).terms
    return [*_policies(broker, job, role), newest, *([] if role == QUERY else [accepted_terms(broker, job)])]


def _require_lasting(terms: DataPolicy | BundleTerms, job: JobRecord, at: int) -> None:
    if isinstance(terms, BundleTerms):
        return require_terms_unexpired(terms, at)
    require_unexpired(terms, at)
    return require_release_kept(terms, job.order.release)


def _require_platform(broker: BrokerContext, job: JobRecord, role: RoleName, claims: QuoteClaims, at: int) -> None:
    def judge(terms: DataPolicy | BundleTerms) -> None:
        require_level(terms, claims.trust_level)
        require_tcb(claims.machine, terms.tcb, broker.inventory, at)
        require_measurement(terms, claims.measurement)

    with in_the_clear(of_release=True):
        require_trust_level(claims.trust_level, job.trust_level)
    with beside(_words(claims)):
        judge_each([(terms, partial(judge, terms)) for terms in _all_terms(broker, job, role)])
    with in_the_clear(of_release=False):
        require_sound_pair(job.order.sandbox, claims.trust_level)
        if role == TRAINER:
            require_sound_device(job.order.device, claims.trust_level)


def _words(claims: QuoteClaims) -> str:
    """The machine that was refused, for its operator: nothing but what its quote and collateral say."""
    machine = claims.machine
    advisories = ", ".join(machine.advisory_ids) or "none"
    return (
        f"{claims.trust_level}, measurement {claims.measurement}, FMSPC {machine.fmspc}, "
        f"platform {' or '.join(machine.platform_ids)}, TCB {machine.tcb_status} of {_day(machine.tcb_date)}, "
        f"evaluation {machine.tcb_evaluation}, advisories: {advisories}"
    )


def _day(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


def launch_record(
    broker: BrokerContext, job: JobRecord, binding: LaunchBinding, appraised: Appraised, at: int
) -> LaunchRecord:
    """What the broker writes down of a launch that it admits."""
    claims = appraised.claims
    ends = (at + PLACEMENT_SECONDS, *(terms.not_after for terms in _all_terms(broker, job, binding.role)))
    return LaunchRecord(
        role=binding.role,
        slot=binding.slot,
        attempt=binding.attempt,
        signing_public=binding.signing_public,
        mr_enclave=claims.measurement,
        not_after=min(ends) if binding.role == QUERY else 0,
        appraised=AppraisedMachine(
            trust_level=claims.trust_level,
            tcb_status=claims.machine.tcb_status,
            at=at,
            exposed=claims.machine.exposed != NOT_EXPOSED,
        ),
        release=appraised.release,
    )
