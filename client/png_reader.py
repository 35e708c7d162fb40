"""The pixels of a PNG image (side: owner: the user's machine).

Of what the format has (W3C, Portable Network Graphics, third edition, 2025) that which images for models are saved as:
8 bits, grey or red, green and blue, not interlaced. An alpha channel is refused: what stands behind it is unknown.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
MAX_PIXELS: Final = 1 << 24
"""More than any row may have (common/bundle): what is small in the file and large in memory is refused."""

_HEADER: Final = struct.Struct(">IIBBBBB")
_CHANNELS: Final = {0: 1, 2: 3}
"""Colour types (section 11.2.1) and their values a pixel."""


def read_png(raw: bytes) -> NDArray[np.uint8]:
    """Shape (height, width), or (height, width, 3) of a coloured one. Raises `ValueError` that says what is wrong."""
    if not raw.startswith(SIGNATURE):
        raise ValueError("the file does not begin as one")
    chunks = list(_chunks(raw))
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != _HEADER.size:
        raise ValueError("it has no header")
    width, height, depth, colour, compression, filtering, interlaced = _HEADER.unpack(chunks[0][1])
    if (depth, compression, filtering, interlaced) != (8, 0, 0, 0) or colour not in _CHANNELS:
        raise ValueError("only 8 bits of grey or RGB, without alpha and not interlaced, are read")
    if not 0 < width * height <= MAX_PIXELS:
        raise ValueError("it has no pixels, or too many")
    lines = _inflated(b"".join(data for kind, data in chunks if kind == b"IDAT"), width * _CHANNELS[colour] + 1, height)
    pixels = _unfiltered(lines, _CHANNELS[colour])
    return pixels.reshape(height, width) if colour == 0 else pixels.reshape(height, width, 3)


def _chunks(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while at < len(raw):
        if len(raw) < at + 12:
            raise ValueError("it is cut short")
        end = at + 8 + int.from_bytes(raw[at : at + 4], "big")
        kind, data = raw[at + 4 : at + 8], raw[at + 8 : end]
        if len(raw) < end + 4 or zlib.crc32(raw[at + 4 : end]) != int.from_bytes(raw[end : end + 4], "big"):
            raise ValueError("it is cut short or damaged")
        yield kind, data
        if kind == b"IEND":
            return
        at = end + 4
    raise ValueError("it is cut short")


def _inflated(data: bytes, line_bytes: int, height: int) -> NDArray[np.uint8]:
    inflating = zlib.decompressobj()
    try:
        lines = inflating.decompress(data, line_bytes * height + 1)
    except zlib.error as cause:
        raise ValueError("its data are damaged") from cause
    if len(lines) != line_bytes * height:
        raise ValueError("it has fewer or more data than pixels")
    return np.frombuffer(lines, np.uint8).reshape(height, line_bytes)


def _unfiltered(lines: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Section 9.2: each line says how its bytes differ from those to the left (a), above (b), and left above (c)."""
    pixels = np.zeros((len(lines) + 1, lines.shape[1] - 1 + channels), np.uint8)
    for number, line in enumerate(lines):
        above, here = pixels[number], pixels[number + 1]
        kind, data = int(line[0]), line[1:]
        if kind in (0, 2):
            here[channels:] = data + above[channels:] if kind else data
        elif kind == 1:
            steps = data.reshape(-1, channels)
            here[channels:] = np.cumsum(steps, axis=0, dtype=np.uint64).astype(np.uint8).reshape(-1)
        elif kind in (3, 4):
            _unfilter_slowly(kind, data, above, here, channels)
        else:
            raise ValueError("a line has an unknown filter")
    return pixels[1:, channels:]


def _unfilter_slowly(
    kind: int, data: NDArray[np.uint8], above: NDArray[np.uint8], here: NDArray[np.uint8], channels: int
) -> None:
    up, line = above.tolist(), [0] * channels
    for at, value in enumerate(data.tolist()):
        a, b, c = line[at], up[at + channels], up[at]
        line.append((value + ((a + b) // 2 if kind == 3 else _paeth(a, b, c))) & 0xFF)
    here[:] = line


def _paeth(a: int, b: int, c: int) -> int:
    p = a + b - c
    distances = abs(p - a), abs(p - b), abs(p - c)
    return (a, b, c)[distances.index(min(distances))]
