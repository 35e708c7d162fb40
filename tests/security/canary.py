"""Finds planted markers in whatever a host could look at, in every rendering that a careless program gives them.

Renderings of a marker: raw, hex (both cases), base64 and base64url at the three byte offsets, its bytes as fp32 and
bf16 numbers (plain, over 255, over 16: the usual pixel scalings), and all of these inside zlib and gzip streams. A hit
is any window of a rendering, at any offset: 8 bytes of the marker itself, and what stands for 8 bytes of it elsewhere
(fp32: 32 bytes). Searching is one numpy pass over all 8-byte words of the haystack, then an exact comparison.
"""

import base64
import gzip
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

FRAGMENT_BYTES = 8
_STREAM_HEADS = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")
_MAX_INFLATED = 4 << 20


@dataclass(frozen=True)
class Hit:
    """Where a marker was seen: its name, the rendering, the offset in the haystack (or in the inflated stream)."""

    marker: str
    rendering: str
    offset: int


def renderings(marker: bytes) -> Iterator[tuple[str, bytes, int]]:
    """Every rendering of a marker: name, bytes, and how many of its bytes stand for 8 bytes of the marker."""
    yield "raw", marker, FRAGMENT_BYTES
    yield "hex", marker.hex().encode(), 2 * FRAGMENT_BYTES
    yield "HEX", marker.hex().upper().encode(), 2 * FRAGMENT_BYTES
    for shift in range(3):
        trimmed = marker[shift:]
        trimmed = trimmed[: len(trimmed) // 3 * 3]
        yield f"base64+{shift}", base64.b64encode(trimmed), 12
        yield f"base64url+{shift}", base64.urlsafe_b64encode(trimmed), 12
    for name, scale in (("", 1.0), ("/255", 255.0), ("/16", 16.0)):
        numbers = np.frombuffer(marker, np.uint8).astype(np.float32) / np.float32(scale)
        yield f"fp32{name}", numbers.astype("<f4").tobytes(), 4 * FRAGMENT_BYTES
        rounded = (numbers.view(np.uint32) + 0x7FFF + ((numbers.view(np.uint32) >> 16) & 1)) >> 16
        yield f"bf16{name}", rounded.astype("<u2").tobytes(), 2 * FRAGMENT_BYTES


class Scanner:
    """Searches haystacks for all markers at once. Markers are at least 32 random bytes."""

    def __init__(self, markers: Mapping[str, bytes]) -> None:
        self._windows: dict[bytes, list[tuple[str, str, bytes]]] = {}
        for marker_name, marker in markers.items():
            for name, rendered, width in renderings(marker):
                for start in range(len(rendered) - width + 1):
                    window = rendered[start : start + width]
                    self._windows.setdefault(window[:8], []).append((marker_name, name, window))
        self._heads = np.sort(np.frombuffer(b"".join(self._windows), "<u8"))

    def scan(self, haystack: bytes) -> list[Hit]:
        """Every hit in `haystack` and in the compressed streams that lie in it."""
        hits = list(self._scan_plain(haystack, ""))
        for head in _STREAM_HEADS.finditer(haystack):
            inflated = _inflate(haystack[head.start() : head.start() + _MAX_INFLATED])
            if inflated:
                hits += self._scan_plain(inflated, "zlib:")
        return hits

    def _scan_plain(self, haystack: bytes, prefix: str) -> Iterator[Hit]:
        for shift in range(8):
            usable = (len(haystack) - shift) // 8 * 8
            if usable <= 0:
                continue
            words = np.frombuffer(haystack, "<u8", usable // 8, shift)
            places = np.searchsorted(self._heads, words)
            found = self._heads[np.minimum(places, len(self._heads) - 1)] == words
            for index in np.flatnonzero(found):
                offset = int(index) * 8 + shift
                for marker, rendering, window in self._windows[haystack[offset : offset + 8]]:
                    if haystack.startswith(window, offset):
                        yield Hit(marker, prefix + rendering, offset)


def _inflate(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=47).decompress(data, _MAX_INFLATED)
    except zlib.error:
        return b""


def planted(marker: bytes, kind: str) -> bytes:
    """A haystack with one leak of this kind, for the scanner's own test."""
    noise = np.random.default_rng(5).bytes(1000)
    numbers = np.frombuffer(marker, np.uint8).astype(np.float32)
    leak = {
        "raw": marker,
        "fragment": marker[13:21],
        "hex": marker.hex().encode(),
        "HEX": marker.hex().upper().encode(),
        "base64+0": base64.b64encode(marker),
        "base64+1": base64.b64encode(b"a" + marker),
        "base64+2": base64.b64encode(b"ab" + marker),
        "base64url": base64.urlsafe_b64encode(marker),
        "zlib": zlib.compress(b"before" + marker + b"after"),
        "gzip": gzip.compress(marker),
        "zlib of hex": zlib.compress(marker.hex().encode()),
        "fp32": numbers.astype("<f4").tobytes(),
        "fp32/255": (numbers / np.float32(255)).astype("<f4").tobytes(),
        "bf16": (numbers.view(np.uint32) >> 16).astype("<u2").tobytes(),
    }[kind]
    return noise + leak + noise
