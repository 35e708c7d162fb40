"""State, and the package of a handover, as the enclave has its host keep them (side: enclave).

Asks of the host: `state.read` and `package.read` (number, 8 bytes -> blob, or nothing behind the last), `state.append`
and `state.package` (`state_door`); for a new chain `state.begin`, `state.add` for each blob, `state.commit`; for a
package `package.begin`, then `package.add`. If the host cannot store a decision, the enclave ends: what it would say
from then on might not be what the next start knows.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from common.door import Door
from common.identifiers import DatasetId
from services.attestation.state_door import encode_append, encode_begin

EXIT_STATE_LOST: Final = 70
"""The host failed to store a decision (EX_SOFTWARE of sysexits.h)."""


class DoorStore:
    """`StateStore` through the door."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def load(self) -> Iterator[bytes]:
        """All blobs, until the host has no more."""
        return _read_all(self._door, "state.read")

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
