"""A broker and an heir of another build, with the host between them (side: library).

Both cores run in this process behind their interfaces. The host's part (carry, drop, swap, restore) is the test's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from common.crypto.digests import sha256
from common.identifiers import MrEnclave
from common.messages.handover import AskHandover, GiveHandover, HandoverGiven, HandoverOffer, HeirAsked, TakeHandover
from common.messages.signed import Signed
from services.attestation.context import BrokerContext
from services.attestation.inheritance import ask_for_handover, take_handover
from services.attestation.key_broker import KeyBroker
from tests.fakes.broker_world import MEASUREMENTS, BrokerWorld, MemoryStore, TestRuntime

HEIR: Final = MrEnclave(sha256(b"broker, a later build"))
LATER: Final = MEASUREMENTS | {"broker": HEIR}


@dataclass
class Heir:
    """One installation of a later build beside a world's broker."""

    world: BrokerWorld
    release: Signed
    runtime: TestRuntime
    package: MemoryStore = field(default_factory=MemoryStore)
    sealed_key: bytes | None = None

    @classmethod
    def of(cls, world: BrokerWorld, measurement: MrEnclave = HEIR, *, tag: str = "2") -> "Heir":
        """The next release of that world, whose broker measures so."""
        release = world.sign_release(MEASUREMENTS | {"broker": measurement}, tag=tag)
        return cls(world, release, world.runtime("broker", measurement))

    def offer(self) -> HandoverOffer:
        return self.world.core.offer_handover(self.world.time)

    def ask(self, offer: HandoverOffer | None = None) -> tuple[HandoverOffer, HeirAsked]:
        """The heir's answer; the host keeps its sealed key."""
        offer = offer or self.offer()
        asked = ask_for_handover(self.runtime, AskHandover(offer=offer, sealed_key=self.sealed_key))
        self.sealed_key = asked.sealed_key
        return offer, asked

    def request(self, **changes: Any) -> GiveHandover:
        """What the host lays before the giver."""
        offer, asked = self.ask()
        fields: dict[str, Any] = {
            "challenge_id": offer.challenge_id, "binding": asked.binding, "evidence": asked.evidence,
            "release": self.release,
        }  # fmt: skip
        return GiveHandover(**(fields | changes))

    def give(self, **changes: Any) -> HandoverGiven:
        return self.world.core.hand_over(self.request(**changes), self.world.time, self.package)

    def take(self, given: HandoverGiven, store: MemoryStore | None = None, **changes: Any) -> BrokerContext:
        """The heir runs, on the giver's store unless on another."""
        assert self.sealed_key is not None
        fields: Mapping[str, Any] = {"given": given, "sealed_key": self.sealed_key, "release": self.world.release}
        body = TakeHandover(**{**fields, **changes})
        return take_handover(
            self.runtime, body, self.package, store or self.world.store, self.world.rule, self.world.time
        )

    def succeed(self, **changes: Any) -> None:
        """A whole handover: from now on the world's broker is the heir."""
        self.adopt(self.take(self.give(**changes)))

    def adopt(self, context: BrokerContext) -> None:
        """Everybody in the world talks to this one, which its measurement names."""
        world = self.world
        world.context, world.broker_measurement = context, self.runtime.measurement
        world.core = KeyBroker(context, confirm_seconds=world.confirm_seconds)
