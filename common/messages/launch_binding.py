"""What the quote of a launch, or of a broker, binds (side: library)."""

import hashlib

from common.crypto.digests import transcript
from common.crypto.labels import REPORT_DATA
from common.identifiers import Digest, PartyKey, RoleName
from common.messages.base import Count, Message, Nonce
from common.messages.policy import PublicKey

NO_SUBJECT = Digest("0" * 64)
"""The subject of a binding that belongs to no order or model: the quote of a broker that was never handed over."""


class LaunchBinding(Message):
    """What `report_data` of a launch's quote binds, all 64 bytes of it.

    `subject` is the order's digest (trainer, paramserver) or the model manifest's (query); `broker` is the genesis
    digest of the broker whose challenge `nonce` answers.
    """

    nonce: Nonce
    broker: Digest
    role: RoleName
    subject: Digest
    slot: Count
    attempt: Count
    wrapping_public: PublicKey
    signing_public: PartyKey

    def report_data(self) -> bytes:
        """SHA-512 over the length-prefixed fields (64 bytes)."""
        return hashlib.sha512(
            transcript(
                REPORT_DATA,
                self.nonce,
                self.broker.raw(),
                self.role.encode(),
                self.subject.raw(),
                self.slot.to_bytes(8, "big"),
                self.attempt.to_bytes(8, "big"),
                self.wrapping_public,
                self.signing_public.raw(),
            )
        ).digest()
