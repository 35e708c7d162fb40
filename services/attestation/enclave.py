"""Entry of the broker's enclave: verifier and key broker behind the door (side: enclave).

Door: `start` (StartBroker -> nothing) once, then `handle` (BrokerRequest -> Signed BrokerReply), `handle_offered`
(OfferedCollateral -> Signed BrokerReply) and `status` (-> JSON).
Asks of the host: `state.read` (number, 8 bytes -> blob, or nothing behind the last), `state.append`, `state.package`
(`state_door`), and for a new chain `state.begin`, `state.add` for each blob, `state.commit`. If the host cannot store a
decision, the enclave ends: what it would say from then on might not be what the next start knows.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from common.door import Door
from common.enclave.runtime import current_runtime
from common.errors import UnavailableError
from common.identifiers import DatasetId
from common.messages.broker_door import MAX_OFFERED_BYTES, OfferedCollateral, StartBroker
from services.attestation.context import BrokerContext, WitnessRule
from services.attestation.key_broker import KeyBroker
from services.attestation.state_door import encode_append, encode_begin

EXIT_STATE_LOST: Final = 70
"""The host failed to store a decision (EX_SOFTWARE of sysexits.h)."""

DOOR_WORKERS: Final = 160
"""More than replies that wait for witnesses, and witnesses that wait for decisions (key_broker)."""


class DoorStore:
    """`StateStore` through the door."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def load(self) -> Iterator[bytes]:
        """All blobs, until the host has no more."""
        number = 0
        while blob := self._door.call("state.read", number.to_bytes(8, "big")):
            yield blob
            number += 1

    def append(self, entry: bytes, blob: bytes) -> None:
        """Stored, or this process ends."""
        try:
            self._door.call("state.append", encode_append(entry, blob))
        except Exception:
            os._exit(EXIT_STATE_LOST)

    def replace(self, first: int, entries: Sequence[bytes], blobs: Iterable[bytes]) -> None:
        """A new chain is stored, or this process ends."""
        try:
            self._door.call("state.begin", encode_begin(first, entries))
            for blob in blobs:
                self._door.call("state.add", blob)
            self._door.call("state.commit", b"")
        except Exception:
            os._exit(EXIT_STATE_LOST)

    def keep_package(self, dataset_id: DatasetId, package: bytes) -> None:
        """Stored, or this process ends."""
        try:
            self._door.call("state.package", encode_append(dataset_id.encode(), package))
        except Exception:
            os._exit(EXIT_STATE_LOST)


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
                "status": self._status,
            },
            workers=DOOR_WORKERS,
        )

    def _start(self, body: bytes) -> bytes:
        start = StartBroker.decode(body)
        with self._starting:
            if self._broker is None:
                rule = WitnessRule(start.witnesses, start.witness_quorum, start.tpm_counters, start.peers)
                context = BrokerContext.start(current_runtime(), DoorStore(self.door), rule, int(time.time()))
                self._broker = KeyBroker(context)
                self.door.log("enclave_ready", role="broker", epoch=context.state.log.epoch)
        return b""

    def _handle(self, raw: bytes) -> bytes:
        return self._running().handle(raw, int(time.time()))

    def _handle_offered(self, raw: bytes) -> bytes:
        carried = OfferedCollateral.decode(raw, limit=MAX_OFFERED_BYTES)
        return self._running().handle(carried.request, int(time.time()), carried.collateral)

    def _status(self, _: bytes) -> bytes:
        return json.dumps({"frozen": self._running().frozen}).encode()

    def _running(self) -> KeyBroker:
        if self._broker is None:
            raise UnavailableError("unavailable.broker", expected="a started broker")
        return self._broker


def main() -> None:
    """Serve until the door closes."""
    BrokerDoor().door.serve()
