"""What a party says of its identity, and its recovery key when that identity is lost or stolen (side: library).

An identity is known to a key broker by its card, from its first appearance there on: the card names the recovery key,
and nothing that the identity signs later changes that. The recovery key signs recovery statements and nothing else.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from common.identifiers import PartyKey
from common.messages.base import Count, Message, Seconds
from common.messages.policy import PublicKey
from common.messages.signed import Signed


class IdentityCard(Message):
    """The public part of an identity, signed by itself and by its recovery key, if it names one.

    `recovery` null: nobody ever ends it.
    """

    type: Literal["identity-card"] = "identity-card"
    version: Literal[1] = 1
    party: PartyKey
    report_key: PublicKey
    recovery: PartyKey | None
    unsafe_simulation: bool = False
    created: Seconds

    @model_validator(mode="after")
    def _recovery_is_another_key(self) -> Self:
        if self.recovery == self.party:
            raise ValueError("an identity is not its own recovery key")
        return self


class RecoveryStatement(Message):
    """The recovery key's word, for one key broker: this identity is revoked, or replaced by another. For good.

    `successor` is the card of the new identity, which signs the statement as well; null: revoked. `void_from`: what the
    old identity signed counts no more if the broker decided on it in this entry of its log or a later one; null: all
    that was decided before this statement stands.
    """

    type: Literal["recovery-statement"] = "recovery-statement"
    version: Literal[1] = 1
    nonce: Annotated[bytes, Field(min_length=16, max_length=16)]
    party: PartyKey
    successor: Signed | None
    void_from: Count | None = None
    broker: PartyKey
    created: Seconds

    @model_validator(mode="after")
    def _void_needs_a_successor(self) -> Self:
        """A revoked identity's things stand still as a whole; which of them count is said when it is replaced."""
        if self.successor is None and self.void_from is not None:
            raise ValueError("what is void is said with the successor")
        return self


class BindIdentity(Message):
    """Answer: IdentityBound. `card` is a Signed IdentityCard. The first one that is known of a key counts for good."""

    type: Literal["bind-identity"] = "bind-identity"
    card: Signed


class RecoverIdentity(Message):
    """Answer: Revoked, whose identifier is the party's key. A Signed RecoveryStatement, from anybody."""

    type: Literal["recover-identity"] = "recover-identity"
    statement: Signed


class IdentityBound(Message):
    """The broker knows this identity by this card. `recovery` null: it has no recovery key, and gets none."""

    type: Literal["identity-bound"] = "identity-bound"
    party: PartyKey
    recovery: PartyKey | None
