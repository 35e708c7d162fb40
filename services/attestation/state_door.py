"""What crosses the door when the enclave has its state and its log stored (side: library; both ends use it).

state.append   length of the entry (4, big-endian) || entry || blob
state.package  length (4) || data set || its recovery package, or nothing: parsed like `state.append`
state.begin    number of entries that are stored (8) || for each that comes next: length (4) || entry
"""

from collections.abc import Sequence
from typing import Final

from common.errors import FormatError

_LENGTH_BYTES: Final = 4
_NUMBER_BYTES: Final = 8


def encode_append(entry: bytes, blob: bytes) -> bytes:
    """Body of `state.append`."""
    return _framed(entry) + blob


def parse_append(body: bytes) -> tuple[bytes, bytes]:
    """Entry and blob. Raises `FormatError`."""
    return _first_of(body)


def encode_begin(first: int, entries: Sequence[bytes]) -> bytes:
    """Body of `state.begin`."""
    return first.to_bytes(_NUMBER_BYTES, "big") + b"".join(map(_framed, entries))


def parse_begin(body: bytes) -> tuple[int, list[bytes]]:
    """How many entries are stored already, and those that come next. Raises `FormatError`."""
    first, rest, entries = parse_number(body[:_NUMBER_BYTES]), body[_NUMBER_BYTES:], list[bytes]()
    while rest:
        entry, rest = _first_of(rest)
        entries.append(entry)
    return first, entries


def parse_number(body: bytes) -> int:
    """A number of 8 bytes. Raises `FormatError`."""
    if len(body) != _NUMBER_BYTES:
        raise FormatError("format.door_frame", expected=f"a number of {_NUMBER_BYTES} bytes")
    return int.from_bytes(body, "big")


def _framed(entry: bytes) -> bytes:
    return len(entry).to_bytes(_LENGTH_BYTES, "big") + entry


def _first_of(body: bytes) -> tuple[bytes, bytes]:
    end = _LENGTH_BYTES + int.from_bytes(body[:_LENGTH_BYTES], "big")
    if not _LENGTH_BYTES < end <= len(body):
        raise FormatError("format.door_frame", expected="an entry behind its length")
    return body[_LENGTH_BYTES:end], body[end:]
