"""Attestation reports with any field, as AMD's firmware lays them out and signs them (side: library).

Written from AMD 56860, table 23, by itself: nothing here is the product's parser turned round.
"""

import struct
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

DEBUG: Final = 1 << 19
MIGRATE_MA: Final = 1 << 18
SINGLE_SOCKET: Final = 1 << 20
_SMT_AND_RESERVED: Final = 1 << 16 | 1 << 17
VLEK_SIGNED: Final = 1 << 2
AUTHOR_KEY: Final = 1


@dataclass(frozen=True, kw_only=True)
class SnpReport:
    """By the names of the specification, in its order; TCB versions have eight bytes."""

    version: int = 3
    guest_svn: int = 2
    policy: int = _SMT_AND_RESERVED
    family_id: bytes = bytes(16)
    image_id: bytes = bytes(16)
    vmpl: int = 0
    signature_algorithm: int = 1
    current_tcb: bytes
    platform_info: int = 0b100101
    key_flags: int = 0
    reserved: int = 0
    report_data: bytes = bytes(64)
    measurement: bytes = bytes(48)
    host_data: bytes = bytes(32)
    id_key_digest: bytes = bytes(48)
    author_key_digest: bytes = bytes(48)
    report_id: bytes = b"\x11" * 32
    report_id_ma: bytes = b"\xff" * 32
    reported_tcb: bytes
    cpuid: tuple[int, int, int]
    chip_id: bytes
    committed_tcb: bytes
    current_version: tuple[int, int, int] = (29, 55, 1)
    committed_version: tuple[int, int, int] = (29, 55, 1)
    launch_tcb: bytes
    mitigations: tuple[int, int] = (0, 0)

    def encode(self) -> bytes:
        """The 0x2A0 bytes that are signed."""
        head = struct.pack("<IIQ16s16sII", self.version, self.guest_svn, self.policy, self.family_id, self.image_id,
                           self.vmpl, self.signature_algorithm)  # fmt: skip
        machine = self.current_tcb + struct.pack("<QII", self.platform_info, self.key_flags, self.reserved)
        guest = (self.report_data + self.measurement + self.host_data + self.id_key_digest + self.author_key_digest
                 + self.report_id + self.report_id_ma)  # fmt: skip
        chip = self.reported_tcb + bytes(self.cpuid) + bytes(21) + self.chip_id.ljust(64, b"\0")
        versions = bytes((*self.current_version, 0, *self.committed_version, 0))
        tail = self.launch_tcb + struct.pack("<QQ", *self.mitigations)
        return (head + machine + guest + chip + self.committed_tcb + versions + tail).ljust(0x2A0, b"\0")


def sign_report(signed: bytes, key: EllipticCurvePrivateKey) -> bytes:
    """The whole report, 0x4A0 bytes."""
    scalars = decode_dss_signature(key.sign(signed, ECDSA(SHA384())))
    return (signed + b"".join(one.to_bytes(72, "little") for one in scalars)).ljust(0x4A0, b"\0")
