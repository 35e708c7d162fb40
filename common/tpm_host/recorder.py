"""What IMA does, for what a launcher starts, where the kernel has no IMA (side: host).

Each file that is about to run is hashed, entered in a list as `ima-ng`, and register 10 of the TPM is extended for it,
all before it runs; so the verifier can't tell the list from a kernel's, and a profile is the same. What this does *not*
do: it sees what the launcher names and nothing else. Whoever gets code to run in another way is not recorded, and
neither is a file that is replaced between `measure` and its use (`measure_descriptor` closes that for what is executed
by it). A kernel with IMA has neither gap, and this is no replacement where there is one.

The list is written first. A crash before the TPM counts leaves one entry too many at its end, which the next recorder
extends; so does this one where the TPM, the disk or another recorder has left the list otherwise than it should be.
Anything else that differs is refused, for this is not the recorder of this boot then.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from common.crypto.digests import sha256_raw
from common.errors import ConflictError, UnavailableError
from common.tpm_host.quoting import QuotingTpm
from common.tpm_ima.ima_list import ng_data, read_list
from common.tpm_ima.ima_replay import BOOT_AGGREGATE
from common.tpm_ima.registers import IMA_REGISTER, extend

_AGGREGATED: Final = range(10)


class Recorder:
    """One list and one register. Only one recorder of a list at a time: the others wait."""

    def __init__(self, tpm: QuotingTpm, measurement_list: Path) -> None:
        self._tpm, self._list = tpm, measurement_list
        self._known = set[bytes]()
        self._left: int | None = None  # the list's size when the TPM had counted all of it; None: perhaps it has not
        with self._alone():
            self._resume()

    def measure(self, paths: Iterable[Path]) -> None:
        """Record these files as they are now; a content that was recorded under its path is not recorded again.

        Raises `UnavailableError` (unavailable.host_log) for a file that can't be read, `ConflictError`
        (conflict.host_list), and what the TPM raises: then it must not run.
        """
        for path in paths:
            try:
                real = path.resolve(strict=True)
                with real.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").digest()
            except OSError as cause:
                raise UnavailableError("unavailable.host_log", expected=path, seen=cause.strerror) from cause
            self._record(digest, real)

    def measure_descriptor(self, descriptor: int, path: Path) -> None:
        """Record what is open, under a name: executed through this descriptor (`/proc/self/fd`), it is what runs."""
        digest, at = hashlib.sha256(), 0
        while chunk := os.pread(descriptor, 1 << 20, at):
            digest.update(chunk)
            at += len(chunk)
        self._record(digest.digest(), path.resolve())

    def _record(self, digest: bytes, path: Path) -> None:
        named = os.fsencode(path).replace(b" ", b"_")  # as Linux does
        if b"\n" in named:
            raise UnavailableError("unavailable.host_log", expected="a path that is one line")
        with self._alone():
            if self._left != self._size():
                self._resume()
            self._enter(digest, named)

    def _enter(self, digest: bytes, path: bytes) -> None:
        claim, data = b"sha256:%b %b" % (digest.hex().encode(), path), ng_data(b"sha256", digest, path)
        if claim not in self._known:
            template_hash = hashlib.sha1(data, usedforsecurity=False).hexdigest().encode()
            self._left = None
            self._append(b"10 %b ima-ng %b\n" % (template_hash, claim))
            self._tpm.extend(IMA_REGISTER, sha256_raw(data))
            self._known.add(claim)
            self._left = self._size()

    def _append(self, line: bytes) -> None:
        with self._list.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def _resume(self) -> None:
        """Go on where the list ends; begin it with this boot if there is none."""
        self._left, value, before = None, bytes(32), bytes(32)
        entries = list(read_list(self._whole_lines()))
        for one in entries:
            value, before = extend(value, one.extends), value
        (register,) = self._tpm.registers((IMA_REGISTER,))
        if entries and register == before:
            self._tpm.extend(IMA_REGISTER, entries[-1].extends)
        elif register != value:
            seen = f"register 10 = {register.hex()}, and a list that gives {value.hex()}"
            raise ConflictError("conflict.host_list", expected="the list of this boot", seen=seen)
        self._known, self._left = {one.claim for one in entries}, self._size()
        if not entries:
            self._enter(sha256_raw(b"".join(self._tpm.registers(_AGGREGATED))), BOOT_AGGREGATE)

    def _whole_lines(self) -> bytes:
        """The list, without a line that a crash has cut off: nothing was extended for that."""
        raw = self._list.read_bytes() if self._list.exists() else b""
        end = raw.rfind(b"\n") + 1
        if end < len(raw):
            os.truncate(self._list, end)
        return raw[:end]

    def _size(self) -> int:
        return self._list.stat().st_size if self._list.exists() else 0

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._list.with_suffix(".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
