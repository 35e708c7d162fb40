"""Settings of the attestation service's host process (side: host). What bears on trust is measured, not set here."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from common.dcap.roots import intel_roots
from common.enclave.trust_settings import TrustSettings
from common.errors import FormatError
from common.identifiers import PartyKey
from common.messages.broker_door import StartBroker
from common.untrusted.collateral_cache import COLLATERAL_FOLDER, CollateralCache
from common.untrusted.collateral_service import DAY_SECONDS, CollateralLimits, CollateralService
from common.untrusted.pcs_client import PcsClient
from common.untrusted.settings import HostSettings
from services.attestation.handover_files import HandoverFiles
from services.attestation.handover_relay import HandoverPlan, Predecessor


class AttestationSettings(HostSettings):
    """A JSON file. `witnesses` and `witness_quorum` enter the genesis of a new broker, which owners pin.

    `measured_files` lists the files of the release's enclaves, where it is published.
    `pcs_url`: a PCS or PCCS; without one, collateral is what was imported.
    `predecessors`: builds whose broker may have sealed the state, to hand over to this one; `leave_behind`: even where
    keys stay behind, because their parties' terms do not accept it.
    """

    state_directory: Path
    listen_host: str = "127.0.0.1"
    listen_port: Annotated[int, Field(ge=0, le=65535)]
    launcher: Path
    release_file: Path
    measured_files: Path | None = None
    witnesses: tuple[PartyKey, ...] = ()
    witness_quorum: int = 0
    trust_settings_file: Path | None = None
    pcs_url: str | None = None
    pcs_root_crl_url: str | None = None
    pcs_ca_file: Path | None = None
    collateral_refresh_seconds: int = DAY_SECONDS
    collateral_last_good_seconds: int = 14 * DAY_SECONDS
    predecessors: tuple[Predecessor, ...] = ()
    leave_behind: bool = False

    def collateral(self) -> CollateralService:
        """Cache and PCS, if there is one; only collateral under the roots of the trust settings is kept.

        Raises `FormatError` for limits that mean nothing, and for files that cannot be read.
        """
        source = None if self.pcs_url is None else PcsClient(self.pcs_url, self.pcs_root_crl_url)
        try:
            limits = CollateralLimits(
                self.collateral_refresh_seconds, last_good_seconds=self.collateral_last_good_seconds
            )
            named = self.trust_settings_file
            roots = intel_roots() if named is None else TrustSettings.decode(named.read_bytes()).allowed_roots
        except (ValueError, OSError) as cause:
            raise FormatError(
                "format.message", expected="limits of collateral and trust settings", seen=cause
            ) from None
        return CollateralService(CollateralCache(self.state_directory / COLLATERAL_FOLDER, roots), source, limits)

    def handover(self, directory: Path, collateral: CollateralService) -> HandoverPlan | None:
        """From whom to take over, beside the state in `directory`."""
        if not self.predecessors:
            return None
        files = HandoverFiles(directory)
        return HandoverPlan(self.predecessors, self.release_file, files, collateral, self.leave_behind)

    @property
    def start(self) -> StartBroker:
        """What the enclave is started with. Raises `FormatError` for a quorum that cannot be met."""
        try:
            return StartBroker(witnesses=self.witnesses, witness_quorum=self.witness_quorum)
        except ValidationError:
            raise FormatError("format.message", expected="distinct witnesses, and more than half of them") from None
