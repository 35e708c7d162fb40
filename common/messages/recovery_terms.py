"""Who holds the recovery shares of a data set, as its owner's policy says (side: library).

Keys do not tell whose people they are, so the owner says it: `of_operator` are those holders who belong to whoever runs
the machines. Holders that are also providers whose code the policy allows count with them, for provider and operator
may be one. All of these together are always fewer than the shares that are needed.
"""

from collections.abc import Collection, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from common.crypto.secret_sharing import MAX_SHARES, MIN_NEEDED
from common.crypto.wrapping import WRAPPING_PUBLIC_BYTES
from common.identifiers import PartyKey
from common.messages.base import Message

_WrappingPublic = Annotated[bytes, Field(min_length=WRAPPING_PUBLIC_BYTES, max_length=WRAPPING_PUBLIC_BYTES)]


class RecoveryHolder(Message):
    """One holder: the key that signs for it, the key to which its share is wrapped."""

    party: PartyKey
    wrapping_public: _WrappingPublic


class RecoveryTerms(Message):
    """Any `needed` of the holders together bring the data key to another attested broker."""

    holders: Annotated[tuple[RecoveryHolder, ...], Field(min_length=MIN_NEEDED, max_length=MAX_SHARES)]
    of_operator: Annotated[tuple[PartyKey, ...], Field(max_length=MAX_SHARES)] = ()
    needed: Annotated[int, Field(ge=MIN_NEEDED, le=MAX_SHARES)]

    @property
    def parties(self) -> tuple[PartyKey, ...]:
        """The holders by their signing keys, in the order of their shares."""
        return tuple(one.party for one in self.holders)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        require_sound_holders(self.parties, self.of_operator, self.needed)
        if len({one.wrapping_public for one in self.holders}) != len(self.holders):
            raise ValueError("each holder has a wrapping key of its own")
        return self


class HolderCard(Message):
    """What a holder tells an owner about itself. Signed by it."""

    type: Literal["holder-card"] = "holder-card"
    version: Literal[1] = 1
    party: PartyKey
    wrapping_public: _WrappingPublic


def require_sound_holders(
    holders: Sequence[PartyKey], of_operator: Collection[PartyKey], needed: int, providers: Collection[PartyKey] = ()
) -> None:
    """Raise `ValueError` for holders of whom the operator's people alone, or one key, would be enough."""
    if len(set(holders)) != len(holders) or not set(of_operator) <= set(holders):
        raise ValueError("holders are different keys, and those of the operator are among them")
    if not MIN_NEEDED <= needed <= len(holders):
        raise ValueError(f"{MIN_NEEDED} shares are needed or more, and no more than there are holders")
    if len(set(of_operator) | (set(holders) & set(providers))) >= needed:
        raise ValueError("holders who are the operator's, or allowed providers, are fewer than the shares needed")
