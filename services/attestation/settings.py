"""Settings of the attestation service's host process (side: host). What bears on trust is measured, not set here."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from common.dcap.roots import intel_roots
from common.enclave.trust_settings import TrustSettings
from common.errors import FormatError
from common.identifiers import Digest, PartyKey
from common.messages.broker_door import StartBroker
from common.messages.tpm_counter import TpmCounter
from common.untrusted.collateral_cache import COLLATERAL_FOLDER, CollateralCache
from common.untrusted.collateral_service import DAY_SECONDS, CollateralLimits, CollateralService
from common.untrusted.http_identity import Enrolled, RequestGate
from common.untrusted.pcs_client import PcsClient
from common.untrusted.request_quota import RequestQuota
from common.untrusted.settings import HostSettings
from services.attestation.callers import Callers
from services.attestation.handover_files import HandoverFiles
from services.attestation.handover_relay import HandoverPlan, Predecessor
from services.attestation.strangers import Strangers

PerSecond = Annotated[float, Field(ge=1, le=1e6)]
Burst = Annotated[int, Field(ge=1, le=1_000_000)]


class AttestationSettings(HostSettings):
    """A JSON file. Witnesses, counters and quorum enter the genesis of a new broker, which owners pin.

    `peers` are brokers of others, by genesis, that this one witnesses for.
    `recover_from` is a copy of the state (its folder `broker`) of a broker that is over, whose data sets come here.
    `measured_files` lists the files of the release's enclaves, where it is published.
    `database_url` is the registry's: whom ingest enrolled may ask. `services` are the keys of this operator's services,
    whose relays carry what enclaves ask. The other four bound the requests of one identity, and of one address that
    signs nothing.
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
    database_url: str
    services: tuple[PartyKey, ...] = ()
    requests_per_second: PerSecond = 20.0
    request_burst: Burst = 400
    open_requests_per_second: PerSecond = 20.0
    open_request_burst: Burst = 400
    witnesses: tuple[PartyKey, ...] = ()
    witness_quorum: int = 0
    tpm_counters: tuple[TpmCounter, ...] = ()
    peers: tuple[Digest, ...] = ()
    recover_from: Path | None = None
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

    def callers(self, registry: Enrolled) -> Callers:
        """Who may ask, and how often."""
        quota = RequestQuota(self.requests_per_second, self.request_burst)
        return Callers(registry, quota, services=self.services, witnesses=self.witnesses)

    def strangers(self, gate: RequestGate) -> Strangers:
        """How often those who do not sign may ask what is open to all."""
        return Strangers(RequestQuota(self.open_requests_per_second, self.open_request_burst), gate)

    @model_validator(mode="after")
    def _recovers_from_another(self) -> Self:
        """Two at once would write into one log."""
        source = self.recover_from
        if source is not None and source.resolve().is_relative_to(self.state_directory.resolve()):
            raise ValueError("the state to recover from is not this service's own")
        return self

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
            return StartBroker(
                witnesses=self.witnesses,
                witness_quorum=self.witness_quorum,
                tpm_counters=self.tpm_counters,
                peers=self.peers,
            )
        except ValidationError:
            raise FormatError("format.message", expected="distinct witnesses, and more than half of them") from None
