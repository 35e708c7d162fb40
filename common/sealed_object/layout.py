"""Header, size classes and root of a sealed object: all that is known without its key (side: library).

Header, 64 bytes: magic `CLSO`, version 1 (1), kind (1), zeros (2), chunk bytes (4), chunk count (4), salt (32),
zeros (16); integers big-endian. Chunk bytes count plaintext; a stored chunk has `TAG_BYTES` more.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self

from common.crypto.aead import SALT_BYTES, TAG_BYTES
from common.crypto.merkle import merkle_root
from common.errors import FormatError
from common.identifiers import Digest

HEADER_BYTES: Final = 64
CHUNK_BYTES: Final = 1 << 20
"""Plaintext bytes in a chunk, unless the maker chose smaller ones (ARCHITECTURE, decision 9)."""

SMALLEST_CHUNK_BYTES: Final = 1 << 10
MAX_CHUNK_COUNT: Final = 1 << 24
LENGTH_BYTES: Final = 8
"""The plaintext begins with the payload's true length."""

_HEADER: Final = struct.Struct(">4sBB2sII32s16s")
_MAGIC: Final = b"CLSO"
_VERSION: Final = 1


class ObjectKind(IntEnum):
    """What a sealed object holds; its key says so too, so one kind never passes for another."""

    DATASET = 1
    BUNDLE = 2
    MODEL = 3
    CHECKPOINT = 4


def padded_chunk_count(chunk_count: int) -> int:
    """The size class: Padmé (Nikitin et al., PETS 2019, algorithm 1) over chunks, at most 12 % larger.

    Only O(log log size) bits of the true size remain visible.
    """
    if chunk_count < 1:
        raise ValueError("an object has at least one chunk")
    exponent = chunk_count.bit_length() - 1
    mask = (1 << max(exponent - exponent.bit_length(), 0)) - 1
    return (chunk_count + mask) & ~mask


def size_class(payload_bytes: int, chunk_bytes: int) -> int:
    """Number of chunks of an object with this payload."""
    return padded_chunk_count(-(-(LENGTH_BYTES + payload_bytes) // chunk_bytes))


@dataclass(frozen=True)
class ObjectHeader:
    """The parsed header. `chunk_bytes`: plaintext bytes in each chunk; `salt`: fresh for each object."""

    kind: ObjectKind
    chunk_bytes: int
    chunk_count: int
    salt: bytes

    def __post_init__(self) -> None:
        size = self.chunk_bytes
        if not SMALLEST_CHUNK_BYTES <= size <= CHUNK_BYTES or size & (size - 1):
            raise _malformed("chunks of a power of two from 1 KiB to 1 MiB", size)
        if not 1 <= self.chunk_count <= MAX_CHUNK_COUNT or padded_chunk_count(self.chunk_count) != self.chunk_count:
            raise _malformed("a chunk count that is a size class", self.chunk_count)
        if len(self.salt) != SALT_BYTES:
            raise _malformed(f"a salt of {SALT_BYTES} bytes", len(self.salt))

    @property
    def stored_chunk_bytes(self) -> int:
        """Bytes of each chunk in a store."""
        return self.chunk_bytes + TAG_BYTES

    @property
    def stored_bytes(self) -> int:
        """Bytes of the whole object in a store."""
        return HEADER_BYTES + self.chunk_count * self.stored_chunk_bytes

    def encode(self) -> bytes:
        """The 64 bytes."""
        return _HEADER.pack(
            _MAGIC, _VERSION, self.kind, bytes(2), self.chunk_bytes, self.chunk_count, self.salt, bytes(16)
        )

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Parse exactly 64 bytes. Raises `FormatError` (format.sealed_object)."""
        if len(raw) != HEADER_BYTES:
            raise _malformed(f"a header of {HEADER_BYTES} bytes", len(raw))
        magic, version, kind, zeros, chunk_bytes, chunk_count, salt, rest = _HEADER.unpack(raw)
        if (magic, version) != (_MAGIC, _VERSION):
            raise _malformed("magic CLSO, version 1", f"version {version}" if magic == _MAGIC else "another magic")
        if any(zeros) or any(rest):
            raise _malformed("zeros in the reserved bytes", "others")
        if kind not in set(ObjectKind):
            raise _malformed(f"a kind from 1 to {max(ObjectKind)}", kind)
        return cls(ObjectKind(kind), chunk_bytes, chunk_count, salt)


def object_root(header: bytes, chunk_digests: Iterable[bytes]) -> Digest:
    """The object's name: Merkle root (RFC 9162) over the header and the SHA-256 of each stored chunk."""
    return merkle_root([header, *chunk_digests])


def _malformed(expected: str, seen: object) -> FormatError:
    return FormatError("format.sealed_object", expected=expected, seen=seen)
