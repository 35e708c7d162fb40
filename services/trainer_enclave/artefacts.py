"""What this enclave compiled, kept by its host between launches (side: enclave).

Sends: sealed blobs in pieces of one size, so that the host sees no more of a component than a class of its size.
Reads them back; whether they are what was sent shows when they are opened (common/sandbox/wasm/compiled.py).
"""

import contextlib
from typing import Final

from common.crypto.digests import sha256_raw
from common.door_objects import Caller
from common.errors import CloisterError

PIECE_BYTES: Final = 8 << 20
MOST_PIECES: Final = 32
_LENGTH_BYTES: Final = 8


class DoorArtefacts:
    """An `ArtefactStore` behind the door: length of the blob (8), blob, zeros."""

    def __init__(self, door: Caller) -> None:
        self._door = door

    def load(self, name: str) -> bytes | None:
        """What was saved under this name; None where the host has nothing, or not all."""
        pieces, missing = list[bytes](), 1
        while len(pieces) < missing:
            piece = self._read(name, len(pieces))
            if len(piece) != PIECE_BYTES:
                return None
            if not pieces:
                length = int.from_bytes(piece[:_LENGTH_BYTES], "big")
                missing = -(-(_LENGTH_BYTES + length) // PIECE_BYTES)
                if missing > MOST_PIECES:
                    return None
            pieces.append(piece)
        return b"".join(pieces)[_LENGTH_BYTES : _LENGTH_BYTES + length]

    def save(self, name: str, blob: bytes) -> None:
        """Give it to the host, which keeps it or not."""
        whole = len(blob).to_bytes(_LENGTH_BYTES, "big") + blob
        pieces = -(-len(whole) // PIECE_BYTES)
        with contextlib.suppress(CloisterError, TimeoutError):
            for number in range(pieces if pieces <= MOST_PIECES else 0):
                piece = whole[number * PIECE_BYTES : (number + 1) * PIECE_BYTES].ljust(PIECE_BYTES, b"\0")
                self._door.call("artefact.write", _place(name, number, pieces) + piece)

    def _read(self, name: str, number: int) -> bytes:
        try:
            return self._door.call("artefact.read", _place(name, number, 0))
        except (CloisterError, TimeoutError):
            return b""


def _place(name: str, number: int, pieces: int) -> bytes:
    return sha256_raw(name.encode()) + number.to_bytes(4, "big") + pieces.to_bytes(4, "big")
