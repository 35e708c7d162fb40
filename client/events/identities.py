"""Events of identities: made, known to the broker, replaced (side: owner)."""

from typing import Literal

from client.events.base import Event
from common.identifiers import PartyKey
from common.messages.base import Count, Seconds


class IdentityMade(Event):
    """A key file was written; `recovery_key` is the file of its recovery key, if it has one."""

    type: Literal["identity-made"] = "identity-made"
    name: str
    party: PartyKey
    directory: str
    unsafe_simulation: bool
    recovery_key: str | None = None


class IdentityKnown(Event):
    """The key broker knows this identity by its card. `recovery` null: without a recovery key, and it gets none."""

    type: Literal["identity-known"] = "identity-known"
    party: PartyKey
    recovery: PartyKey | None


class IdentityReplaced(Event):
    """Another identity goes on in the place of this one. `carried`: documents and object keys that came along."""

    type: Literal["identity-replaced"] = "identity-replaced"
    party: PartyKey
    successor: PartyKey
    void_from: Count | None
    leases_end: Seconds
    carried: Count
