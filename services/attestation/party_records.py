"""What the key broker remembers of identities, and of what each had signed by when (side: enclave)."""

from typing import Annotated, Literal

from pydantic import Field

from common.identifiers import PartyKey
from common.messages.base import Count, Message
from common.messages.identity import IdentityCard
from common.messages.signed import Signed, read_document

PartyState = Literal["in-force", "revoked", "replaced"]

MAX_PREDECESSORS = 64
"""Identities that one may have replaced, one after the other."""


class PartyRecord(Message):
    """An identity since its first appearance here. `card` null: it came without one, so it has no recovery key.

    `successor` is what replaced it, `predecessors` are what it replaced, the oldest first. `statement` is the newest
    word of its recovery key.
    """

    type: Literal["party"] = "party"
    party: PartyKey
    card: Signed | None
    state: PartyState = "in-force"
    successor: PartyKey | None = None
    predecessors: Annotated[tuple[PartyKey, ...], Field(max_length=MAX_PREDECESSORS)] = ()
    statement: Signed | None = None

    @property
    def key(self) -> str:
        """Name of the record."""
        return party_key(self.party)

    @property
    def recovery(self) -> PartyKey | None:
        """The only key that can end it."""
        return None if self.card is None else read_document(self.card, IdentityCard).recovery


class RecoveryKeyRecord(Message):
    """A key that some card names as its recovery key: it is nobody's identity."""

    type: Literal["recovery-key"] = "recovery-key"
    recovery: PartyKey

    @property
    def key(self) -> str:
        """Name of the record."""
        return recovery_key(self.recovery)


class AcceptedRecord(Message):
    """By which entry of the log something that a party signed was taken.

    `document` is there for versions of a policy: an earlier one comes back into force where later ones are void.
    """

    type: Literal["accepted"] = "accepted"
    name: Annotated[str, Field(max_length=128)]
    number: Count
    document: Signed | None = None

    @property
    def key(self) -> str:
        """Name of the record."""
        return accepted_key(self.name)


def party_key(party: PartyKey) -> str:
    """Name of an identity's record."""
    return f"party {party}"


def recovery_key(recovery: PartyKey) -> str:
    """Name of a recovery key's record."""
    return f"recovery {recovery}"


def accepted_key(name: str) -> str:
    """Name of the record of an acceptance."""
    return f"accepted {name}"
