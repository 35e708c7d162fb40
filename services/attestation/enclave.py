"""Entry of the broker's enclave: verifier and key broker behind the door (side: enclave).

Door: `start` (StartBroker -> nothing) once, then `handle` (BrokerRequest -> Signed BrokerReply), `handle_offered`
(OfferedCollateral -> Signed BrokerReply), `release` (Signed Release -> nothing: the one that this broker is of),
`status` (-> JSON) and `rest` before the door closes.
A handover to another build (common/messages/handover): `handover.offer` and `handover.give` of a broker that runs,
`handover.ask` and `handover.take` of one that was not started, and is started by the latter.
What it asks of the host: `door_stores`.
"""

import json
import sys
import threading
import time
from typing import Final

from common.door import Door
from common.enclave.runtime import current_runtime
from common.errors import UnavailableError
from common.messages.broker_door import MAX_OFFERED_BYTES, OfferedCollateral, StartBroker
from common.messages.enclave_events import EnclaveReady
from common.messages.handover import MAX_HANDOVER_BYTES, AskHandover, GiveHandover, TakeHandover
from common.messages.signed import Signed
from services.attestation.context import BrokerContext, WitnessRule
from services.attestation.door_stores import DoorPackage, DoorStore
from services.attestation.inheritance import ask_for_handover, take_handover
from services.attestation.key_broker import KeyBroker

DOOR_WORKERS: Final = 240
"""More than replies that wait for witnesses, and those who wait for decisions and for the ends of jobs (key_broker)."""


class BrokerDoor:
    """The handlers. Before `start` every other one is refused (unavailable.broker)."""

    def __init__(self) -> None:
        self._broker: KeyBroker | None = None
        self._starting = threading.Lock()
        self.door = Door(
            sys.stdin.buffer,
            sys.stdout.buffer,
            {
                "start": self._start,
                "handle": self._handle,
                "handle_offered": self._handle_offered,
                "release": self._name_release,
                "status": self._status,
                "rest": self._rest,
                "handover.offer": self._offer_handover,
                "handover.give": self._give_handover,
                "handover.ask": self._ask_for_handover,
                "handover.take": self._take_handover,
            },
            workers=DOOR_WORKERS,
        )

    def _start(self, body: bytes) -> bytes:
        start = StartBroker.decode(body)
        with self._starting:
            if self._broker is None:
                self._rule = WitnessRule(start.witnesses, start.witness_quorum, start.tpm_counters, start.peers)
                self._begin(BrokerContext.start(current_runtime(), DoorStore(self.door), self._rule, int(time.time())))
        return b""

    def _begin(self, context: BrokerContext) -> None:
        self._broker = KeyBroker(context)
        self.door.log(EnclaveReady(role="broker", epoch=context.state.log.epoch))

    def _offer_handover(self, _: bytes) -> bytes:
        return self._running().offer_handover(int(time.time())).encode()

    def _give_handover(self, body: bytes) -> bytes:
        asked = GiveHandover.decode(body, limit=MAX_HANDOVER_BYTES)
        return self._running().hand_over(asked, int(time.time()), DoorPackage(self.door)).encode()

    def _ask_for_handover(self, body: bytes) -> bytes:
        return ask_for_handover(current_runtime(), AskHandover.decode(body)).encode()

    def _take_handover(self, body: bytes) -> bytes:
        given = TakeHandover.decode(body, limit=MAX_HANDOVER_BYTES)
        package, store = DoorPackage(self.door), DoorStore(self.door)
        with self._starting:
            if self._broker is None:
                self._begin(take_handover(current_runtime(), given, package, store, self._rule, int(time.time())))
        return b""

    def _handle(self, raw: bytes) -> bytes:
        return self._running().handle(raw, int(time.time()))

    def _handle_offered(self, raw: bytes) -> bytes:
        carried = OfferedCollateral.decode(raw, limit=MAX_OFFERED_BYTES)
        return self._running().handle(carried.request, int(time.time()), carried.collateral)

    def _name_release(self, body: bytes) -> bytes:
        self._running().name_release(Signed.decode(body))
        return b""

    def _status(self, _: bytes) -> bytes:
        return json.dumps({"frozen": self._running().frozen}).encode()

    def _rest(self, _: bytes) -> bytes:
        self._running().rest(int(time.time()))
        return b""

    def _running(self) -> KeyBroker:
        if self._broker is None:
            raise UnavailableError("unavailable.broker", expected="a started broker")
        return self._broker


def main() -> None:
    """Serve until the door closes."""
    BrokerDoor().door.serve()
