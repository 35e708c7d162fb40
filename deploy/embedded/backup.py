"""All state of an embedded stack as a directory, and back (side: host).

    DIRECTORY/backup.json   when, and size and SHA-256 of each file; written last, so a copy without it is none
    DIRECTORY/FOLDER/...    the folders of the state directory that `KEPT` names; 0700, and as secret as these

The order is that of what names what: the registry first, then the objects that it names, then the key broker's state,
which stands above both. The registry is copied by SQLite itself; of the broker's chain, which only grows, a copy ends
somewhere, as after a crash. So a stack may be up meanwhile. But then its broker goes on deciding, and its witnesses see
that: from a copy that is older than what they saw, a broker releases nothing (ARCHITECTURE, decision 7). Only a copy
of a stack that is down is one that starts again.

What is left out: the witness's memory, because restored together with the broker it would revive what was revoked;
RabbitMQ and Redis, which may lose everything; logs, settings and what is made anew at each start.
"""

import contextlib
import hashlib
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from common.errors import ConflictError, FormatError
from common.identifiers import Digest
from common.messages.base import Count, Message, Seconds
from deploy.embedded.state import StateDirectory, write_private

KEPT: Final = ("registry", "objects", "platform", "release", "snapshots", "credentials", "attestation")
"""In this order."""

INDEX: Final = "backup.json"
_REGISTRY: Final = Path("registry", "registry.sqlite")
_CHAINS: Final = "chain-*.log"
_PASSING: Final = (".*", "*.lock", "*-wal", "*-shm")
"""Files that are being written, or that only processes of now have a use for."""
_TRIES: Final = 20
_MAX_INDEX_BYTES: Final = 64 << 20


class KeptFile(Message):
    """One file, by its path below the directory."""

    path: Annotated[str, Field(min_length=1, max_length=1024)]
    bytes: Count
    sha256: Digest


class BackupIndex(Message):
    """What a backup holds. `was_up`: the stack went on meanwhile."""

    type: Literal["backup-index"] = "backup-index"
    version: Literal[1] = 1
    made_at: Seconds
    was_up: bool
    files: tuple[KeptFile, ...]


def back_up(state: StateDirectory, target: Path) -> BackupIndex:
    """Copy everything to `target`, which must not be there. Raises `ConflictError` (conflict.state_directory)."""
    if target.exists() or not state.root.exists():
        raise ConflictError("conflict.state_directory", expected="a stack's state, and a new directory", seen=target)
    was_up, made_at = state.is_locked(), int(time.time())
    target.mkdir(mode=0o700, parents=True)
    for name in KEPT:
        source = state.root / name
        if name == "registry":
            _copy_registry(state.root / _REGISTRY, target / _REGISTRY)
        elif name == "attestation":
            _copy_broker(source, target / name)
        elif source.exists():
            _copy_folder(source, target / name)
    files = tuple(_kept(target, path) for path in _files(target))
    index = BackupIndex(made_at=made_at, was_up=was_up, files=files)
    write_private(target / INDEX, index.encode())
    return index


def restore(state: StateDirectory, source: Path, *, over_newer: bool = False) -> BackupIndex:
    """Put a backup in the place of what is there, which is kept beside it (`aside-TIME`), after all is checked.

    Raises `FormatError` (format.backup) for a copy that is damaged or none; `ConflictError`: conflict.stack_up while
    the stack is up, conflict.newer_state where the broker's state here is newer than the copy's, unless `over_newer`.
    """
    index = read_index(source)
    state.prepare()
    lock = state.lock()
    if lock is None:
        raise ConflictError("conflict.stack_up", seen=state.root)
    with contextlib.closing(open(lock, "rb")):  # noqa: PTH123 - a descriptor
        here, there = (_position(root / "attestation" / "broker") for root in (state.root, source))
        if here > there and not over_newer:
            raise ConflictError("conflict.newer_state", expected=f"at most {there}", seen=here)
        aside = state.root / f"aside-{time.time_ns()}"
        for name in KEPT:
            if (old := state.root / name).exists():
                aside.mkdir(mode=0o700, exist_ok=True)
                old.rename(aside / name)
            if (source / name).exists():
                _copy_folder(source / name, state.root / name)
    return index


def read_index(source: Path) -> BackupIndex:
    """The index of a backup whose files are all there, and no others. Raises `FormatError` (format.backup)."""
    try:
        index = BackupIndex.decode((source / INDEX).read_bytes(), limit=_MAX_INDEX_BYTES)
    except (OSError, FormatError):
        raise FormatError("format.backup", expected=INDEX, seen=source) from None
    there = [_kept(source, path) for path in _files(source)]
    if sorted(there, key=_path) != sorted(index.files, key=_path):
        changed = {one.path for one in {*there} ^ {*index.files}}
        raise FormatError("format.backup", expected="the files that were copied", seen=", ".join(sorted(changed)[:5]))
    return index


def _path(file: KeptFile) -> str:
    return file.path


def _copy_registry(source: Path, target: Path) -> None:
    if not source.exists():
        return
    target.parent.mkdir(mode=0o700)
    write_private(target, b"")
    with (
        contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=20)) as here,
        contextlib.closing(sqlite3.connect(target)) as there,
    ):
        here.backup(there)


def _copy_broker(source: Path, target: Path) -> None:
    """Again, where a chain took the place of another meanwhile (services/attestation/state_files)."""
    for _ in range(_TRIES):
        before = _position(source / "broker")[0]
        with contextlib.suppress(FileNotFoundError, shutil.Error):
            if source.exists():
                _copy_folder(source, target)
            if _position(source / "broker")[0] == before == _position(target / "broker")[0]:
                return
        shutil.rmtree(target, ignore_errors=True)
    raise ConflictError("conflict.stack_up", expected="a key broker that does not start all the while", seen=source)


def _position(broker: Path) -> tuple[int, int]:
    """How far a broker's state has come: the number of its newest chain, and how long that is; (-1, 0) without one."""
    chains = sorted(broker.glob(_CHAINS))
    return (int(chains[-1].stem.removeprefix("chain-")), chains[-1].stat().st_size) if chains else (-1, 0)


def _copy_folder(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*_PASSING), dirs_exist_ok=False)


def _files(root: Path) -> Iterator[Path]:
    return (path for path in sorted(root.rglob("*")) if path.is_file() and path != root / INDEX)


def _kept(root: Path, path: Path) -> KeptFile:
    with path.open("rb") as file:
        digest = Digest(hashlib.file_digest(file, "sha256").hexdigest())
    return KeptFile(path=str(path.relative_to(root)), bytes=path.stat().st_size, sha256=digest)
