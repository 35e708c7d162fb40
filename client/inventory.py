"""The machines of an installation, known and revoked: drafted, signed, brought to the broker (side: owner).

Where every owner may deny a machine in his own policy, the holders of release keys revoke it for everybody at once. The
broker shows what it was brought to everybody who verifies it; who got the file from its signers needs no broker for it.
"""

import time
from collections.abc import Collection, Iterator
from pathlib import Path

from client.broker import BrokerLink
from client.context import Party
from client.events import Event, InventoryInForce, Noted
from client.release_documents import ReleaseDocument, draft_of
from client.releasing import show
from common.enclave.trust_settings import TrustSettings, require_platform_inventory
from common.errors import FormatError
from common.identifiers import PlatformId
from common.messages.platform_inventory import NO_INVENTORY, InventoryTaken, PlatformInventory, TakeInventory
from common.platform_inventory import kept_inventory, newer_inventory


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
    before = NO_INVENTORY if previous is None else _read(previous)
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

    Anybody may: the document speaks for itself, also to a broker whose own machine it revokes. This party remembers it.
    Raises `AuthenticityError`, or the broker's refusal.
    """
    signed = ReleaseDocument.read(file).signed
    trust = party.trust.trust_settings
    brought = require_platform_inventory(signed, trust)
    link = BrokerLink(party)
    yield link.verify_to_end()
    taken = link.ask(TakeInventory(inventory=signed), InventoryTaken)
    if brought.number > kept_inventory(party.inventory, trust).number:
        party.keep_inventory(signed)
    yield InventoryInForce(digest=signed.digest, number=taken.number, leases_end=taken.leases_end)


def keep_inventory(party: Party, file: Path) -> Iterator[Event]:
    """Remember an inventory from a file: nobody shows this party an older one from then on. Ends with `Noted`.

    So its signers' word arrives also where a broker's host keeps it back. Raises `AuthenticityError` for too few
    signatures of the pinned release keys, `FreshnessError` (freshness.inventory) for one that is older than known.
    """
    trust, signed = party.trust.trust_settings, ReleaseDocument.read(file).signed
    newer_inventory(signed, kept_inventory(party.inventory, trust), trust)
    party.keep_inventory(signed)
    yield from show(file, trust)
    yield Noted(text="A broker that shows this identity an older inventory, or none, is refused from now on.")


def _read(path: Path) -> PlatformInventory:
    message = ReleaseDocument.read(path).message
    if not isinstance(message, PlatformInventory):
        raise FormatError("format.message", expected="a platform inventory", seen=message.type)
    return message
