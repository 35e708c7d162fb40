"""Where relays keep what their enclaves sealed for the next launch: compiled designs (side: host).

Pieces of one size under names of 64 hexadecimal digits. What is kept may be lost or changed: the enclave that reads it
trusts nothing of it. A name appears whole or not at all, and the folder keeps the newest `MOST_NAMES`.
"""

import os
import shutil
from pathlib import Path
from typing import Final

from common.door import Handler
from common.errors import FormatError
from common.identifiers import Digest

MOST_NAMES: Final = 16
MOST_PIECES: Final = 32
_NAME_BYTES: Final = 32
_HEAD_BYTES: Final = _NAME_BYTES + 8


class ArtefactFolder:
    """A directory for each name, a file for each piece."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def handlers(self) -> dict[str, Handler]:
        """`artefact.read` and `artefact.write` of a relay (docs/formats.md, section 8)."""
        return {"artefact.read": self.read, "artefact.write": self.write}

    def read(self, body: bytes) -> bytes:
        """Name (32), piece (4), 0 (4): that piece, nothing where there is none."""
        name, piece, _, _ = _split(body)
        try:
            return (self._folder / name / str(piece)).read_bytes()
        except OSError:
            return b""

    def write(self, body: bytes) -> bytes:
        """Name (32), piece (4), number of pieces (4), bytes: keep it; with the last one all of them can be read."""
        name, piece, pieces, content = _split(body)
        place, whole = self._folder / f"{name}.{os.getpid()}", self._folder / name
        place.mkdir(mode=0o700, exist_ok=True)
        (place / str(piece)).write_bytes(content)
        if piece == pieces - 1:
            shutil.rmtree(whole, ignore_errors=True)
            place.replace(whole)
            self._forget_oldest()
        return b""

    def _forget_oldest(self) -> None:
        """Names, and what writers that ended left behind."""
        found = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in found[MOST_NAMES:]:
            shutil.rmtree(old, ignore_errors=True)


def _split(body: bytes) -> tuple[Digest, int, int, bytes]:
    piece, pieces = (int.from_bytes(body[at : at + 4], "big") for at in (_NAME_BYTES, _NAME_BYTES + 4))
    if len(body) < _HEAD_BYTES or piece >= MOST_PIECES or pieces > MOST_PIECES:
        raise FormatError("format.door_frame", expected=f"a name and at most {MOST_PIECES} pieces")
    return Digest.of(body[:_NAME_BYTES]), piece, pieces, body[_HEAD_BYTES:]
