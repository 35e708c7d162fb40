"""What an authentic report claims; whether that is good enough is for the appraisal (side: verifier)."""

from dataclasses import dataclass

from common.identifiers import ChipId, CodeMeasurement, HexBytes32, HexBytes48
from common.messages.evidence import TrustLevel
from common.messages.snp_reference_values import SnpProduct, SnpTcb
from common.messages.tcb_terms import Exposure
from common.snp.bit_fields import GuestPolicy, PlatformInfo
from common.snp.report_format import Signer

FirmwareVersion = tuple[int, int, int]
"""Major, minor, build."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineClaims:
    """The machine, as its firmware and its key's certificate describe it.

    `chip` is None where the host masks it. `tcbs` are, by name: `reported`, from which the signing key was derived;
    `committed`, below which the machine can't be set back; `current`; and `launch`, at which the guest was started.
    `mitigations` (launch, current) are bit vectors of AMD's security bulletins; None before version 5.
    """

    product: SnpProduct
    signer: Signer
    provider: str | None
    chip: ChipId | None
    tcbs: dict[str, SnpTcb]
    info: PlatformInfo
    current_version: FirmwareVersion
    committed_version: FirmwareVersion
    mitigations: tuple[int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpClaims:
    """Claims of an SEV-SNP guest. `report_data` has 64 bytes; `family_id` and `image_id` have 16, of the ID block."""

    trust_level: TrustLevel
    machine: MachineClaims
    report_data: bytes
    mr_launch: HexBytes48
    host_data: HexBytes32
    id_key_digest: HexBytes48
    author_key_digest: HexBytes48
    family_id: bytes
    image_id: bytes
    guest_svn: int
    policy: GuestPolicy
    vmpl: int
    report_id: HexBytes32
    report_id_ma: HexBytes32

    @property
    def measurement(self) -> CodeMeasurement:
        """MEASUREMENT, of what was in memory at launch. What that code loads later it must measure itself."""
        return CodeMeasurement(self.mr_launch)

    @property
    def is_debug(self) -> bool:
        """Whether the host can read the guest's memory."""
        return Exposure.DEBUG in self.policy.openings
