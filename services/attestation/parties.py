"""Whose word counts for whom: identities, their successors, and the keys that sign no more (side: enclave;
ARCHITECTURE, decision 24).

A data set, a bundle or a policy names the key that its party had then, and wrapped keys are bound to that name for
good. The word for it is that of its *holder*: the same key, or the identity that replaced it by a statement of its
recovery key (`identity_replacement`). Where a document of somebody else names a key, it means that holder, too.

A key that was replaced or revoked signs nothing, and neither does one that some card names as its recovery key.
"""

from collections.abc import Collection
from typing import TypeVar

from common.errors import AuthenticityError, PolicyError
from common.identifiers import PartyKey
from common.messages.base import Message
from common.messages.identity import IdentityCard
from common.messages.signed import Signed, open_signed, read_document
from services.attestation.party_records import PartyRecord, RecoveryKeyRecord, party_key, recovery_key
from services.attestation.state import BrokerState

WordT = TypeVar("WordT", bound=Message)


class Parties:
    """The identities that this broker knows; one that it does not know is its own holder, and in force."""

    def __init__(self, state: BrokerState) -> None:
        self._state = state

    def find(self, party: PartyKey) -> PartyRecord | None:
        """What is known of an identity."""
        return self._state.find(PartyRecord, party_key(party))

    def holder(self, party: PartyKey) -> PartyKey:
        """Whose word counts where this key is named. No identity succeeds one that is over, so this ends."""
        record = self.find(party)
        while record is not None and record.successor is not None:
            party = record.successor
            record = self.find(party)
        return party

    def holders(self, parties: Collection[PartyKey]) -> set[PartyKey]:
        """Those of several keys, each once."""
        return {self.holder(party) for party in parties}

    def names(self, party: PartyKey) -> frozenset[PartyKey]:
        """Every key by which this one's holder is or was known."""
        holder = self.holder(party)
        record = self.find(holder)
        return frozenset((holder, party, *(record.predecessors if record is not None else ())))

    def successors(self, party: PartyKey) -> tuple[PartyKey, ...]:
        """The keys that came after this one, the holder's last."""
        found: list[PartyKey] = []
        record = self.find(party)
        while record is not None and record.successor is not None:
            found.append(record.successor)
            record = self.find(record.successor)
        return tuple(found)

    def report_key(self, party: PartyKey, stated: bytes) -> bytes:
        """What is sealed to a party: the key that its terms state, or its successor's, so that no thief reads it."""
        holder = self.holder(party)
        record = None if holder == party else self.find(holder)
        if record is None or record.card is None:
            return stated
        return read_document(record.card, IdentityCard).report_key

    def is_over(self, party: PartyKey) -> bool:
        """Whether this identity was revoked, and nobody goes on in its place."""
        record = self.find(self.holder(party))
        return record is not None and record.state == "revoked"

    def require_in_force(self, *parties: PartyKey) -> None:
        """None of these keys is replaced, revoked, or a recovery key. Raises `PolicyError` (policy.identity)."""
        for party in parties:
            record = self.find(party)
            ended = record is not None and record.state != "in-force"
            if ended or self._state.find(RecoveryKeyRecord, recovery_key(party)) is not None:
                raise PolicyError("policy.identity", expected="an identity that is in force", seen=party)

    def require_held(self, *parties: PartyKey) -> None:
        """Whoever holds these keys now is in force; a revoked party's things stand still. Raises as above."""
        self.require_in_force(*self.holders(parties))

    def open_word(self, signed: Signed, kind: type[WordT], parties: Collection[PartyKey]) -> WordT:
        """The message, if the holder of each of these keys signed it, and nobody whose word counts no more.

        Raises `PolicyError` (policy.identity), `AuthenticityError` (authenticity.signature) or `FormatError`.
        """
        holders = self.holders(parties)
        self.require_in_force(*holders)
        try:
            message = open_signed(signed, kind, holders, threshold=len(holders))
        except AuthenticityError:
            self.require_in_force(*(one.signer for one in signed.signatures))
            raise
        self.require_in_force(*(one.signer for one in signed.signatures))
        return message

    def open_attempt(self, signed: Signed, kind: type[WordT], parties: Collection[PartyKey]) -> WordT:
        """The message, if each of these parties signed it by the key that it has or by one that it had.

        For telling a party what was tried in its name, and for what was taken before: such a word may be nobody's any
        more. Raises as `open_signed`.
        """
        names = [self.names(party) for party in parties]
        message = open_signed(signed, kind, frozenset[PartyKey]().union(*names))
        signers = {one.signer for one in signed.signatures}
        if not all(name & signers for name in names):
            raise AuthenticityError("authenticity.signature", expected=f"one of each of {names}", seen=sorted(signers))
        return message
