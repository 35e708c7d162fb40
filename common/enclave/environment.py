"""The Python environment of an enclave, as one digest (side: host).

Measured: interpreter, shared libpython, standard library, site-packages. Not measured: `__pycache__` (never read by an
enclave, see `bytecode`), C headers and type stubs, and what the operating system brings (C library, kernel).

Hashing all of it takes seconds, so each file's digest is kept with its size, times and inode, and a file is read again
when one of them changed. That memory is the launcher's and as trustworthy as the launcher.
"""

import fcntl
import hashlib
import os
import secrets
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from common.crypto.digests import sha256
from common.identifiers import Digest

_NOT_MEASURED: Final = frozenset({"__pycache__", "site-packages", "dist-packages"})
"""Directory names that are skipped; site-packages is a tree of its own."""

_NOT_EXECUTED: Final = (".h", ".hpp", ".cuh", ".pyi")
"""Read by compilers and type checkers alone, which no enclave has; four files in ten."""

_FORMAT: Final = "cloister-environment 1"


FileState = tuple[str, int, int, int, int]
"""Where a file lies and what would change with its content: path, size, mtime, ctime (ns), inode.

A plain tuple: there are tens of thousands at every launch.
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """One Python environment: what an enclave's `sys.path` holds beside its snapshot."""

    executable: Path
    libraries: tuple[Path, ...]
    standard_library: Path
    site_packages: tuple[Path, ...]

    @classmethod
    def current(cls) -> Self:
        """The environment that this process runs in."""
        shared = Path(sysconfig.get_config_var("LIBDIR") or "/", sysconfig.get_config_var("INSTSONAME") or "none")
        sites = dict.fromkeys(Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib"))
        return cls(
            Path(sys.executable).resolve(),
            (shared.resolve(),) if shared.is_file() else (),
            Path(sysconfig.get_path("stdlib")).resolve(),
            tuple(sites),
        )

    def digest(self, cache: Path) -> Digest:
        """SHA-256 over the sorted lines `name NUL sha256`; `cache` remembers digests between processes."""
        states = dict(self._files())
        fingerprint = sha256(repr(states).encode())
        with _locked(cache.with_suffix(".lock")):
            head = [_FORMAT, fingerprint]
            memory = _read_cache(cache, whole=False)
            if memory[:2] == head:
                return Digest(memory[2])
            known = dict(_remembered(_read_cache(cache, whole=True)))
            hashed = _hash_all(states, known)
            digest = sha256("".join(f"{name}\0{hashed[name]}\n" for name in sorted(hashed)).encode())
            lines = [
                *head,
                digest,
                *(
                    f"{hashed[name]} {size} {mtime} {ctime} {inode} {path}"
                    for name, (path, size, mtime, ctime, inode) in states.items()
                ),
            ]
            _write_cache(cache, "\n".join(lines))
        return digest

    def _files(self) -> Iterator[tuple[str, FileState]]:
        for label, path in (("interpreter", self.executable), *(("library", path) for path in self.libraries)):
            yield f"{label}/{path.name}", _state(str(path), path.stat())
        yield from _walk("stdlib", str(self.standard_library))
        for number, site in enumerate(self.site_packages):
            yield from _walk(f"site{number}", str(site))


def _state(path: str, stat: os.stat_result) -> FileState:
    return path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def _walk(label: str, top: str) -> Iterator[tuple[str, FileState]]:
    """Every file below `top` in the order in which the file system lists them; links are followed, each place once."""
    waiting = [(label, top)]
    entered = {os.path.realpath(top)}
    while waiting:
        name, path = waiting.pop()
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir():
                    if entry.name in _NOT_MEASURED:
                        continue
                    if not entry.is_symlink():
                        waiting.append((f"{name}/{entry.name}", entry.path))
                    elif (target := os.path.realpath(entry.path)) not in entered:
                        entered.add(target)
                        waiting.append((f"{name}/{entry.name}", entry.path))
                elif not entry.name.endswith(_NOT_EXECUTED) and entry.is_file():
                    yield f"{name}/{entry.name}", _state(entry.path, entry.stat())


def _hash_all(states: dict[str, FileState], known: dict[FileState, str]) -> dict[str, str]:
    hashed = {name: known[state] for name, state in states.items() if state in known}
    missing = [name for name in states if name not in hashed]
    with ThreadPoolExecutor() as pool:  # hashlib lets go of the interpreter lock
        hashed.update(zip(missing, pool.map(_hash_file, (states[name][0] for name in missing)), strict=True))
    return hashed


def _hash_file(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_cache(cache: Path, *, whole: bool) -> list[str]:
    """Format, fingerprint, digest; then, if `whole`, a line for each file."""
    try:
        with cache.open() as file:
            return file.read().split("\n") if whole else [file.readline().rstrip("\n") for _ in range(3)]
    except OSError:
        return []


def _remembered(lines: list[str]) -> Iterator[tuple[FileState, str]]:
    if lines[:1] == [_FORMAT]:
        for line in lines[3:]:
            digest, size, mtime, ctime, inode, path = line.split(" ", 5)
            yield (path, int(size), int(mtime), int(ctime), int(inode)), digest


def _write_cache(cache: Path, text: str) -> None:
    fresh = cache.with_name(f".{cache.name}.{secrets.token_hex(8)}")
    fresh.write_text(text)
    fresh.replace(cache)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two launchers at once: one hashes, the other waits and reads."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
