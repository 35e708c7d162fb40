"""The broker's sealed state on disk (side: host; it sees blobs and their sizes).

    DIRECTORY/chain-NNNNNNNNNNNNNNNN.log   the newest chain: magic `CLBS` 01, then length (4, big-endian), blob, ...
    DIRECTORY/.chain.new                   a chain that is being begun; worthless until it has its name

A blob counts once it is on the disk (fsync). A torn last blob was never acknowledged and is cut off at the next open.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from common.errors import UnavailableError

_MAGIC: Final = b"CLBS\x01"
_LENGTH_BYTES: Final = 4
_PATTERN: Final = "chain-*.log"


class StateFiles:
    """One broker's chain of blobs. Raises `UnavailableError` (unavailable.store) when the disk does."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory, self._lock = directory, threading.Lock()
        self._new: _Chain | None = None
        paths = sorted(directory.glob(_PATTERN))
        self._number = int(paths[-1].stem.removeprefix("chain-")) if paths else 0
        self._chain = _Chain.open(paths[-1]) if paths else None

    def read(self, number: int) -> bytes:
        """Blob `number` of the newest chain; nothing behind the last."""
        with self._lock, _translated():
            return b"" if self._chain is None else self._chain.read(number)

    def append(self, blob: bytes) -> None:
        """Store one more blob; it is on the disk when this returns."""
        with self._lock, _translated():
            if self._chain is None:
                raise UnavailableError("unavailable.store", expected="a chain that was begun")
            self._chain.append(blob)
            self._chain.sync()

    def begin(self) -> None:
        """Begin a new chain beside the newest."""
        with self._lock, _translated():
            self._new = _Chain.create(self._directory / ".chain.new")

    def add(self, blob: bytes) -> None:
        """Add a blob to the chain that is being begun."""
        with self._lock, _translated():
            self._begun().append(blob)

    def commit(self) -> None:
        """The chain that was begun is the newest from now on; older ones are deleted."""
        with self._lock, _translated():
            chain = self._begun()
            chain.sync()
            self._number += 1
            path = self._directory / f"chain-{self._number:016}.log"
            chain.path.rename(path)
            chain.path, self._chain, self._new = path, chain, None
            self._sync_directory()
            for old in self._directory.glob(_PATTERN):
                if old != path:
                    old.unlink()

    def _begun(self) -> "_Chain":
        if self._new is None:
            raise UnavailableError("unavailable.store", expected="a chain that was begun")
        return self._new

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class _Chain:
    """One file and where its blobs lie: (offset, length) of each."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor
        self._places: list[tuple[int, int]] = []
        self._end = len(_MAGIC)

    @classmethod
    def create(cls, path: Path) -> "_Chain":
        path.unlink(missing_ok=True)
        chain = cls(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        _write(chain._descriptor, _MAGIC, 0)
        return chain

    @classmethod
    def open(cls, path: Path) -> "_Chain":
        chain = cls(path, os.open(path, os.O_RDWR | os.O_CLOEXEC))
        size = os.fstat(chain._descriptor).st_size
        if os.pread(chain._descriptor, len(_MAGIC), 0) != _MAGIC:
            raise UnavailableError("unavailable.store", expected=f"a chain of version 1 in {path.name}")
        while head := os.pread(chain._descriptor, _LENGTH_BYTES, chain._end):
            length = int.from_bytes(head, "big")
            if len(head) < _LENGTH_BYTES or chain._end + _LENGTH_BYTES + length > size:
                os.ftruncate(chain._descriptor, chain._end)  # torn by a crash
                break
            chain._note(length)
        return chain

    def __del__(self) -> None:
        os.close(self._descriptor)

    def read(self, number: int) -> bytes:
        if number >= len(self._places):
            return b""
        offset, length = self._places[number]
        return os.pread(self._descriptor, length, offset)

    def append(self, blob: bytes) -> None:
        _write(self._descriptor, len(blob).to_bytes(_LENGTH_BYTES, "big") + blob, self._end)
        self._note(len(blob))

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def _note(self, length: int) -> None:
        self._places.append((self._end + _LENGTH_BYTES, length))
        self._end += _LENGTH_BYTES + length


def _write(descriptor: int, data: bytes, offset: int) -> None:
    written = 0
    while written < len(data):
        written += os.pwrite(descriptor, data[written:], offset + written)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        raise UnavailableError("unavailable.store") from cause
