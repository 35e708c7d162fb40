"""An append-only file of records, which a crash leaves whole or torn at its very end (side: host).

    magic `CLBS` 02 || first (8, big-endian), then of each record: kind (1) || length (4, big-endian) || bytes

Kinds: 1 a blob of the sealed state, 2 an entry of the decision log. Entries are numbered through from `first`. Records
are written in groups that end with a record of the closing kind; what stands behind the last whole group was never
acknowledged, and is cut off at the next open.
"""

import os
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from common.errors import UnavailableError

BLOB: Final = 1
ENTRY: Final = 2
Kind = Literal[1, 2]

_MAGIC: Final = b"CLBS\x02"
_HEAD_BYTES: Final = len(_MAGIC) + 8
_RECORD_HEAD_BYTES: Final = 5


class RecordFile:
    """One file and where its records lie."""

    def __init__(self, path: Path, descriptor: int, first: int) -> None:
        self.path, self.first, self._descriptor = path, first, descriptor
        self._places: dict[int, array[int]] = {BLOB: array("Q"), ENTRY: array("Q")}
        """Offset and length of each record of a kind, one after the other."""
        self._end = _HEAD_BYTES

    @classmethod
    def create(cls, path: Path, first: int = 0) -> "RecordFile":
        """A new file in place of what is there."""
        path.unlink(missing_ok=True)
        file = cls(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), first)
        _write(file._descriptor, _MAGIC + first.to_bytes(8, "big"), 0)
        return file

    @classmethod
    def open(cls, path: Path, closing: Kind) -> "RecordFile":
        """The file as it was left, without what was torn. Raises `UnavailableError` for another kind of file."""
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        head = os.pread(descriptor, _HEAD_BYTES, 0)
        if len(head) < _HEAD_BYTES or not head.startswith(_MAGIC):
            os.close(descriptor)
            raise UnavailableError("unavailable.store", expected=f"records of version 2 in {path.name}")
        file = cls(path, descriptor, int.from_bytes(head[len(_MAGIC) :], "big"))
        file._scan(closing)
        return file

    def __del__(self) -> None:
        os.close(self._descriptor)

    def count(self, kind: Kind) -> int:
        """How many records of this kind there are."""
        return len(self._places[kind]) // 2

    def read(self, kind: Kind, number: int) -> bytes:
        """Record `number` of a kind, from 0; nothing behind the last."""
        if number >= self.count(kind):
            return b""
        offset, length = self._places[kind][2 * number : 2 * number + 2]
        return os.pread(self._descriptor, length, offset)

    def append(self, *records: tuple[Kind, bytes]) -> None:
        """Write a group, in one go; `sync` makes it last."""
        _write(self._descriptor, b"".join(_framed(kind, data) for kind, data in records), self._end)
        for kind, data in records:
            self._note(kind, len(data))

    def append_all(self, kind: Kind, records: Iterable[bytes]) -> None:
        """Write many records of one kind, a group each."""
        for data in records:
            self.append((kind, data))

    def sync(self) -> None:
        """All that was written is on the disk when this returns."""
        os.fsync(self._descriptor)

    def _scan(self, closing: Kind) -> None:
        size, group = os.fstat(self._descriptor).st_size, list[tuple[int, int]]()
        at = self._end
        while len(head := os.pread(self._descriptor, _RECORD_HEAD_BYTES, at)) == _RECORD_HEAD_BYTES:
            kind, length = head[0], int.from_bytes(head[1:], "big")
            at += _RECORD_HEAD_BYTES + length
            if at > size or kind not in self._places:
                break
            group.append((kind, length))
            if kind == closing:
                for one in group:
                    self._note(*one)
                group.clear()
        os.ftruncate(self._descriptor, self._end)

    def _note(self, kind: int, length: int) -> None:
        self._places[kind].extend((self._end + _RECORD_HEAD_BYTES, length))
        self._end += _RECORD_HEAD_BYTES + length


def _framed(kind: Kind, data: bytes) -> bytes:
    return bytes([kind]) + len(data).to_bytes(4, "big") + data


def _write(descriptor: int, data: bytes, offset: int) -> None:
    written = 0
    while written < len(data):
        written += os.pwrite(descriptor, data[written:], offset + written)
