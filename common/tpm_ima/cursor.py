"""Bytes read from front to back, each of them once (side: verifier)."""

from typing import Literal

from common.errors import FormatError


class Cursor:
    """A place in `raw`. Whatever lies beyond its end raises `FormatError` (format.host_evidence)."""

    __slots__ = ("_order", "_raw", "at")

    def __init__(self, raw: bytes, order: Literal["big", "little"]) -> None:
        self._raw, self._order, self.at = raw, order, 0

    @property
    def is_at_end(self) -> bool:
        """Whether all was read."""
        return self.at == len(self._raw)

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        end = self.at + count
        if end > len(self._raw):
            raise FormatError("format.host_evidence", expected=f"{end} bytes or more", seen=f"{len(self._raw)} bytes")
        taken, self.at = self._raw[self.at : end], end
        return taken

    def integer(self, size: int) -> int:
        """An unsigned integer of `size` bytes."""
        return int.from_bytes(self.take(size), self._order)

    def sized(self, size: int, most: int) -> bytes:
        """Bytes behind their length, which has `size` bytes and is at most `most`."""
        length = self.integer(size)
        if length > most:
            raise FormatError("format.host_evidence", expected=f"at most {most} bytes", seen=length)
        return self.take(length)

    def require_end(self) -> None:
        """Nothing follows."""
        if not self.is_at_end:
            raise FormatError("format.host_evidence", expected=f"{self.at} bytes", seen=f"{len(self._raw)} bytes")
