"""Bytecode that an enclave may trust: compiled by its launcher from measured sources (side: host).

An interpreter prefers `__pycache__` to the source beside it, and nobody measures that. So enclaves never look there:
their bytecode prefix is a store made here, once for each environment and snapshot. Its digest is kept, and a store
that was touched is made anew. Without any store an enclave would start half a second later.
"""

import os
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Final

from common.crypto.digests import sha256, transcript
from common.enclave.environment import Environment
from common.enclave.measurement import encode_listing
from common.enclave.snapshot import read_snapshot
from common.errors import UnavailableError
from common.identifiers import Digest

_PRECOMPILE: Final = Path(__file__).with_name("precompile.py")
_COMPILE_SECONDS: Final = 120


def bytecode_store(
    entry: str, snapshot: Path, environment: Environment, environment_digest: Digest, directory: Path
) -> Path:
    """A directory for `-X pycache_prefix`. Raises `UnavailableError` (unavailable.launcher) when `entry` won't import.

    The interpreter still compares each file with the size and time of its source; the digest in `environment_digest`
    changes with any source, and so does the store.
    """
    key = sha256(transcript(b"bytecode", environment_digest.raw(), str(snapshot).encode(), entry.encode()))
    place, record = directory / key, directory / f"{key}.sha256"
    if not (place.is_dir() and record.is_file() and record.read_text() == _digest_of(place)):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        making = directory / f".{key}.{secrets.token_hex(8)}"
        making.mkdir(mode=0o755)
        _compile(entry, snapshot, environment, making)
        _put_in_place(making, place, record)
    return place


def _digest_of(place: Path) -> Digest:
    return sha256(encode_listing(read_snapshot(place)))


def _compile(entry: str, snapshot: Path, environment: Environment, prefix: Path) -> None:
    command = [
        str(environment.executable),
        "-I",
        "-S",
        "-X",
        "utf8",
        "-X",
        f"pycache_prefix={prefix}",
        str(_PRECOMPILE),
        entry,
        str(snapshot),
        *map(str, environment.site_packages),
    ]
    done = subprocess.run(
        command, env={}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_COMPILE_SECONDS
    )
    if done.returncode != 0:
        shutil.rmtree(prefix)
        raise UnavailableError("unavailable.launcher", expected=f"{entry} imports", seen=done.stderr[-2000:])


def _put_in_place(making: Path, place: Path, record: Path) -> None:
    digest = _digest_of(making)
    fresh_record = making.with_suffix(".sha256")
    fresh_record.write_text(digest)
    if place.exists():
        shutil.rmtree(place.rename(making.with_suffix(".damaged")))
    try:
        making.rename(place)
    except OSError:  # another launcher was faster; its record is the one that fits
        shutil.rmtree(making)
        os.unlink(fresh_record)
        return
    fresh_record.replace(record)
