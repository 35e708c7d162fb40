"""State, and the package of a handover, as the enclave has its host keep them (side: enclave).

Asks of the host: `state.read` and `package.read` (number, 8 bytes -> blob, or nothing behind the last), `state.append`
and `state.package` (`state_door`); for a new chain `state.begin`, `state.add` for each blob, `state.commit`; for a
package `package.begin`, then `package.add`. If the host cannot store a decision, the enclave ends: what it would say
from then on might not be what the next start knows.
"""

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from common.door import Door
from common.identifiers import DatasetId
from services.attestation.state_door import encode_append, encode_begin, encode_package

EXIT_STATE_LOST: Final = 70
"""The host failed to store a decision (EX_SOFTWARE of sysexits.h)."""

_BATCH_BYTES: Final = 4 << 20
"""No further decision goes into a call of that many bytes: the largest (24 MiB) and these fit a frame of the door."""


class DoorStore:
    """`StateStore` through the door.

    One thread at a time has its host store; what others append meanwhile goes together, in the next call.
    """

    def __init__(self, door: Door) -> None:
        self._door = door
        self._turn = threading.Condition()
        self._queue = deque[tuple[bytes, bytes]]()
        self._appended = self._stored = 0
        self._storing = False

    def load(self) -> Iterator[bytes]:
        """All blobs, until the host has no more."""
        return _read_all(self._door, "state.read")

    def append(self, entry: bytes, blob: bytes) -> None:
        """To be stored by the next `settle`."""
        with self._turn:
            self._queue.append((entry, blob))
            self._appended += 1

    def settle(self) -> None:
        """Stored, or this process ends."""
        with self._turn:
            due = self._appended
            while self._stored < due:
                if self._storing:
                    self._turn.wait()
                else:
                    self._store_next()

    def _store_next(self) -> None:
        """Have the host store as much of the queue as goes into one call, with the lock let go meanwhile."""
        batch, size = [], 0
        while self._queue and size < _BATCH_BYTES:
            batch.append(self._queue.popleft())
            size += sum(map(len, batch[-1]))
        self._storing = True
        self._turn.release()
        try:
            self._door.call("state.append", encode_append(batch))
        except Exception:
            os._exit(EXIT_STATE_LOST)
        finally:
            self._turn.acquire()
        self._stored, self._storing = self._stored + len(batch), False
        self._turn.notify_all()

    def replace(self, first: int, entries: Sequence[bytes], blobs: Iterable[bytes]) -> None:
        """A new chain is stored, or this process ends."""
        self.settle()
        try:
            self._door.call("state.begin", encode_begin(first, entries))
            for blob in blobs:
                self._door.call("state.add", blob)
            self._door.call("state.commit", b"")
        except Exception:
            os._exit(EXIT_STATE_LOST)

    def keep_package(self, dataset_id: DatasetId, package: bytes) -> None:
        """Stored, or this process ends."""
        self.settle()
        try:
            self._door.call("state.package", encode_package(dataset_id.encode(), package))
        except Exception:
            os._exit(EXIT_STATE_LOST)


class DoorPackage:
    """`StateStore` of a package through the door. It need not last: what is lost is given again."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def load(self) -> Iterator[bytes]:
        """All blobs, until the host has no more."""
        return _read_all(self._door, "package.read")

    def append(self, entry: bytes, blob: bytes) -> None:  # noqa: ARG002 - of the protocol
        """A package is written at once."""
        raise RuntimeError("a package does not grow")

    def settle(self) -> None:
        """Nothing was appended."""

    def replace(self, first: int, entries: Sequence[bytes], blobs: Iterable[bytes]) -> None:  # noqa: ARG002
        """In place of an earlier package. The log is not part of it: the host has that."""
        self._door.call("package.begin", b"")
        for blob in blobs:
            self._door.call("package.add", blob)

    def keep_package(self, dataset_id: DatasetId, package: bytes) -> None:  # noqa: ARG002
        """What is on its way makes no recovery packages."""
        raise RuntimeError("a package has none of its own")


def _read_all(door: Door, handler: str) -> Iterator[bytes]:
    number = 0
    while blob := door.call(handler, number.to_bytes(8, "big")):
        yield blob
        number += 1
