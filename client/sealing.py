"""Sealing: a payload becomes a directory of ciphertext, its key stays in the identity directory (side: owner).

A payload comes in pieces and may be larger than memory: it is gone through twice, for its length stands in its header.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from client.context import Party
from client.events import Event, Sealed
from client.objects import write_leaves, write_reference
from common.crypto import SecretKey
from common.crypto.digests import sha256_raw
from common.crypto.merkle import MerkleFrontier
from common.messages.objects import ObjectRef
from common.sealed_object import ObjectKind, seal_leaves


def seal_to_directory(party: Party, payload: bytes, kind: ObjectKind, directory: Path) -> Iterator[Event]:
    """Seal `payload` under a fresh key into a new directory. Ends with `Sealed`."""
    yield from seal_pieces(party, lambda: [payload], kind, directory)


def seal_pieces(
    party: Party, pieces: Callable[[], Iterable[bytes]], kind: ObjectKind, directory: Path
) -> Iterator[Event]:
    """Seal what `pieces` gives, the same at each call, under a fresh key into a new directory. Ends with `Sealed`.

    Raises `FormatError` (format.sealed_object) where two calls gave payloads of different lengths.
    """
    key, size, tree = SecretKey.generate(), sum(map(len, pieces())), MerkleFrontier()

    def watched(leaves: Iterable[bytes]) -> Iterator[bytes]:
        for number, leaf in enumerate(leaves):
            tree.append(sha256_raw(leaf) if number else leaf)
            yield leaf

    source = cast("BinaryIO", _PieceFile(pieces()))
    written = write_leaves(directory, watched(seal_leaves(source, size, key, kind)))
    root, chunks = tree.root(), tree.size - 1
    party.keep_key(root, key)
    write_reference(directory, ObjectRef(root=root, chunk_count=chunks))
    yield Sealed(directory=str(directory), root=root, chunks=chunks, ciphertext_bytes=written)


class _PieceFile(io.RawIOBase):
    """Pieces as a file that is read once."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self._pieces, self._piece = iter(pieces), memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; none at the end alone."""
        while not self._piece:
            try:
                self._piece = memoryview(next(self._pieces))
            except StopIteration:
                return b""
        taken, self._piece = self._piece[:size], self._piece[size:]
        return bytes(taken)
