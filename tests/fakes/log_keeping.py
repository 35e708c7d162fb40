"""A party with a pinned broker of this process, and the logs that an honest host would give it (side: library)."""

from dataclasses import dataclass
from pathlib import Path

from client.context import Endpoints, PinnedTrust
from client.context import Party as ClientParty
from common.identifiers import PartyKey
from common.messages.decision_log import AuditBundle, LogItem
from common.messages.log_heads import HeadSigned, SignHead
from services.attestation.log_store import LogStore
from tests.fakes.broker_world import BrokerWorld, MemoryStore, Party

NOWHERE = Endpoints(attestation="http://127.0.0.1:9", ingest="http://127.0.0.1:9", query="http://127.0.0.1:9")


def identity_directory(
    world: BrokerWorld, party: Party, directory: Path, endpoints: Endpoints = NOWHERE
) -> ClientParty:
    """The identity directory of one of the world's parties, the world's broker pinned."""
    directory.mkdir(parents=True)
    party.identity.write(directory / "identity.json")
    made = ClientParty(directory)
    made.pin(PinnedTrust(endpoints=endpoints, trust_settings=world.trust, release=world.release, broker=world.genesis))
    return made


def bundle_for(world: BrokerWorld, reader: PartyKey | None, store: MemoryStore | None = None) -> AuditBundle:
    """What `cloister audit fetch` would get now."""
    head, log, items = world.channel().ask(SignHead(), HeadSigned).head, LogStore(store or world.store), list[LogItem]()
    while len(items) < log.size:
        items.extend(log.page(len(items), reader).items)
    return AuditBundle(head=head, items=tuple(items))


@dataclass(frozen=True)
class Keeper:
    """A party that keeps logs in files."""

    world: BrokerWorld
    party: ClientParty

    def keep(self, name: str, bundle: AuditBundle | None = None) -> Path:
        """A file in the party's directory; the honest log unless another is given."""
        path = self.party.directory / name
        reader = self.party.identity.signing_key.party
        path.write_bytes((bundle or bundle_for(self.world, reader)).encode())
        return path
