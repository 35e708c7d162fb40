"""Content-addressed, read-only copies of enclave code (side: host).

An enclave is measured *from* its snapshot and runs from it, so what was measured is what runs, whatever happens to the
checkout meanwhile. A snapshot that is reused is read again, to the last byte; one that was touched is made anew.
"""

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from common.crypto.digests import sha256
from common.enclave.measurement import encode_listing, listing
from common.errors import UnavailableError
from common.identifiers import Digest


def take_snapshot(content: Mapping[str, bytes], directory: Path) -> Path:
    """A directory with exactly these files, at `directory`/<digest of the listing>.

    Raises `UnavailableError` (unavailable.launcher) when it cannot be written.
    """
    files = listing(content)
    place = directory / sha256(encode_listing(files))
    try:
        if place.exists() and read_snapshot(place) != files:
            remove_snapshot(place.rename(directory / f".damaged.{secrets.token_hex(8)}"))
        if not place.exists():
            _write(content, place)
    except OSError as cause:
        raise UnavailableError("unavailable.launcher", expected="a writable snapshot directory", seen=cause) from cause
    return place


def read_snapshot(place: Path) -> dict[str, Digest]:
    """What is really there: name -> SHA-256 of every file. Links and devices count as files of no content of ours."""
    found: dict[str, Digest] = {}
    for parent, _, names in os.walk(place):
        for name in names:
            path = Path(parent, name)
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else os.urandom(32)
            found[path.relative_to(place).as_posix()] = sha256(content)
    return found


def remove_snapshot(place: Path) -> None:
    """Remove a snapshot, whose directories nobody may write to."""
    for parent, _, _ in os.walk(place):
        Path(parent).chmod(0o700)
    shutil.rmtree(place)


def _write(content: Mapping[str, bytes], place: Path) -> None:
    making = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
    for name, data in content.items():
        path = making / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o444)
        os.utime(path, (0, 0))  # bytecode names its source's time: the same content has the same bytecode
    for parent, _, _ in os.walk(making, topdown=False):
        Path(parent).chmod(0o555)
    try:
        making.rename(place)
    except OSError:  # another launcher was faster; its copy is judged like any other
        remove_snapshot(making)
        if not place.exists():
            raise
