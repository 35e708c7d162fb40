"""The release keys end a release (side: enclave).

From then on this broker accepts no order, admits no launch, renews no lease and hands out no answers under it. In this
order, each raises:

  (1) as many of the release keys that this broker is measured with as a release needs have signed the revocation;
  (2) it is the first of this release; a later one changes nothing.

Its running jobs are cancelled and their keys destroyed. Models that were made under it keep their keys, and can't be
placed. A release that no order has named yet can be revoked as well, this broker's own, too: its data keys stay where
they are, and nothing under that release gets one. A revocation is not undone: what it was signed for stays true.
"""

from common.enclave.trust_settings import require_release_revocation
from common.messages.attestation import Revoked, RevokeRelease
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.records import JobRecord, RevokedReleaseRecord, revoked_release_key
from services.attestation.revocation import ended


def revoke_release(broker: BrokerContext, body: RevokeRelease, at: int) -> Revoked:
    """Checks (1) and (2). Raises `AuthenticityError` (authenticity.signature) or `FormatError` (1)."""
    release = require_release_revocation(body.revocation, broker.platform.trust_settings).release  # (1)
    jobs = [job for job in broker.state.all(JobRecord) if job.order.release == release]
    if broker.state.find(RevokedReleaseRecord, revoked_release_key(release)) is None:  # (2)
        changes = (change for job in jobs if job.state == "running" for change in ended(job))
        decision = Decision("release-revoked", (release.raw(), body.revocation.digest.raw()))
        broker.state.commit(decision, at, RevokedReleaseRecord(release=release, document=body.revocation), *changes)
    ends = [broker.leases.end(job.job_id, at) for job in jobs]
    return Revoked(identifier=release, leases_end=max(ends, default=at))
