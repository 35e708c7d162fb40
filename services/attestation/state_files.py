"""The broker's sealed state and its decision log on disk (side: host; it reads the log and sees blobs and their sizes).

    DIRECTORY/chain-NNNNNNNNNNNNNNNN.log   the newest chain of blobs, and the log's entries since it was begun
    DIRECTORY/.chain.new                   a chain that is being begun; worthless until it has its name
    DIRECTORY/log.records                  the log's entries from before the newest chain
    DIRECTORY/recovery/                    packages for another broker (`recovery_files`)
    DIRECTORY/log-aside-N.records          what stood in the way of the log of an older state that was put here

An entry and the sealed blob of its decision are one group of records (`record_file`): after a crash both are there or
neither. Decisions that come together share one fsync. When a chain takes the place of another, the other's entries are
first added to `log.records`. Neither file can tell a rewound log from a whole one; whoever verifies it can
(common/transparency).
"""

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from common.errors import UnavailableError
from services.attestation.record_file import BLOB, ENTRY, RecordFile
from services.attestation.recovery_files import RecoveryFiles

_PATTERN: Final = "chain-*.log"
_LOG: Final = "log.records"


class StateFiles:
    """One broker's chain and log. Raises `UnavailableError` (unavailable.store) when the disk does, or lost entries."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory, self._lock = directory, threading.Lock()
        self._new: RecordFile | None = None
        self.recovery = RecoveryFiles(directory / "recovery")
        paths = sorted(directory.glob(_PATTERN))
        self._number = int(paths[-1].stem.removeprefix("chain-")) if paths else 0
        self._chain = RecordFile.open(paths[-1], closing=BLOB) if paths else None
        log = directory / _LOG
        self._log = RecordFile.open(log, closing=ENTRY) if log.exists() else _make_log(log)
        if self._chain is not None and self._chain.first > self._log.count(ENTRY):
            raise UnavailableError("unavailable.store", expected=f"{self._chain.first} entries in {_LOG}")

    def read(self, number: int) -> bytes:
        """Blob `number` of the newest chain; nothing behind the last."""
        with self._lock, _translated():
            return b"" if self._chain is None else self._chain.read(BLOB, number)

    @property
    def entry_count(self) -> int:
        """How many entries the log has."""
        with self._lock:
            return 0 if self._chain is None else self._chain.first + self._chain.count(ENTRY)

    def read_entry(self, number: int) -> bytes:
        """Entry `number` of the log; nothing behind the last."""
        with self._lock, _translated():
            if self._chain is None:
                return b""
            own = number - self._chain.first
            return self._log.read(ENTRY, number) if own < 0 else self._chain.read(ENTRY, own)

    def append(self, *decisions: tuple[bytes, bytes]) -> None:
        """Store entry and blob of each; all are on the disk when this returns."""
        with self._lock, _translated():
            if self._chain is None:
                raise UnavailableError("unavailable.store", expected="a chain that was begun")
            for entry, blob in decisions:
                self._chain.append((ENTRY, entry), (BLOB, blob))
            self._chain.sync()

    def begin(self, first: int, entries: Sequence[bytes]) -> None:
        """Begin a new chain beside the newest, with the log's entries from number `first` on."""
        with self._lock, _translated():
            self._new = RecordFile.create(self._directory / ".chain.new", first)
            self._new.append(*((ENTRY, entry) for entry in entries))

    def add(self, blob: bytes) -> None:
        """Add a blob to the chain that is being begun."""
        with self._lock, _translated():
            self._begun().append((BLOB, blob))

    def commit(self) -> None:
        """The chain that was begun is the newest from now on; older ones are deleted."""
        with self._lock, _translated():
            chain = self._begun()
            chain.sync()
            self._keep_entries_before(chain)
            self._number += 1
            path = self._directory / f"chain-{self._number:016}.log"
            chain.path.rename(path)
            chain.path, self._chain, self._new = path, chain, None
            self._sync_directory()
            for old in self._directory.glob(_PATTERN):
                if old != path:
                    old.unlink()

    def _keep_entries_before(self, chain: RecordFile) -> None:
        """Bring the log's own file to exactly the entries below the first of `chain`."""
        old, kept = self._chain, self._log.count(ENTRY)
        entries = [] if old is None else [old.read(ENTRY, number) for number in range(old.count(ENTRY))]
        first = 0 if old is None else old.first
        if first + len(entries) != chain.first:
            raise UnavailableError("unavailable.store", expected=f"{chain.first} entries", seen=first + len(entries))
        there = [self._log.read(ENTRY, number) for number in range(first, kept)]
        if there != entries[: len(there)]:
            self._set_aside(first)
            there = []
        self._log.append_all(ENTRY, entries[len(there) :])
        self._log.sync()

    def _set_aside(self, count: int) -> None:
        """An older state was put here without its log: keep what it did not know, and go on from where it was."""
        number = len(list(self._directory.glob("log-aside-*.records")))
        path, aside = self._directory / _LOG, self._directory / f"log-aside-{number}.records"
        kept = [self._log.read(ENTRY, one) for one in range(count)]
        path.rename(aside)
        self._log = _make_log(path, kept)
        self._sync_directory()

    def _begun(self) -> RecordFile:
        if self._new is None:
            raise UnavailableError("unavailable.store", expected="a chain that was begun")
        return self._new

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _make_log(path: Path, entries: Iterable[bytes] = ()) -> RecordFile:
    file = RecordFile.create(path.with_name(".log.new"))
    file.append_all(ENTRY, entries)
    file.sync()
    file.path.rename(path)
    file.path = path
    return file


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        raise UnavailableError("unavailable.store") from cause
