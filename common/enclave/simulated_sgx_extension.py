"""The SGX extension of a PCK certificate, in DER (side: host).

Source: Intel "SGX PCK Certificate and CRL Profile Specification" 1.5, section 1.3.5; numbers below are the last arcs
under 1.2.840.113741.1.13.1:  1 PPID, 2 TCB (2.1 to 2.16 component SVNs, 2.17 PCESVN, 2.18 CPUSVN), 3 PCEID, 4 FMSPC,
5 SGX type, 6 platform instance id, 7 configuration (7.1 dynamic platform, 7.2 cached keys, 7.3 SMT).
"""

from typing import Final

from cryptography.x509 import ObjectIdentifier

SGX_EXTENSION: Final = ObjectIdentifier("1.2.840.113741.1.13.1")
_EXTENSION_ARC: Final = bytes.fromhex("2a864886f84d010d01")
"""DER content of that object identifier; an arc below 128 appends as one byte."""

FMSPC: Final = bytes.fromhex("c0ffee000000")
"""The mark of a simulated platform. Intel has no such family, model, stepping and platform."""

PCE_ID: Final = bytes(2)
PCE_SVN: Final = 13
CPU_SVN: Final = bytes([8] * 8 + [0] * 8)
"""SVNs of the 16 TCB components."""

_SGX_TYPE_SCALABLE: Final = 1

_BOOLEAN, _INTEGER, _OCTETS, _OID, _ENUMERATED, _SEQUENCE = 0x01, 0x02, 0x04, 0x06, 0x0A, 0x30


def encode_sgx_extension(
    *,
    ppid: bytes,
    instance_id: bytes,
    pce_id: bytes = PCE_ID,
    fmspc: bytes = FMSPC,
    configuration: tuple[bool, bool, bool] = (False, False, False),
) -> bytes:
    """The extension's value. `ppid` and `instance_id` have 16 bytes, `pce_id` 2, `fmspc` 6.

    `configuration`: whether the platform is dynamic, its keys are cached, and SMT is on.
    """
    components = [_entry((2, number), _der(_INTEGER, bytes([svn]))) for number, svn in enumerate(CPU_SVN, start=1)]
    pce_svn = _entry((2, 17), _der(_INTEGER, bytes([PCE_SVN])))
    cpu_svn = _entry((2, 18), _der(_OCTETS, CPU_SVN))
    flags = [
        _entry((7, number), _der(_BOOLEAN, b"\xff" if is_so else b"\0"))
        for number, is_so in enumerate(configuration, start=1)
    ]
    return _der(
        _SEQUENCE,
        b"".join(
            [
                _entry((1,), _der(_OCTETS, ppid)),
                _entry((2,), _der(_SEQUENCE, b"".join([*components, pce_svn, cpu_svn]))),
                _entry((3,), _der(_OCTETS, pce_id)),
                _entry((4,), _der(_OCTETS, fmspc)),
                _entry((5,), _der(_ENUMERATED, bytes([_SGX_TYPE_SCALABLE]))),
                _entry((6,), _der(_OCTETS, instance_id)),
                _entry((7,), _der(_SEQUENCE, b"".join(flags))),
            ]
        ),
    )


def _entry(arcs: tuple[int, ...], value: bytes) -> bytes:
    return _der(_SEQUENCE, _der(_OID, _EXTENSION_ARC + bytes(arcs)) + value)


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 0x80 else bytes([0x82]) + size.to_bytes(2, "big")
    if 0x80 <= size < 0x100:
        length = bytes([0x81, size])
    return bytes([tag]) + length + content
