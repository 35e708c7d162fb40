"""What an authentic quote claims; whether that is good enough is for the appraisal (side: verifier)."""

from dataclasses import dataclass

from common.dcap.exposure import NOT_EXPOSED, Exposed
from common.dcap.roots import Tee
from common.identifiers import CodeMeasurement, Fmspc, HexBytes48, MrEnclave, PlatformId
from common.messages.evidence import SGX_FLAGS_DEBUG, TrustLevel
from common.messages.tcb_terms import TcbStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformClaims:
    """The machine, as its PCK certificate and Intel's collateral describe it.

    `tcb_date` (Unix seconds) is the earlier one of the platform's TCB level and of its quoting enclave's.
    `platform_ids` are the PPID and, from a Platform CA, the platform instance id; `dynamic`, `cached_keys` and `smt`
    are None where the certificate does not say (a Processor CA issued it). `exposed` is what the attributes of enclave
    or domain lay open on it.
    """

    fmspc: Fmspc
    platform_ids: tuple[PlatformId, ...]
    tcb_status: TcbStatus
    tcb_date: int
    tcb_evaluation: int
    advisory_ids: tuple[str, ...]
    dynamic: bool | None
    cached_keys: bool | None
    smt: bool | None
    exposed: Exposed = NOT_EXPOSED


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteClaims:
    """What every DCAP quote claims. `report_data` has 64 bytes."""

    trust_level: TrustLevel
    machine: PlatformClaims
    report_data: bytes

    @property
    def platform(self) -> Tee:
        """The TEE whose quote format it is; `trust_level` says whether a real one made it."""
        raise NotImplementedError

    @property
    def measurement(self) -> CodeMeasurement:
        """What names the code."""
        raise NotImplementedError

    @property
    def is_debug(self) -> bool:
        """Whether the host can read the enclave's memory."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class SgxClaims(QuoteClaims):
    """Claims of an SGX enclave. `attribute_flags` and `xfrm` are the halves of ATTRIBUTES."""

    mr_enclave: MrEnclave
    mr_signer: MrEnclave
    isv_prod_id: int
    isv_svn: int
    attribute_flags: int
    xfrm: int
    misc_select: int

    @property
    def platform(self) -> Tee:
        """SGX."""
        return "sgx"

    @property
    def measurement(self) -> CodeMeasurement:
        """MRENCLAVE."""
        return self.mr_enclave

    @property
    def is_debug(self) -> bool:
        """ATTRIBUTES.DEBUG."""
        return bool(self.attribute_flags & SGX_FLAGS_DEBUG)


@dataclass(frozen=True, slots=True, kw_only=True)
class TdxClaims(QuoteClaims):
    """Claims of a trust domain. `tee_tcb_svn` (16 bytes) begins with security and major version of the TDX module."""

    mr_td: HexBytes48
    rtmrs: tuple[HexBytes48, HexBytes48, HexBytes48, HexBytes48]
    mr_config_id: HexBytes48
    mr_owner: HexBytes48
    mr_owner_config: HexBytes48
    mr_seam: HexBytes48
    mr_signer_seam: HexBytes48
    tee_tcb_svn: bytes
    td_attributes: int
    xfam: int

    @property
    def module_version(self) -> tuple[int, int]:
        """Major and security version of the TDX module (TEE_TCB_SVN bytes 1 and 0; Intel PCS API v4, `TDX_01`)."""
        return self.tee_tcb_svn[1], self.tee_tcb_svn[0]

    @property
    def platform(self) -> Tee:
        """TDX."""
        return "tdx"

    @property
    def measurement(self) -> CodeMeasurement:
        """MRTD. What runs behind the first image is in the RTMRs, which a release states beside it."""
        return CodeMeasurement(self.mr_td)

    @property
    def is_debug(self) -> bool:
        """TDATTRIBUTES.DEBUG, bit 0."""
        return bool(self.td_attributes & 1)
