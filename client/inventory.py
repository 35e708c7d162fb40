"""The machines of an installation, known and revoked: drafted, signed, brought to the broker (side: owner).

Where every owner may deny a machine in his own policy, the holders of release keys revoke it for everybody at once.
"""

import time
from collections.abc import Collection, Iterator
from pathlib import Path

from client.broker import BrokerLink
from client.context import Party
from client.events import Event, InventoryInForce
from client.release_documents import ReleaseDocument, draft_of
from client.releasing import show
from common.enclave.trust_settings import TrustSettings, require_platform_inventory
from common.errors import FormatError
from common.identifiers import PlatformId
from common.messages.attestation import InventoryTaken, TakeInventory
from common.messages.platform_inventory import PlatformInventory


def draft_inventory(
    previous: Path | None,
    known: Collection[PlatformId],
    revoked: Collection[PlatformId],
    destination: Path,
    trust: TrustSettings,
) -> Iterator[Event]:
    """Write an unsigned inventory: that of `previous`, or an empty one, with these machines known or revoked.

    Raises `FormatError` for a file that is no inventory and for a machine that was revoked and shall be known again,
    `ConflictError` (conflict.release_file).
    """
    before = PlatformInventory(number=0, platforms=(), revoked=(), created=0) if previous is None else _read(previous)
    revived = sorted(set(known) & set(before.revoked))
    if revived:
        raise FormatError("format.message", expected="machines that were not revoked", seen=revived)
    over = {*before.revoked, *revoked}
    inventory = PlatformInventory(
        number=before.number + 1,
        platforms=tuple(sorted({*before.platforms, *known} - over)),
        revoked=tuple(sorted(over)),
        created=int(time.time()),
    )
    draft_of(inventory).draft_to(destination)
    yield from show(destination, trust)


def publish_inventory(party: Party, file: Path) -> Iterator[Event]:
    """Bring an inventory that is signed by enough release keys to the pinned broker. Ends with `InventoryInForce`.

    Anybody may: the document speaks for itself. Raises `AuthenticityError`, or the broker's refusal.
    """
    signed = ReleaseDocument.read(file).signed
    require_platform_inventory(signed, party.trust.trust_settings)
    link = BrokerLink(party)
    yield link.verify()
    taken = link.ask(TakeInventory(inventory=signed), InventoryTaken)
    yield InventoryInForce(digest=signed.digest, number=taken.number, leases_end=taken.leases_end)


def _read(path: Path) -> PlatformInventory:
    message = ReleaseDocument.read(path).message
    if not isinstance(message, PlatformInventory):
        raise FormatError("format.message", expected="a platform inventory", seen=message.type)
    return message
