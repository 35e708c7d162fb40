"""How long launches may use their keys without another word of the broker (side: enclave).

Kept in memory, not in the sealed state: how long the log was when a launch last got a lease here. A holder counts each
lease from its question *before* that one (common/lease), and is given it only when the witnesses have seen this log
grow in between (`leases`). So of a broker that the host keeps running beside its successor, no lease outlives the
witnesses' last word by more than one lease.

No time stands here: it is the host's, which may hold it back when it grants and set it forward when it revokes.
"""

from typing import Final

from common.identifiers import PartyKey
from common.messages.admission import Leased
from services.attestation.records import JobRecord

LEASE_SECONDS: Final = 180
"""What an owner waits at most for a revocation to bite on a host that hides it; several renewals fit into it, and it
outlives a restart of broker and witnesses."""


def leases_end(job: JobRecord, at: int) -> int:
    """From when on no launch of a job that is over at `at` holds a lease, at the latest (Unix seconds)."""
    return at + LEASE_SECONDS if job.launches else at


class LeaseTable:
    """Of each launch, how long the log was at its last lease of this instance."""

    def __init__(self) -> None:
        self._log_sizes: dict[PartyKey, int] = {}

    def grant(self, launch: PartyKey, log_size: int) -> Leased:
        """A lease for a launch, by its signing key, under a log of this size."""
        self._log_sizes[launch] = log_size
        return Leased(seconds=LEASE_SECONDS)

    def has_grown(self, launch: PartyKey, log_size: int) -> bool:
        """Whether the log is longer than at the launch's last lease."""
        return log_size > self._log_sizes.get(launch, 0)
