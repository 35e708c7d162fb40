"""Sealing: a payload becomes header and chunks (side: owner; the parameter server's enclave seals models with it).

Plaintext = payload length (8 bytes) || payload || zeros up to the size class. The salt in the header is fresh, and the
chunk key is derived from the header, so sealing twice under one object key never repeats a nonce under one chunk key.
"""

import io
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from common.crypto.aead import SALT_BYTES, ChunkCipher
from common.crypto.digests import sha256_raw
from common.crypto.keys import SecretKey
from common.errors import FormatError
from common.identifiers import Digest
from common.sealed_object.layout import CHUNK_BYTES, LENGTH_BYTES, ObjectHeader, ObjectKind, object_root, size_class


@dataclass(frozen=True)
class SealedObject:
    """A sealed object in memory; nothing of it is secret."""

    root: Digest
    header: bytes
    chunks: tuple[bytes, ...]

    @property
    def chunk_count(self) -> int:
        """Number of chunks; there is one leaf more."""
        return len(self.chunks)

    def leaves(self) -> Iterator[bytes]:
        """Header, then chunks: leaf 0, 1, 2, ..."""
        yield self.header
        yield from self.chunks


def seal_object(payload: bytes, key: SecretKey, kind: ObjectKind, *, chunk_bytes: int = CHUNK_BYTES) -> SealedObject:
    """Seal a payload that fits in memory."""
    header, *chunks = seal_leaves(io.BytesIO(payload), len(payload), key, kind, chunk_bytes=chunk_bytes)
    return SealedObject(object_root(header, map(sha256_raw, chunks)), header, tuple(chunks))


def seal_leaves(
    source: BinaryIO, payload_bytes: int, key: SecretKey, kind: ObjectKind, *, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[bytes]:
    """Seal `payload_bytes` of `source` leaf by leaf: header, then chunks. Each leaf is made once, with a fresh salt.

    Raises `FormatError` (format.sealed_object) when the source ends early or goes on.
    """
    chunk_count = size_class(payload_bytes, chunk_bytes)
    header = ObjectHeader(kind, chunk_bytes, chunk_count, secrets.token_bytes(SALT_BYTES)).encode()
    cipher = ChunkCipher(key, header, chunk_count)
    yield header
    prefix, left = payload_bytes.to_bytes(LENGTH_BYTES, "big"), payload_bytes
    for index in range(chunk_count):
        wanted = min(left, chunk_bytes - len(prefix))
        content = prefix + _read_exactly(source, wanted)
        prefix, left = b"", left - wanted
        yield cipher.seal(index, content.ljust(chunk_bytes, b"\0"))
    if source.read(1):
        raise FormatError("format.sealed_object", expected=f"{payload_bytes} bytes", seen="a longer source")


def _read_exactly(source: BinaryIO, count: int) -> bytes:
    pieces = []
    while count:
        piece = source.read(count)
        if not piece:
            raise FormatError("format.sealed_object", expected=f"{count} more bytes", seen="the end of the source")
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
