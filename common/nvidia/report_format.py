"""Where the parts of a device's report lie; nothing here is authentic yet (side: verifier).

A report is what was asked and what was answered, one behind the other (DMTF DSP0274 1.1, "GET_MEASUREMENTS
request message and MEASUREMENTS response message"; NVIDIA attestation SDK, spdm_req.cpp and spdm_resp.cpp).
Integers are little-endian, signatures r || s are not.

  request   version 0x11 | code 0xE0 | 1: sign | 0xFF: all | nonce 32 | slot 1
  response  version 0x11 | code 0x60 | 0 | slot 1 | blocks 1 | length 3 | blocks | nonce 32 | length 2 | opaque
  signature 96, over request and response

  block     index 1 | specification 1 = DMTF | length 2 | type 1 | length 2 | value
  opaque    type 2 | length 2 | value, one behind the other (NVIDIA's: `opaque_fields`)

Nothing may follow any part. Every byte of it is signed, so each report has one encoding, and indices and types stand in
it once: the SDK takes the last of several.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from common.errors import FormatError

NONCE_BYTES: Final = 32
SIGNATURE_BYTES: Final = 96
"""ECDSA P-384, r || s."""

_REQUEST_BEGIN: Final = bytes((0x11, 0xE0, 0x01, 0xFF))
_RESPONSE_BEGIN: Final = bytes((0x11, 0x60, 0x00))
_REQUEST_BYTES: Final = 37
_BLOCKS_AT: Final = 45
_DMTF: Final = 1
_BLOCK_HEAD: Final = 7


@dataclass(frozen=True, slots=True)
class UnverifiedReport:
    """What a report says before anything is checked. `nonce` is the one that was asked with.

    `measurements` are by index as reference values count them, from 0 on: one less than in the report.
    """

    nonce: bytes
    measurements: Mapping[int, bytes]
    opaque: Mapping[int, bytes]
    signed: bytes
    signature: bytes


def parse_report(raw: bytes) -> UnverifiedReport:
    """Split a report. Raises `FormatError` (format.gpu_report)."""
    request, response = raw[:_REQUEST_BYTES], raw[_REQUEST_BYTES : _REQUEST_BYTES + 4]
    if request[:4] != _REQUEST_BEGIN or response[:3] != _RESPONSE_BEGIN or request[-1:] != response[3:]:
        raise _wrong("a signed answer to SPDM 1.1 GET_MEASUREMENTS", raw[:4].hex())
    record_end = _BLOCKS_AT + _integer(raw, _BLOCKS_AT - 3, 3)
    opaque_at = record_end + NONCE_BYTES + 2
    end = opaque_at + _integer(raw, opaque_at - 2, 2)
    if end + SIGNATURE_BYTES != len(raw):
        raise _wrong(f"{end + SIGNATURE_BYTES} bytes", f"{len(raw)} bytes")
    return UnverifiedReport(
        nonce=raw[4 : 4 + NONCE_BYTES],
        measurements=_read_blocks(raw[_BLOCKS_AT:record_end], raw[_BLOCKS_AT - 4]),
        opaque=_read_opaque(raw[opaque_at:end]),
        signed=raw[:end],
        signature=raw[end:],
    )


def _read_blocks(record: bytes, count: int) -> Mapping[int, bytes]:
    found, at = dict[int, bytes](), 0
    for _ in range(count):
        index, specification = _integer(record, at, 1), _integer(record, at + 1, 1)
        size, value_bytes = _integer(record, at + 2, 2), _integer(record, at + 5, 2)
        value_at, at = at + _BLOCK_HEAD, at + 4 + size
        if specification != _DMTF or value_at + value_bytes != at or at > len(record):
            raise _wrong("blocks as DMTF specifies them", f"block {index}")
        if index == 0 or index - 1 in found:
            raise _wrong("one block an index, from 1 on", index)
        found[index - 1] = record[value_at:at]
    if at != len(record) or not found:
        raise _wrong(f"{count} blocks and no more", f"{len(record) - at} bytes beside them")
    return MappingProxyType(found)


def _read_opaque(raw: bytes) -> Mapping[int, bytes]:
    found, at = dict[int, bytes](), 0
    while at < len(raw):
        kind, size = _integer(raw, at, 2), _integer(raw, at + 2, 2)
        at += 4 + size
        if at > len(raw) or kind in found:
            raise _wrong("whole fields, one a type", f"type {kind}")
        found[kind] = raw[at - size : at]
    return MappingProxyType(found)


def _integer(raw: bytes, at: int, size: int) -> int:
    if at + size > len(raw):
        raise _wrong(f"at least {at + size} bytes", len(raw))
    return int.from_bytes(raw[at : at + size], "little")


def _wrong(expected: str, seen: object) -> FormatError:
    return FormatError("format.gpu_report", expected=expected, seen=seen)
