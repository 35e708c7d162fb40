"""The bit fields of an attestation report (side: verifier).

Source: AMD 56860, GUEST_POLICY (what the guest's owner allows the host) and PLATFORM_INFO (how the machine is set up).
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from common.messages.snp_reference_values import PlatformFeature
from common.messages.tcb_terms import Exposure

_SMT: Final = 1 << 16
_MUST_BE_ONE: Final = 1 << 17
_OPENING: Final = MappingProxyType({Exposure.MIGRATION: 1 << 18, Exposure.DEBUG: 1 << 19})
_SINGLE_SOCKET: Final = 1 << 20
_POLICY_KNOWN: Final = (1 << 26) - 1
"""Bits 21 to 25: CXL_ALLOW, MEM_AES_256_XTS, RAPL_DIS, CIPHERTEXT_HIDING_DRAM, PAGE_SWAP_DISABLE."""

_SMT_ENABLED: Final = 1 << 0
_FEATURES: Final = MappingProxyType({
    PlatformFeature.ECC: 1 << 2,
    PlatformFeature.RAPL_DISABLED: 1 << 3,
    PlatformFeature.CIPHERTEXT_HIDING: 1 << 4,
    PlatformFeature.ALIAS_CHECKED: 1 << 5,
})  # fmt: skip
"""And bits 1 (TSME) and 7 (SEV-TIO). Others are not judged: a real Turin machine sets bit 6, which is reserved."""


@dataclass(frozen=True, slots=True)
class GuestPolicy:
    """What the guest's owner allows the host; the firmware enforces it from the launch on."""

    bits: int

    @property
    def is_known(self) -> bool:
        """Bit 17 is one and no bit is set that has no meaning."""
        return bool(self.bits & _MUST_BE_ONE) and not self.bits & ~_POLICY_KNOWN

    @property
    def least_abi(self) -> tuple[int, int]:
        """Major and minor version of the least firmware ABI on which it may run."""
        return self.bits >> 8 & 0xFF, self.bits & 0xFF

    @property
    def smt(self) -> bool:
        """Whether it may run where cores have two threads."""
        return bool(self.bits & _SMT)

    @property
    def single_socket(self) -> bool:
        """Whether it must stay on one socket."""
        return bool(self.bits & _SINGLE_SOCKET)

    @property
    def openings(self) -> frozenset[Exposure]:
        """What it lays open to the host: debug (the host reads its memory), migration (an agent moves it)."""
        return frozenset(opening for opening, bit in _OPENING.items() if self.bits & bit)

    def __str__(self) -> str:
        return f"policy {self.bits:#x}"


@dataclass(frozen=True, slots=True)
class PlatformInfo:
    """How the machine is set up, as its firmware sees it."""

    bits: int

    @property
    def smt(self) -> bool:
        """Whether cores run two threads."""
        return bool(self.bits & _SMT_ENABLED)

    @property
    def features(self) -> frozenset[PlatformFeature]:
        """What protects the guest further."""
        return frozenset(feature for feature, bit in _FEATURES.items() if self.bits & bit)

    def __str__(self) -> str:
        return f"platform {self.bits:#x}"
