"""Two installations: a broker, and the broker of another one that is its only witness, itself guarded by a witness."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from client.peer_carrier import PeerCarrier
from common.errors import CloisterError
from services.attestation.context import WitnessRule
from tests.fakes.broker_world import BrokerWorld, MemoryStore
from tests.fakes.served_log import get_log


class LogAndBroker:
    """The paths of an attestation service that a carrier asks, over a broker in this process."""

    def __init__(self, world: BrokerWorld) -> None:
        self.world = world

    def get(self, path: str) -> bytes:
        return get_log(self.world, path)

    def post(self, path: str, body: bytes) -> bytes:
        assert path == "/v1/broker"
        return self.world.handle(body)


class PeerPair:
    """`world` is witnessed by `peer`, which serves it; `peer`'s own witness is in this process."""

    def __init__(self, directory: Path) -> None:
        self.peer = BrokerWorld(directory / "peer", witnesses=1)
        self.world = BrokerWorld(directory / "world")
        self.world.rule = WitnessRule((self.peer.genesis.signing_public,), 1)
        self.world.restart(MemoryStore())
        self.serve(self.world)
        self.carrier = self.again()

    def serve(self, *worlds: BrokerWorld) -> None:
        """Start the peer's broker anew, told whom it serves."""
        peers = tuple(world.genesis.digest for world in worlds)
        self.peer.rule = WitnessRule(self.peer.rule.witnesses, self.peer.rule.quorum, (), peers)
        self.peer.restart()

    def again(self) -> PeerCarrier:
        """The carrier, started anew."""
        return PeerCarrier(LogAndBroker(self.world), LogAndBroker(self.peer))

    @contextmanager
    def attended(self) -> Iterator[None]:
        """Inside, the peer's own witness confirms whatever the peer decides."""
        self.peer.confirm(self.peer.witnesses[0])
        with self.peer.attended(self.peer.witnesses[0]):
            yield

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Inside, the carrier has every decision of `world` confirmed as soon as it is made."""
        world, left = self.world, threading.Event()
        with self.attended():
            self.carrier.round()
            world.confirm_seconds = world.core._confirm_seconds = 30.0

            def follow() -> None:
                while not left.is_set():
                    with suppress(CloisterError):
                        if not self.carrier.follow():
                            self.carrier.round()

            thread = threading.Thread(target=follow, name="carrier")
            thread.start()
            try:
                yield
            finally:
                left.set()
                thread.join()
                world.confirm_seconds = world.core._confirm_seconds = 0.0
