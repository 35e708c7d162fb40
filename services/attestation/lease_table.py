"""Until when launches may use their keys without another word of the broker (side: enclave).

Kept in memory, not in the sealed state: after a restart every lease of earlier instances counts as if it had been
granted at the start. A lease is counted at its holder from *before* it asked, so it never outlives what stands here.
"""

from typing import Final

from common.identifiers import JobId
from common.messages.attestation import Leased

LEASE_SECONDS: Final = 180
"""What an owner waits at most for a revocation to bite on a host that hides it; several renewals fit into it, and it
outlives a restart of broker and witnesses."""


class LeaseTable:
    """The last lease of each job. `started_at` is this instance's start, in Unix seconds."""

    def __init__(self, started_at: int) -> None:
        self._earlier_end = started_at + LEASE_SECONDS
        self._ends: dict[JobId, int] = {}

    def grant(self, job_id: JobId, at: int) -> Leased:
        """A lease from now on for one launch of this job."""
        self._ends[job_id] = max(self._ends.get(job_id, 0), at + LEASE_SECONDS)
        return Leased(seconds=LEASE_SECONDS)

    def end(self, job_id: JobId, at: int) -> int:
        """From when on no launch of this job holds a lease (Unix seconds); `at` when none does now."""
        return max(self._ends.get(job_id, 0), self._earlier_end, at)
