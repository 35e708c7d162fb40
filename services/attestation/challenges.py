"""Nonces for launches: single-use, bounded, dying with this instance of the broker (side: enclave).

A challenge is for one (job, role, slot, attempt). It is spent by the first admission, or renewal of a
lease, that names it, whatever comes of it. They are not part of the sealed state, so a restarted broker knows none of
its predecessor's.
"""

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from common.errors import FreshnessError
from common.identifiers import ChallengeId, Digest, JobId, RoleName

LIFETIME_SECONDS: Final = 120
"""From challenge to admission: a quote takes milliseconds in simulation, a second or two on hardware."""

MAX_OPEN: Final = 4096
"""Unspent challenges; the oldest goes first, so a flood costs honest launches a second question and no memory."""

NONCE_BYTES: Final = 32


@dataclass(frozen=True)
class OpenChallenge:
    """An unspent challenge, and what a launch that answers it would be."""

    challenge_id: ChallengeId
    nonce: bytes
    job_id: JobId
    role: RoleName
    slot: int
    attempt: int
    subject: Digest
    not_after: int
    renewal: bool


class Challenges:
    """All unspent challenges of this instance."""

    def __init__(self) -> None:
        self._open: OrderedDict[ChallengeId, OpenChallenge] = OrderedDict()

    def issue(
        self, job_id: JobId, role: RoleName, slot: int, *, attempt: int, subject: Digest, at: int, renewal: bool = False
    ) -> OpenChallenge:
        """A fresh challenge, valid for `LIFETIME_SECONDS`: for an admission, or for the renewal of a lease."""
        challenge = OpenChallenge(
            challenge_id=ChallengeId.new(),
            nonce=secrets.token_bytes(NONCE_BYTES),
            job_id=job_id,
            role=role,
            slot=slot,
            attempt=attempt,
            subject=subject,
            not_after=at + LIFETIME_SECONDS,
            renewal=renewal,
        )
        self._open[challenge.challenge_id] = challenge
        while len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)
        return challenge

    def spend(self, challenge_id: ChallengeId, at: int, *, renewal: bool = False) -> OpenChallenge:
        """The challenge, which no later call gets. Raises `FreshnessError` (freshness.challenge)."""
        challenge = self._open.pop(challenge_id, None)
        if challenge is None or challenge.renewal is not renewal:
            raise FreshnessError("freshness.challenge", expected="an unspent challenge of this broker instance")
        if at > challenge.not_after:
            raise FreshnessError("freshness.challenge", expected=f"an answer until {challenge.not_after}", seen=at)
        return challenge

    def find(self, challenge_id: ChallengeId) -> OpenChallenge | None:
        """An unspent challenge, which stays so."""
        return self._open.get(challenge_id)

    def open_for(self, job_id: JobId, role: RoleName) -> int:
        """How many unspent challenges there are for admissions to a role of a job."""
        return sum((one.job_id, one.role, one.renewal) == (job_id, role, False) for one in self._open.values())
