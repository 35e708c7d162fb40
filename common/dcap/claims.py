"""What an authentic quote claims; whether that is good enough is for the appraisal (side: verifier)."""

from dataclasses import dataclass

from common.dcap.roots import Tee
from common.identifiers import HexBytes48, MrEnclave
from common.messages.evidence import SGX_FLAGS_DEBUG, TcbStatus, TrustLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteClaims:
    """What every DCAP quote claims. `report_data` has 64 bytes, `fmspc` 6, `ppid` 16; `advisory_ids` are Intel's."""

    trust_level: TrustLevel
    tcb_status: TcbStatus
    advisory_ids: tuple[str, ...]
    fmspc: bytes
    ppid: bytes
    report_data: bytes

    @property
    def platform(self) -> Tee:
        """The TEE whose quote format it is; `trust_level` says whether a real one made it."""
        raise NotImplementedError

    @property
    def measurement(self) -> str:
        """The code's measurement, in hexadecimal."""
        raise NotImplementedError

    @property
    def is_debug(self) -> bool:
        """Whether the host can read the enclave's memory."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class SgxClaims(QuoteClaims):
    """Claims of an SGX enclave. `attributes` has 16 bytes: FLAGS (8, little-endian), XFRM (8)."""

    mr_enclave: MrEnclave
    mr_signer: MrEnclave
    isv_prod_id: int
    isv_svn: int
    attributes: bytes
    misc_select: int

    @property
    def platform(self) -> Tee:
        """SGX."""
        return "sgx"

    @property
    def measurement(self) -> str:
        """MRENCLAVE."""
        return self.mr_enclave

    @property
    def attribute_flags(self) -> int:
        """ATTRIBUTES.FLAGS."""
        return int.from_bytes(self.attributes[:8], "little")

    @property
    def is_debug(self) -> bool:
        """ATTRIBUTES.DEBUG."""
        return bool(self.attribute_flags & SGX_FLAGS_DEBUG)


@dataclass(frozen=True, slots=True, kw_only=True)
class TdxClaims(QuoteClaims):
    """Claims of a trust domain. `td_attributes` and `xfam` have 8 bytes each."""

    mr_td: HexBytes48
    rtmrs: tuple[HexBytes48, HexBytes48, HexBytes48, HexBytes48]
    mr_seam: HexBytes48
    td_attributes: bytes
    xfam: bytes

    @property
    def platform(self) -> Tee:
        """TDX."""
        return "tdx"

    @property
    def measurement(self) -> str:
        """MRTD."""
        return self.mr_td

    @property
    def is_debug(self) -> bool:
        """TDATTRIBUTES.DEBUG, bit 0."""
        return bool(self.td_attributes[0] & 1)
