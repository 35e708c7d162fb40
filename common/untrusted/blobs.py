"""The object store: sealed objects as directories of leaves, by root (side: host; sees ciphertext).

Leaf 0 is the header, leaf i + 1 is chunk i (common/sealed_object). Leaves gather in a staging directory; `commit`
checks the Merkle root over all of them and renames it into place, so an object is readable whole or not at all. The
store proves nothing to anybody: whoever reads an object checks it again.

    staging/<place>/leaf-00000000 ...      a place is an upload, or the root of an object that an enclave writes
    objects/<first 2 digits>/<root>/leaf-00000000 ...
                                    header-proof: that leaf 0 is under the root, for who reads a part of the chunks
"""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from common.crypto.digests import sha256_raw
from common.crypto.merkle import MerkleTree
from common.errors import AuthenticityError, ConflictError, FormatError, NotFoundError, UnavailableError
from common.identifiers import Digest
from common.sealed_object.layout import CHUNK_BYTES, HEADER_BYTES, MAX_CHUNK_COUNT, ObjectHeader
from common.untrusted.carried import ByteCount

MAX_LEAF_BYTES: Final = CHUNK_BYTES + HEADER_BYTES
"""No leaf is larger: a chunk and its tag."""

_PROOF: Final = "header-proof"

_PLACE = re.compile(r"[a-z0-9_]{1,80}")


class Staging:
    """Leaves of an object that is not whole yet."""

    def __init__(self, directory: Path, written: ByteCount) -> None:
        self._directory, self._written = directory, written

    def write(self, leaf: int, data: bytes) -> None:
        """Store or replace one leaf. A crash leaves the old one or the new one."""
        if not 0 <= leaf <= MAX_CHUNK_COUNT or len(data) > MAX_LEAF_BYTES:
            raise FormatError("format.sealed_object", expected=f"leaves of at most {MAX_LEAF_BYTES} bytes")
        try:
            _make_private(self._directory)
            _write_file(_leaf_path(self._directory, leaf), data)
        except OSError as cause:
            raise UnavailableError("unavailable.store") from cause
        self._written.add(len(data))

    def read(self, leaf: int) -> bytes:
        """One leaf. Raises `NotFoundError` (not_found.object)."""
        return _read_file(_leaf_path(self._directory, leaf))

    def leaves(self) -> set[int]:
        """Numbers of the leaves that are here."""
        if not self._directory.is_dir():
            return set()
        return {int(path.name[5:]) for path in self._directory.glob("leaf-" + "[0-9]" * 8)}

    def root(self, leaf_count: int) -> Digest:
        """The Merkle root over the first `leaf_count` leaves. Raises `NotFoundError` when one is missing."""
        return _tree(self.read, leaf_count).root(leaf_count)

    def prove_header(self, leaf_count: int) -> Digest:
        """The same root; what proves leaf 0 to be under it is kept beside the leaves."""
        tree = _tree(self.read, leaf_count)
        try:
            _write_file(self._directory / _PROOF, b"".join(tree.inclusion(0, leaf_count)))
        except OSError as cause:
            raise UnavailableError("unavailable.store") from cause
        return tree.root(leaf_count)

    def discard(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def move_to(self, destination: Path) -> None:
        """Rename it into place; an object of that root that is there already is kept, and this one discarded."""
        _make_private(destination.parent)
        try:
            _sync_directory(self._directory)
            self._directory.rename(destination)
        except OSError:
            if not destination.is_dir():
                raise
            self.discard()
        _sync_directory(destination.parent)


class BlobStore:
    """All objects of an installation below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory, self.written = directory, ByteCount()
        _make_private(directory)

    def staging(self, place: str) -> Staging:
        """Where the leaves of `place` gather: an upload id, or the root of an object that an enclave writes."""
        if _PLACE.fullmatch(place) is None:
            raise FormatError("format.identifier")
        return Staging(self._directory / "staging" / place, self.written)

    def read_leaf(self, root: Digest, leaf: int) -> bytes:
        """One leaf of a committed object. Raises `NotFoundError` (not_found.object)."""
        return _read_file(_leaf_path(self._object(root), leaf))

    def header_proof(self, root: Digest) -> bytes:
        """The hashes that prove leaf 0 of a committed object to be under its root (RFC 9162, section 2.1.3.1).

        Raises `NotFoundError` (not_found.object). An object that an earlier version committed is read for it, once.
        """
        with contextlib.suppress(NotFoundError):
            return _read_file(self._object(root) / _PROOF)
        header = ObjectHeader.parse(self.read_leaf(root, 0))
        Staging(self._object(root), self.written).prove_header(header.chunk_count + 1)
        return _read_file(self._object(root) / _PROOF)

    def write_leaf(self, root: Digest, leaf: int, data: bytes) -> None:
        """Stage one leaf. Writing a committed object's own leaf again changes nothing; another is a `ConflictError`."""
        if not self.exists(root):
            self.staging(root).write(leaf, data)
        elif self.read_leaf(root, leaf) != data:
            raise ConflictError("conflict.object")

    def commit(self, root: Digest, leaf_count: int, *, staging: Staging | None = None) -> None:
        """Make the object readable. Idempotent.

        Raises `AuthenticityError` (authenticity.sealed_object) unless its leaves give this root, `FormatError` when the
        header states another size, `NotFoundError` when a leaf is missing.
        """
        source = staging or self.staging(root)
        if staging is None and self.exists(root):
            return
        header = ObjectHeader.parse(source.read(0))
        if leaf_count != header.chunk_count + 1:
            raise FormatError("format.sealed_object", expected=f"{header.chunk_count + 1} leaves", seen=leaf_count)
        if source.prove_header(leaf_count) != root:
            raise AuthenticityError("authenticity.sealed_object")
        try:
            source.move_to(self._object(root))
        except OSError as cause:
            raise UnavailableError("unavailable.store") from cause

    def exists(self, root: Digest) -> bool:
        """Whether the object is committed."""
        return self._object(root).is_dir()

    def delete(self, root: Digest) -> None:
        """Remove an object; one that is not there is no error."""
        gone = self._directory / "staging" / f"deleted_{secrets.token_hex(16)}"
        try:
            _make_private(gone.parent)
            self._object(root).rename(gone)
        except FileNotFoundError:
            return
        except OSError as cause:
            raise UnavailableError("unavailable.store") from cause
        shutil.rmtree(gone, ignore_errors=True)

    def roots(self) -> Iterator[Digest]:
        """Every committed object."""
        for path in self._directory.glob("objects/??/*"):
            yield Digest(path.name)

    def _object(self, root: Digest) -> Path:
        return self._directory / "objects" / Digest(root)[:2] / root


def _tree(read: Callable[[int], bytes], leaf_count: int) -> MerkleTree:
    """The tree whose root names an object (common/sealed_object)."""
    tree = MerkleTree()
    for leaf in range(leaf_count):
        tree.append(sha256_raw(read(leaf)) if leaf else read(leaf))
    return tree


def _leaf_path(directory: Path, leaf: int) -> Path:
    return directory / f"leaf-{leaf:08d}"


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError("not_found.object") from None
    except OSError as cause:
        raise UnavailableError("unavailable.store") from cause


def _write_file(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{secrets.token_hex(8)}.new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _make_private(directory: Path) -> None:
    """Make a directory and what is missing above it, for this user alone."""
    for path in (*reversed(directory.parents), directory):
        if not path.is_dir():
            path.mkdir(mode=0o700, exist_ok=True)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
