"""How a job, model, grant or release is revoked (side: library)."""

from typing import Literal

from common.messages.base import Message, Seconds
from common.messages.signed import Signed


class Revoke(Message):
    """Answer: Revoked."""

    type: Literal["revoke"] = "revoke"
    revocation: Signed


class RevokeRelease(Message):
    """Answer: Revoked, whose identifier is the release's digest. A Signed ReleaseRevocation."""

    type: Literal["revoke-release"] = "revoke-release"
    revocation: Signed


class Revoked(Message):
    """Done and logged. After `leases_end` no enclave holds what was revoked, however its host behaves.

    It is told by the broker's clock, which the host can hold back; what it is more than the reply's time counts from
    when the reply was there.
    """

    type: Literal["revoked"] = "revoked"
    identifier: str
    leases_end: Seconds
