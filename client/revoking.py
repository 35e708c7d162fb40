"""A party ends something of its own (side: owner)."""

import secrets
import time
from typing import Literal

from client.context import Party
from common.identifiers import Identifier
from common.messages.policy import Revocation
from common.messages.signed import Signed, sign


def revocation_of(party: Party, target: Literal["dataset", "bundle", "grant", "job"], identifier: Identifier) -> Signed:
    """The signed revocation, for the pinned broker alone."""
    key = party.identity.signing_key
    return sign(
        Revocation(
            nonce=secrets.token_bytes(16),
            party=key.party,
            target=target,
            identifier=identifier,
            broker=party.trust.broker.signing_public,
            created=int(time.time()),
        ),
        key,
    )
