"""What code must be to get keys: reference values, typed per platform (side: library; RFC 9334's words).

What is part of no measurement is named beside it: SGX's ATTRIBUTES, XFRM and MISCSELECT, a trust domain's attributes,
XFAM and owner registers. Another platform is another class in the union, never another meaning of a field.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from common.identifiers import HexBytes48, MrEnclave
from common.messages.base import Message
from common.messages.evidence import SGX_FLAGS_INIT, SGX_FLAGS_MODE64BIT
from common.messages.tcb_terms import TcbTerms

_U8 = Annotated[int, Field(ge=0, lt=1 << 8)]
_U16 = Annotated[int, Field(ge=0, lt=1 << 16)]
_U32 = Annotated[int, Field(ge=0, lt=1 << 32)]
_U64 = Annotated[int, Field(ge=0, lt=1 << 64)]

XFRM_X87_SSE: Final = 0x3
XFRM_KNOWN: Final = 0x602E7
"""x87, SSE, AVX, AVX-512 (bits 5 to 7), PKRU (9), AMX (17, 18): state components of XCR0 (Intel SDM vol. 1, 13.1)."""

TD_SEPT_VE_DISABLE: Final = 1 << 28
"""TDATTRIBUTES bit 28: the host can't inject #VE for a page that it took away (Intel TDX module base spec)."""

TD_DEBUG: Final = 1
"""TDATTRIBUTES bit 0: the host reads and writes its memory."""

TD_PROFILING: Final = 0b111 << 4
TD_MIGRATABLE: Final = 1 << 29
"""TDATTRIBUTES bits 4 to 6 (HGS_PLUS_PROF, PERF_PROF, PMT_PROF) and 29 (Intel TDX module ABI spec, ATTRIBUTES): the
host may profile the domain, or move it elsewhere with a service domain's help."""

XFAM_KNOWN: Final = 0x61AE7
"""As XFRM, and PT (8), CET (11, 12): what trust domains in the field run with."""

ZERO_REGISTER: Final = HexBytes48("0" * 96)


class SgxReferenceValue(Message):
    """An SGX enclave, by the measurement of its code."""

    type: Literal["sgx"] = "sgx"
    mr_enclave: MrEnclave
    attribute_flags: _U64 = SGX_FLAGS_INIT | SGX_FLAGS_MODE64BIT
    misc_select: _U32 = 0
    required_xfrm: _U64 = XFRM_X87_SSE
    allowed_xfrm: _U64 = XFRM_KNOWN
    tcb: TcbTerms = TcbTerms()

    @property
    def code(self) -> str:
        """What names the code, in hexadecimal."""
        return self.mr_enclave


class SgxSignerReferenceValue(Message):
    """An SGX enclave, by who signed it: any code of this signer and product from this security version on."""

    type: Literal["sgx-signer"] = "sgx-signer"
    mr_signer: MrEnclave
    isv_prod_id: _U16
    min_isv_svn: _U16
    attribute_flags: _U64 = SGX_FLAGS_INIT | SGX_FLAGS_MODE64BIT
    misc_select: _U32 = 0
    required_xfrm: _U64 = XFRM_X87_SSE
    allowed_xfrm: _U64 = XFRM_KNOWN
    tcb: TcbTerms = TcbTerms()

    @property
    def code(self) -> str:
        """What names the code, in hexadecimal."""
        return self.mr_signer


class TdxReferenceValue(Message):
    """A trust domain: its initial image, its run-time registers, what its owner configured, and its TDX module.

    RTMR0 (the virtual machine's shape) and RTMR3 (what the running system adds) may be null: any. RTMR1 and RTMR2
    measure boot loader, kernel, its command line and initial file system (Intel TDX Virtual Firmware Design Guide,
    "Measurement"): without them MRTD would vouch for whatever is booted, so they are always stated.

    `mr_signer_seam` (zero: Intel), `min_module_version` (major and security version: bytes 1 and 0 of TEE_TCB_SVN) and
    `mr_seams` (measurements; empty: any of that signer) say which TDX modules are accepted. That the module is one that
    TCB info knows, the verification demands anyway.
    """

    type: Literal["tdx"] = "tdx"
    mr_td: HexBytes48
    rtmrs: tuple[HexBytes48 | None, HexBytes48, HexBytes48, HexBytes48 | None]
    mr_config_id: HexBytes48 = ZERO_REGISTER
    mr_owner: HexBytes48 = ZERO_REGISTER
    mr_owner_config: HexBytes48 = ZERO_REGISTER
    mr_seams: Annotated[tuple[HexBytes48, ...], Field(max_length=64)] = ()
    mr_signer_seam: HexBytes48 = ZERO_REGISTER
    min_module_version: tuple[_U8, _U8] = (0, 0)
    td_attributes: _U64 = TD_SEPT_VE_DISABLE
    required_xfam: _U64 = XFRM_X87_SSE
    allowed_xfam: _U64 = XFAM_KNOWN
    tcb: TcbTerms = TcbTerms()

    @property
    def code(self) -> str:
        """What names the code, in hexadecimal."""
        return self.mr_td


ReferenceValue = Annotated[SgxReferenceValue | SgxSignerReferenceValue | TdxReferenceValue, Field(discriminator="type")]
"""A reference value of some platform."""
