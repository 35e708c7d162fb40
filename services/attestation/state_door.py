"""What crosses the door when the enclave has its state and its log stored (side: library; both ends use it).

state.append   for each decision: length (4, big-endian) || entry || length (4) || blob
state.package  length (4) || data set || its recovery package, or nothing
state.begin    number of entries that are stored (8) || for each that comes next: length (4) || entry
"""

from collections.abc import Iterable, Sequence
from typing import Final

from common.errors import FormatError

_LENGTH_BYTES: Final = 4
_NUMBER_BYTES: Final = 8


def encode_append(decisions: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Body of `state.append`: entry and blob of each decision."""
    return b"".join(_framed(entry) + _framed(blob) for entry, blob in decisions)


def parse_append(body: bytes) -> list[tuple[bytes, bytes]]:
    """Entry and blob of each. Raises `FormatError`."""
    parts = _all_of(body)
    if not parts or len(parts) % 2:
        raise FormatError("format.door_frame", expected="an entry and a blob for each decision", seen=len(parts))
    return list(zip(parts[::2], parts[1::2], strict=True))


def encode_package(name: bytes, package: bytes) -> bytes:
    """Body of `state.package`."""
    return _framed(name) + package


def parse_package(body: bytes) -> tuple[bytes, bytes]:
    """The data set's name and its package. Raises `FormatError`."""
    return _first_of(body)


def encode_begin(first: int, entries: Sequence[bytes]) -> bytes:
    """Body of `state.begin`."""
    return first.to_bytes(_NUMBER_BYTES, "big") + b"".join(map(_framed, entries))


def parse_begin(body: bytes) -> tuple[int, list[bytes]]:
    """How many entries are stored already, and those that come next. Raises `FormatError`."""
    return parse_number(body[:_NUMBER_BYTES]), _all_of(body[_NUMBER_BYTES:])


def parse_number(body: bytes) -> int:
    """A number of 8 bytes. Raises `FormatError`."""
    if len(body) != _NUMBER_BYTES:
        raise FormatError("format.door_frame", expected=f"a number of {_NUMBER_BYTES} bytes")
    return int.from_bytes(body, "big")


def _framed(entry: bytes) -> bytes:
    return len(entry).to_bytes(_LENGTH_BYTES, "big") + entry


def _all_of(body: bytes) -> list[bytes]:
    parts = list[bytes]()
    while body:
        part, body = _first_of(body)
        parts.append(part)
    return parts


def _first_of(body: bytes) -> tuple[bytes, bytes]:
    end = _LENGTH_BYTES + int.from_bytes(body[:_LENGTH_BYTES], "big")
    if not _LENGTH_BYTES < end <= len(body):
        raise FormatError("format.door_frame", expected="as many bytes as their length says")
    return body[_LENGTH_BYTES:end], body[end:]
