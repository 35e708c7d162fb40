"""The release keys end a release (side: enclave).

From then on this broker accepts no order, admits no launch, renews no lease and hands out no answers under it. In this
order, each raises:

  (1) as many of the release keys that this broker is measured with as a release needs have signed the revocation;
  (2) it is the first of this release; a later one changes nothing, but ends jobs that the first did not come to.

Its running jobs are cancelled and their keys destroyed. Models that were made under it keep their keys, and can't be
placed. A release that no order has named yet can be revoked as well, this broker's own, too: its data keys stay where
they are, and nothing under that release gets one. A revocation is not undone: what it was signed for stays true.
"""

from collections.abc import Iterable
from typing import Final

from common.enclave.trust_settings import require_release_revocation
from common.identifiers import Digest, PartyKey
from common.messages.decision_log import LogSubjects
from common.messages.revocation import Revoked, RevokeRelease
from common.messages.signed import Signed
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.lease_table import leases_end
from services.attestation.records import JobRecord, Record, RevokedReleaseRecord, revoked_release_key
from services.attestation.release_choice import release_of_launch
from services.attestation.revocation import commit_endings, ended

MAX_PARTIES: Final = 72
"""As many as an entry of the log names (common/messages/decision_log)."""


def revoke_release(broker: BrokerContext, body: RevokeRelease, at: int) -> Revoked:
    """Checks (1) and (2). Raises `AuthenticityError` (authenticity.signature) or `FormatError` (1)."""
    release = require_release_revocation(body.revocation, broker.platform.trust_settings).release  # (1)
    jobs = [job for job in broker.state.all(JobRecord) if _is_under(job, release)]
    changes: list[Record] = [change for job in jobs if job.state == "running" for change in ended(job)]
    if broker.state.find(RevokedReleaseRecord, revoked_release_key(release)) is None:  # (2)
        changes.insert(0, RevokedReleaseRecord(release=release, document=body.revocation))
    if changes:
        decision = Decision("revoke-release", _subjects(broker, release, body.revocation, jobs))
        commit_endings(broker, decision, at, changes)
    ends = [leases_end(job, at) for job in jobs]
    return Revoked(identifier=release, leases_end=max(ends, default=at))


def _is_under(job: JobRecord, release: Digest) -> bool:
    """By its order, or because a query enclave of that release answers for its model."""
    return release in {job.order.release, *(release_of_launch(job, one) for one in job.launches)}


def _subjects(broker: BrokerContext, release: Digest, revocation: Signed, jobs: Iterable[JobRecord]) -> LogSubjects:
    """Release keys and the parties of jobs under it may read the entry; of very many parties only the first ones."""
    signers = tuple(
        sorted({one.signer for one in revocation.signatures} & set(broker.platform.trust_settings.release_keys))
    )
    parties: dict[PartyKey, None] = dict.fromkeys(signers)
    for job in jobs:
        concerned = (*job.order.owners, broker.bundle(job.order.bundle).publication.provider)
        parties |= dict.fromkeys(map(broker.parties.holder, concerned))
    return LogSubjects(
        parties=tuple(parties)[:MAX_PARTIES], signers=signers, document=revocation.digest, release=release
    )
