"""SHA-256 and the injective transcript that everything signed, bound or derived goes through (side: library)."""

import hashlib
from pathlib import Path

from common.identifiers import Digest


def transcript(label: bytes, *parts: bytes) -> bytes:
    """`label` and `parts`, each behind its length (8 bytes, big-endian), so that no two lists give the same bytes."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in (label, *parts))


def sha256_raw(data: bytes | memoryview) -> bytes:
    """SHA-256, 32 bytes."""
    return hashlib.sha256(data).digest()


def sha256(data: bytes | memoryview) -> Digest:
    """SHA-256 as an identifier."""
    return Digest.of(sha256_raw(data))


def sha256_file(path: Path) -> Digest:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").hexdigest())
