"""The key broker that the jobs of a leak meter ask, and all that an order names (side: owner; it plays every party).

A process of its own, so that its work does not hold up the clock that a host reads. Each job has a fresh broker, with
the real core behind its byte interface: log, registrations and identifiers of any two jobs then have the same sizes.
"""

from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from bench.leak_secrets import Side
from common.crypto.keys import SecretKey
from common.dataset_payload import encode_pieces
from common.dataset_units import UNIT_CHUNKS
from common.identifiers import Digest, JobId
from common.messages.objects import BundlePublication, DatasetManifest, ObjectRef
from common.messages.order import Schedule
from common.messages.policy import BundleTerms
from common.messages.registration import Registered
from common.messages.signed import Signed, sign
from common.sealed_object import ObjectKind, SealedObject, seal_object
from services.attestation import key_broker
from tests.fakes.broker_world import BrokerWorld, SealedBundle, SealedData

AWAIT_SECONDS: Final = key_broker.AWAIT_SECONDS
"""How long who waits for a job's end is let wait, by the host, since this broker answers one after the other."""

CHUNK_BYTES: Final = 16 << 10
"""Of the data set: it has more units than bench/leak_enclaves lets a trainer keep, so it reads until the job ends."""

Leaves = dict[tuple[Digest, int], bytes]


@dataclass(frozen=True)
class Sealed:
    """An object as the store has it, and its key."""

    reference: ObjectRef
    key: SecretKey
    leaves: Leaves

    @classmethod
    def of(cls, payload: bytes, kind: ObjectKind, chunk_bytes: int) -> "Sealed":
        """Seal a payload under a key of its own."""
        key = SecretKey.generate()
        made: SealedObject = seal_object(payload, key, kind, chunk_bytes=chunk_bytes)
        leaves = {(made.root, number): leaf for number, leaf in enumerate(made.leaves())}
        return cls(ObjectRef(root=made.root, chunk_count=made.chunk_count), key, leaves)


@dataclass(frozen=True)
class Goods:
    """One side's sealed data set and bundle."""

    data: Sealed
    bundle: Sealed

    @classmethod
    def of(cls, side: Side, seed: int) -> "Goods":
        """Seal what this side keeps secret."""
        payload = b"".join(encode_pieces(side.columns(seed), UNIT_CHUNKS * CHUNK_BYTES))
        return cls(
            Sealed.of(payload, ObjectKind.DATASET, CHUNK_BYTES),
            Sealed.of(side.bundle().encode(), ObjectKind.BUNDLE, 1 << 14),
        )

    @property
    def leaves(self) -> Leaves:
        """What the object store has of both."""
        return self.data.leaves | self.bundle.leaves


@dataclass(frozen=True)
class OpenedOrder:
    """A job that a broker has accepted."""

    job_id: JobId
    order: Signed


class OrderedWorld(BrokerWorld):
    """A broker to which one order came."""

    def submit(self, goods: Goods, schedule: Schedule) -> OpenedOrder:
        """Register data and bundle, and order a job of one trainer."""
        order = self.order(self._register_data(goods), self._register_bundle(goods, schedule), trainers=1,
                           schedule=schedule)  # fmt: skip
        signed = sign(order, self.owner.key)
        return OpenedOrder(self.accept(signed).job_id, signed)

    def _register_data(self, goods: Goods) -> SealedData:
        policy = sign(self.policy_terms(self.owner), self.owner.key)
        manifest = DatasetManifest(owner=self.owner.party, parts=(goods.data.reference,), policy=policy.digest)
        data = SealedData(self.owner, goods.data.key, sign(manifest, self.owner.key), policy)
        self.channel(self.owner).ask(self.dataset_registration(data), Registered)
        return data

    def _register_bundle(self, goods: Goods, schedule: Schedule) -> SealedBundle:
        terms = BundleTerms(
            provider=self.provider.party, report_key=self.provider.report_key, unsafe_simulation=True,
            releases=(self.release.digest,), minimal_trust_level="simulation", not_after=self.time + 86_400,
            answers_total=1000,
        )  # fmt: skip
        signed = sign(terms, self.provider.key)
        publication = BundlePublication(
            provider=self.provider.party, terms=signed.digest, state_class=schedule.state_class, sandbox="native",
            object=goods.bundle.reference,
        )  # fmt: skip
        bundle = SealedBundle(self.provider, goods.bundle.key, sign(publication, self.provider.key), signed)
        self.channel(self.provider).ask(self.bundle_registration(bundle), Registered)
        return bundle


def serve_broker(asked: Connection, directory: Path, sides: tuple[Side, Side], schedule: Schedule, seed: int) -> None:
    """Answer until the other end closes: a number of a side opens a job of it with a fresh broker, bytes are a request.

    Tells first what the object store has. The data of a side are drawn once, by `seed`.
    """
    key_broker.MAX_AWAITING_ENDS = 0  # type: ignore[misc]  # the host lets them wait
    goods = [Goods.of(side, seed) for side in sides]
    asked.send(goods[0].leaves | goods[1].leaves)
    world: OrderedWorld | None = None
    while True:
        try:
            request = asked.recv()
        except (EOFError, OSError):
            return
        if isinstance(request, int):
            world = OrderedWorld(directory)
            asked.send(world.submit(goods[request], schedule))
        elif world is not None:
            asked.send(world.handle(request))
