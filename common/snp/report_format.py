"""Where the fields of an attestation report lie; nothing here is authentic yet (side: verifier).

Source: AMD "SEV Secure Nested Paging Firmware ABI Specification", 56860, table 23 (ATTESTATION_REPORT) and chapter 10
(signatures). All integers are little-endian.

  version 2      as below, 0x188 to 0x19F and 0x1F8 to 0x29F zero
  version 3, 4   and family, model and stepping of the processor at 0x188 (4 is what Google's hosts make, laid out as 3)
  version 5      and mitigations of launch and of now at 0x1F8 and 0x200

  signature at 0x2A0   r 72 | s 72 | zeros 368, over everything before it; r and s are P-384's, so 48 bytes and zeros

One report has one encoding, but for what its signature covers: everything that is reserved is zero.
"""

from dataclasses import dataclass
from typing import Final, Literal

from common.errors import FormatError
from common.messages.snp_evidence import SNP_REPORT_BYTES
from common.snp.bit_fields import GuestPolicy, PlatformInfo

SIGNED_BYTES: Final = 0x2A0
VERSIONS: Final = (2, 3, 4, 5)
ECDSA_P384_SHA384: Final = 1
"""Chapter 10, signing algorithm encodings."""

Signer = Literal["VCEK", "VLEK"]
_SIGNERS: Final[dict[int, Signer]] = {0: "VCEK", 1: "VLEK"}
"""SIGNING_KEY, bits 2 to 4 at 0x48. 7 is a report that nobody signed."""

HOST_ASKED: Final = 0xFFFF_FFFF
"""VMPL of a report that the hypervisor asked for, not the guest: the guest has bound nothing."""

_SCALAR_BYTES: Final = 72
_P384_BYTES: Final = 48
_CPUID: Final = (0x188, 0x18B)
_MITIGATIONS: Final = (0x1F8, 0x208)
_RESERVED: Final = (
    (0x04C, 0x050),
    (0x18B, 0x1A0),
    (0x1EB, 0x1EC),
    (0x1EF, 0x1F0),
    (0x208, 0x2A0),
    (0x2A0 + _P384_BYTES, 0x2E8),
    (0x2E8 + _P384_BYTES, 0x330),
    (0x330, SNP_REPORT_BYTES),
)
"""In every version; the last three are around and behind the signature."""


@dataclass(frozen=True, slots=True)
class UnverifiedReport:
    """What a report says of itself before anything is checked. `raw` has 1,184 bytes."""

    raw: bytes

    @property
    def version(self) -> int:
        """Of the layout."""
        return self.integer(0x000, 4)

    @property
    def policy(self) -> GuestPolicy:
        """What the host may do with the guest."""
        return GuestPolicy(self.integer(0x008, 8))

    @property
    def vmpl(self) -> int:
        """Virtual machine privilege level of who asked, 0 to 3; or `HOST_ASKED`."""
        return self.integer(0x030, 4)

    @property
    def platform_info(self) -> PlatformInfo:
        """How the machine is configured."""
        return PlatformInfo(self.integer(0x040, 8))

    @property
    def signer(self) -> Signer:
        """Whose key signed it: the chip's, or one that a cloud provider has loaded into it."""
        return _SIGNERS[self._key_flags >> 2 & 7]

    @property
    def has_author_key(self) -> bool:
        """AUTHOR_KEY_EN."""
        return bool(self._key_flags & 1)

    @property
    def cpuid(self) -> tuple[int, int] | None:
        """Family and model of the processor, extended ones included; None in version 2."""
        return (self.raw[0x188], self.raw[0x189]) if self.version > 2 else None

    @property
    def mitigations(self) -> tuple[int, int] | None:
        """LAUNCH_MIT_VECTOR and CURRENT_MIT_VECTOR; None before version 5."""
        return (self.integer(0x1F8, 8), self.integer(0x200, 8)) if self.version > 4 else None

    @property
    def signature(self) -> tuple[int, int]:
        """r and s."""
        return self.integer(0x2A0, _SCALAR_BYTES), self.integer(0x2E8, _SCALAR_BYTES)

    @property
    def _key_flags(self) -> int:
        return self.integer(0x048, 4)

    def integer(self, at: int, size: int) -> int:
        """A little-endian integer."""
        return int.from_bytes(self.raw[at : at + size], "little")


def parse_report(raw: bytes) -> UnverifiedReport:
    """Read a report. In this order, each raises `FormatError` (format.snp_report):

    (a) it has 1,184 bytes, and a version of which the layout is known;
    (b) it is signed, by ECDSA P-384 with SHA-384, by the VCEK or the VLEK;
    (c) reserved bytes are zero, as are those that its version has not;
    (d) reserved bits of policy and key flags are what the specification says;
    (e) who asked is a privilege level, or the host; there is no author key but where its flag says so.
    """
    report = UnverifiedReport(raw)
    if len(raw) != SNP_REPORT_BYTES or report.version not in VERSIONS:  # (a)
        raise _wrong("a report of 1,184 bytes, version 2 to 5", f"{len(raw)} bytes, version {report.version}")
    algorithm, flags = report.integer(0x034, 4), report.integer(0x048, 4)
    if algorithm != ECDSA_P384_SHA384 or flags >> 2 & 7 not in _SIGNERS:  # (b)
        raise _wrong("ECDSA P-384 with SHA-384 (1) by VCEK (0) or VLEK (1)", f"{algorithm} by {flags >> 2 & 7}")
    absent = (*([_CPUID] if report.cpuid is None else []), *([_MITIGATIONS] if report.mitigations is None else []))
    for first, end in (*_RESERVED, *absent):
        if any(raw[first:end]):  # (c)
            raise _wrong(f"zeros from {first:#x} to {end:#x}", raw[first:end].hex())
    if not report.policy.is_known or flags >> 5:  # (d)
        raise _wrong("reserved bits as they should be", f"{report.policy}, keys {flags:#x}")
    if (report.vmpl > 3 and report.vmpl != HOST_ASKED) or (any(raw[0x110:0x140]) and not report.has_author_key):  # (e)
        raise _wrong("a privilege level, and no unflagged author key", f"VMPL {report.vmpl}, keys {flags:#x}")
    return report


def _wrong(expected: str, seen: str) -> FormatError:
    return FormatError("format.snp_report", expected=expected, seen=seen)
