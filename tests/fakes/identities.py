"""Parties with recovery keys at a key broker: their cards, and what their recovery keys say."""

import secrets
from dataclasses import dataclass, field, replace
from typing import Any

from common.crypto.recovery_key import RecoveryKey
from common.messages.identity import BindIdentity, IdentityBound, IdentityCard, RecoverIdentity, RecoveryStatement
from common.messages.revocation import Revoked
from common.messages.signed import Signature, Signed, sign
from tests.fakes.broker_world import BrokerWorld, Party, SealedData


@dataclass(frozen=True)
class Recoverable(Party):
    """A party whose recovery key lies elsewhere."""

    recovery: RecoveryKey = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "recovery", RecoveryKey.generate(self.party))

    def card(self, **changes: Any) -> Signed:
        fields: dict[str, Any] = {
            "party": self.party, "report_key": self.report_key, "recovery": self.recovery.public,
            "unsafe_simulation": True, "created": 1,
        }  # fmt: skip
        signed = sign(IdentityCard(**(fields | changes)), self.key)
        consent = Signature(signer=self.recovery.public, signature=self.recovery.sign_card(signed.payload))
        return signed.model_copy(update={"signatures": (*signed.signatures, consent)})


def recovered(statement: RecoveryStatement, by: RecoveryKey, *others: Party) -> Signed:
    """The statement with the recovery key's signature, and a successor's."""
    payload = statement.encode()
    own = Signature(signer=by.public, signature=by.sign_statement(payload))
    return Signed(
        payload_type=statement.type,
        payload=payload,
        signatures=(own, *(sign(statement, one.key).signatures[0] for one in others)),
    )


def bind(world: BrokerWorld, party: Recoverable, /, **changes: Any) -> IdentityBound:
    return world.channel().ask(BindIdentity(card=party.card(**changes)), IdentityBound)


def statement(
    world: BrokerWorld, party: Party, successor: Recoverable | None = None, **changes: Any
) -> RecoveryStatement:
    fields: dict[str, Any] = {
        "nonce": secrets.token_bytes(16), "party": party.party, "broker": world.genesis.signing_public,
        "successor": None if successor is None else successor.card(), "created": world.time,
    }  # fmt: skip
    return RecoveryStatement(**(fields | changes))


def revocation(world: BrokerWorld, party: Recoverable, **changes: Any) -> Signed:
    return recovered(statement(world, party, **changes), party.recovery)


def replacement(world: BrokerWorld, party: Recoverable, successor: Recoverable, **changes: Any) -> Signed:
    return recovered(statement(world, party, successor, **changes), party.recovery, successor)


def recover(world: BrokerWorld, signed: Signed) -> Revoked:
    return world.channel().ask(RecoverIdentity(statement=signed), Revoked)


def replaced(world: BrokerWorld, party: Recoverable, **changes: Any) -> Recoverable:
    """The identity that a party has from now on."""
    successor = Recoverable()
    recover(world, replacement(world, party, successor, **changes))
    return successor


def held_by(data: SealedData, party: Party) -> SealedData:
    """A data set as its owner's successor sees it: what it orders or grants it signs with its own key."""
    return replace(data, owner=party)
