"""Leases: a launch keeps its keys only as long as it shows, again and again, that it still may (side: enclave).

A renewal is judged like an admission, on a fresh quote, under the terms of that moment: a revocation, a tightened
policy, a platform that was shut out or whose TCB is no longer accepted, each ends the use of keys within one lease.
Nothing is handed out. In this order, each raises:

  (1) the challenge was issued here for a renewal of this launch, is fresh, and is spent by this call;
  (2) job and documents still allow the role (`admission.require_admissible`);
  (3) the launch is the live one of its slot, by attempt and signing key;
  (4) the quote binds this launch, is authentic, and meets the release under which it was admitted, and every party's
      terms (`appraise_launch`).

A host can keep a broker running that knows nothing of a revocation, beside another that its witnesses follow. So a
renewal leaves only when they have confirmed a log that has grown since the launch's last lease (`key_broker`). Where
nothing was decided in between, the renewal is: one entry then serves all launches until they renew again. One that
brought newer collateral is entered, too, with what is to be remembered of it. All others are told together
(`open_counts`).
"""

from common.errors import AppraisalError, FreshnessError
from common.identifiers import RoleName
from common.messages.admission import Challenge, IssueChallenge, Leased, RenewLease
from services.attestation.admission import appraise_launch, challenge_of, require_admissible
from services.attestation.challenges import OpenChallenge
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.log_subjects import of_launch
from services.attestation.members import require_slot
from services.attestation.records import JobRecord, LaunchRecord
from services.attestation.release_choice import release_of_launch


def issue_renewal(broker: BrokerContext, body: IssueChallenge, attempt: int, at: int) -> Challenge:
    """A nonce for the renewal of a live launch. Raises checks (2) and (3)."""
    job = broker.job(body.job_id)
    require_slot(job, body.role, body.slot)
    subject = require_admissible(broker, job, body.role, at)
    if not _launches(job, body.role, body.slot, attempt):
        raise FreshnessError("freshness.attempt", expected="a live launch", seen=attempt)
    challenge = broker.challenges.issue(
        job.job_id, body.role, body.slot, attempt=attempt, subject=subject, at=at, renewal=True
    )
    return challenge_of(broker, challenge)


def renew_lease(broker: BrokerContext, body: RenewLease, at: int) -> Leased:
    """Checks (1) to (4)."""
    challenge = broker.challenges.spend(body.challenge_id, at, renewal=True)  # (1)
    job = broker.job(challenge.job_id)
    require_admissible(broker, job, challenge.role, at)  # (2)
    live, launch = _launches(job, challenge.role, challenge.slot, challenge.attempt), body.binding.signing_public
    if launch not in {one.signing_public for one in live}:  # (3)
        raise FreshnessError("freshness.attempt", expected="the live launch of this slot", seen=challenge.attempt)
    record = next((one for one in live if one.signing_public == launch), live[0])
    _appraise_again(broker, job, challenge, body, record, at)  # (4)
    size = broker.state.log.size
    stands = broker.anchor.witnessed and broker.anchor.has_confirmed(size)
    subjects = of_launch(broker, job, challenge, body, release=release_of_launch(job, record))
    decision = Decision("renew-lease", subjects)
    if broker.collateral.has_newer or (stands and not broker.leases.has_grown(launch, size)):
        broker.state.commit(decision, at)
    else:
        broker.counts.add(decision, at)
    return broker.leases.grant(launch, broker.state.log.size)


def _appraise_again(
    broker: BrokerContext, job: JobRecord, challenge: OpenChallenge, body: RenewLease, record: LaunchRecord, at: int
) -> None:
    appraised = appraise_launch(broker, job, challenge, body.binding, body.evidence, at)
    if appraised.release != record.release:
        raise AppraisalError("appraisal.release", expected=record.release, seen=appraised.release)


def _launches(job: JobRecord, role: RoleName, slot: int, attempt: int) -> list[LaunchRecord]:
    """Live launches that are so: of a slot the newest alone is recorded, of query enclaves all that are placed."""
    return [one for one in job.launches if (one.role, one.slot, one.attempt) == (role, slot, attempt)]
