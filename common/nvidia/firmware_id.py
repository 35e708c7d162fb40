"""Which firmware a device's key belongs to: the digest in its certificate (side: verifier).

The device's boot ROM certifies a key that it derived from the firmware it loaded, and names that firmware by its
SHA-384 (TCG DICE Attestation Architecture 1.1, FWID). NVIDIA writes it in two ways (attestation SDK, nv_x509.cpp
`get_fwid`):

  2.23.133.5.4.1    version, device key, SEQUENCE { sha384, FWID }            Hopper, LS10
  2.23.133.5.4.1.1  TcbInfo: [6] a list of SEQUENCE { sha384, FWID }, of which the first counts; [7] flags   Blackwell
"""

from dataclasses import dataclass
from typing import Final

from cryptography.x509 import Certificate, ExtensionNotFound, ObjectIdentifier, UnrecognizedExtension

from common.certificate_links import UNREADABLE
from common.errors import FormatError

_COMPOSITE: Final = ObjectIdentifier("2.23.133.5.4.1")
_TCB_INFO: Final = ObjectIdentifier("2.23.133.5.4.1.1")

_SEQUENCE: Final = 0x30
_FWIDS: Final = 0xA6
_FLAGS: Final = 0x87
_SHA384: Final = bytes.fromhex("0609608648016503040202" + "0430")
"""OBJECT IDENTIFIER of SHA-384, and the head of an OCTET STRING of 48 bytes."""

_UNSAFE_FLAGS: Final = 0b0111_0000
"""Of the first octet of OperationalFlags: notSecure (1), recovery (2), debug (3), counted from its highest bit."""


@dataclass(frozen=True, slots=True)
class FirmwareId:
    """The firmware's digest (48 bytes); `unsafe`: its certificate says that it is in debug, in recovery or insecure."""

    digest: bytes
    unsafe: bool


def firmware_id_of(leaf: Certificate) -> FirmwareId:
    """Read the extension. Raises `FormatError` (format.gpu_report)."""
    composite, tcb_info = _extension(leaf, _COMPOSITE), _extension(leaf, _TCB_INFO)
    if (composite is None) == (tcb_info is None):
        raise _wrong("a certificate that names its firmware, in one way")
    if composite is not None:
        *_, (tag, last) = _members(_whole(composite))
        return FirmwareId(_digest(tag, last), unsafe=False)
    members = dict(_members(_whole(tcb_info or b"")))
    tag, first = next(iter(_members(members.get(_FWIDS, b""))), (0, b""))
    flags = members.get(_FLAGS, b"\0")[1:]  # before them stands how many of their bits are unused
    return FirmwareId(_digest(tag, first), unsafe=bool(flags[:1] and flags[0] & _UNSAFE_FLAGS))


def _extension(leaf: Certificate, oid: ObjectIdentifier) -> bytes | None:
    try:
        value = leaf.extensions.get_extension_for_oid(oid).value
    except ExtensionNotFound:
        return None
    except UNREADABLE as cause:
        raise _wrong("a certificate that can be read") from cause
    return value.value if isinstance(value, UnrecognizedExtension) else None


def _digest(tag: int, content: bytes) -> bytes:
    if tag != _SEQUENCE or not content.startswith(_SHA384) or len(content) != len(_SHA384) + 48:
        raise _wrong("a firmware digest by SHA-384")
    return content[len(_SHA384) :]


def _whole(der: bytes) -> bytes:
    members = _members(der)
    if len(members) != 1 or members[0][0] != _SEQUENCE:
        raise _wrong("one SEQUENCE")
    return members[0][1]


def _members(der: bytes) -> list[tuple[int, bytes]]:
    """(tag, content) of DER values that lie one behind the other; tags of one octet, lengths of up to two."""
    found, at = list[tuple[int, bytes]](), 0
    while at < len(der):
        length, begin = der[at + 1 : at + 2], at + 2
        if length == b"\x81":
            length, begin = der[at + 2 : at + 3], at + 3
        elif not length or length[0] > 0x7F:
            raise _wrong("DER of at most 255 bytes")
        end = begin + int.from_bytes(length, "big")
        if end > len(der) or not length:
            raise _wrong("whole DER values")
        found.append((der[at], der[begin:end]))
        at = end
    if not found:
        raise _wrong("something in it")
    return found


def _wrong(expected: str) -> FormatError:
    return FormatError("format.gpu_report", expected=f"firmware in the device's certificate: {expected}")
