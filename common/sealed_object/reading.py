"""Reading: random access to the payload of a sealed object, chunk by chunk (side: library; enclaves use it).

Chunks come from an untrusted store through `fetch`. Every chunk is opened under its index, the header and the key, so
a chunk of another place, object or key never passes. One thing the chunks cannot show on their own: that this is the
object of *that root* and not another one that was sealed under the same key. Give `root`, and read all of it
(`read_all`), or call `require_root` when all chunks have been read. Who reads a part of them asks for a proof of the
header instead (`require_header`).
"""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from common.crypto.aead import ChunkCipher
from common.crypto.digests import sha256_raw
from common.crypto.keys import SecretKey
from common.crypto.merkle import HASH_BYTES, leaf_hash
from common.crypto.merkle_proofs import verify_inclusion
from common.errors import AuthenticityError, FormatError
from common.identifiers import Digest
from common.sealed_object.layout import LENGTH_BYTES, ObjectHeader, ObjectKind, object_root, size_class

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Fetch = Callable[[int], bytes]
"""Chunk number (from 0) -> stored chunk."""


def require_header(header: bytes, root: Digest, chunk_count: int, proof: bytes) -> None:
    """Raise `AuthenticityError` (authenticity.sealed_object) unless `header` is leaf 0 under `root`.

    `proof`: hashes of RFC 9162, section 2.1.3.1. A header's salt is fresh for each object and the key of its chunks is
    derived from it, so that chunks of this root, and no others, open under a proven header.
    """
    path = [proof[at : at + HASH_BYTES] for at in range(0, len(proof), HASH_BYTES)]
    try:
        verify_inclusion(leaf_hash(header), 0, chunk_count + 1, root, path)
    except AuthenticityError as cause:
        raise AuthenticityError("authenticity.sealed_object", expected="the header of this root") from cause


class ObjectReader:
    """The payload of one sealed object. Keeps the chunk that was opened last.

    `chunk_count` is what the signed manifest says; `kind` and `root`, where given, are demanded.
    Raises `FormatError` (format.sealed_object) and `AuthenticityError` (authenticity.sealed_object).
    """

    def __init__(
        self,
        key: SecretKey,
        header: bytes,
        chunk_count: int,
        fetch: Fetch,
        *,
        kind: ObjectKind | None = None,
        root: Digest | None = None,
    ) -> None:
        self.header = ObjectHeader.parse(header)
        if self.header.chunk_count != chunk_count:
            raise AuthenticityError(
                "authenticity.sealed_object", expected=f"{chunk_count} chunks", seen=self.header.chunk_count
            )
        if kind is not None and self.header.kind != kind:
            raise FormatError("format.sealed_object", expected=kind.name, seen=self.header.kind.name)
        self._raw_header, self._fetch, self._root = header, fetch, root
        self._cipher = ChunkCipher(key, header, chunk_count)
        self._digests: dict[int, bytes] = {}
        self._open: tuple[int, bytes] | None = None
        self._size: int | None = None

    @property
    def payload_bytes(self) -> int:
        """True length of the payload; the first use opens chunk 0."""
        if self._size is None:
            size = int.from_bytes(self._chunk(0)[:LENGTH_BYTES], "big")
            if size_class(size, self.header.chunk_bytes) != self.header.chunk_count:
                raise FormatError("format.sealed_object", expected="a length of this size class", seen=size)
            self._size = size
        return self._size

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`, fewer at the payload's end."""
        end = min(offset + size, self.payload_bytes)
        pieces, at = [], offset
        while at < end:
            index, start = divmod(LENGTH_BYTES + at, self.header.chunk_bytes)
            piece = self._chunk(index)[start : start + end - at]
            pieces.append(piece)
            at += len(piece)
        return b"".join(pieces)

    def read_all(self) -> bytes:
        """The whole payload. Every chunk is opened, the padding must be zeros, and the root is checked if given."""
        size, plain = self.payload_bytes, bytearray()
        for index in range(self.header.chunk_count):
            plain += self._chunk(index)
        if any(plain[LENGTH_BYTES + size :]):
            raise FormatError("format.sealed_object", expected="zeros after the payload", seen="others")
        if self._root is not None:
            self.require_root()
        return bytes(memoryview(plain)[LENGTH_BYTES : LENGTH_BYTES + size])

    def require_root(self) -> None:
        """Raise `AuthenticityError` unless all chunks have been read and give the root; without a root, misuse."""
        if self._root is None:
            raise RuntimeError("this reader was made without a root")
        missing = self.header.chunk_count - len(self._digests)
        if missing:
            raise RuntimeError(f"{missing} chunks have not been read")
        root = object_root(self._raw_header, (self._digests[i] for i in range(self.header.chunk_count)))
        if root != self._root:
            raise AuthenticityError("authenticity.sealed_object", expected=self._root, seen=root)

    def as_file(self) -> io.BufferedIOBase:
        """A read-only seekable file over the payload (for pyarrow)."""
        return io.BufferedReader(_PayloadFile(self), buffer_size=1 << 16)

    def _chunk(self, index: int) -> bytes:
        if self._open is not None and self._open[0] == index:
            return self._open[1]
        stored = self._fetch(index)
        if len(stored) != self.header.stored_chunk_bytes:
            raise AuthenticityError(
                "authenticity.sealed_object", expected=f"{self.header.stored_chunk_bytes} bytes", seen=len(stored)
            )
        plain = self._cipher.open(index, stored)
        if self._root is not None:
            self._digests[index] = sha256_raw(stored)
        self._open = index, plain
        return plain


class _PayloadFile(io.RawIOBase):
    def __init__(self, reader: ObjectReader) -> None:
        super().__init__()
        self._reader, self._at = reader, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._reader.payload_bytes}[whence]
        if base + offset < 0:
            raise ValueError("a position before the payload")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        data = self._reader.read(self._at, len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
