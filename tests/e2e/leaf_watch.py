"""Which leaves of stored objects are read, and in which order, as the file system tells it (side: host; inotify(7))."""

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_IN_OPEN: Final = 0x20  # linux/inotify.h
_IN_CLOSE_NOWRITE: Final = 0x10
_EVENT: Final = struct.Struct("iIII")
_READ_BYTES: Final = 1 << 16


class LeafWatch:
    """Counts how often each leaf is opened, from its making on. Closing is watched so that no two opens are merged."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._directories: dict[int, Path] = {}
        self._opened: list[tuple[Path, int]] = []

    @classmethod
    @contextlib.contextmanager
    def open(cls) -> Iterator["LeafWatch"]:
        """Watch until the end of the block."""
        watch = cls()
        try:
            yield watch
        finally:
            os.close(watch._descriptor)

    def add(self, directory: Path) -> None:
        """Watch a stored object."""
        mask = _IN_OPEN | _IN_CLOSE_NOWRITE
        watched = self._libc.inotify_add_watch(self._descriptor, os.fsencode(directory), mask)
        self._directories[self._checked(watched)] = directory

    def opened(self, directory: Path) -> list[int]:
        """Numbers of the leaves that were opened in this object, in order."""
        with contextlib.suppress(BlockingIOError):
            while events := os.read(self._descriptor, _READ_BYTES):
                self._take(events)
        return [leaf for place, leaf in self._opened if place == directory]

    def _take(self, events: bytes) -> None:
        offset = 0
        while offset < len(events):
            watched, mask, _, length = _EVENT.unpack_from(events, offset)
            name = events[offset + _EVENT.size :][:length].rstrip(b"\0").decode()
            offset += _EVENT.size + length
            if mask & _IN_OPEN and name.startswith("leaf-"):
                self._opened.append((self._directories[watched], int(name[5:])))

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            raise OSError(ctypes.get_errno(), "inotify")
        return result
