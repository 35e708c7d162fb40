"""A world whose enclaves run in trust domains of a simulated TDX platform (side: library).

The platform is that of `BrokerWorld`, whose root is allowed for TDX, too. A domain is a TD report: what it says of
itself is what the platform quotes.
"""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from common.broker_channel import BrokerChannel
from common.crypto.keys import SecretKey
from common.dcap.certificates import PCK_LEAF
from common.enclave.simulated_pki import CLOCK_MARGIN, SimulatedPki, issue_certificate
from common.enclave.simulated_platform import SimulatedPlatform
from common.enclave.simulated_sgx_extension import encode_sgx_extension
from common.enclave.trust_settings import TrustSettings
from common.identifiers import CodeMeasurement, HexBytes48, JobId, MrEnclave, RoleName
from common.key_retrieval import Launch, attest_and_fetch
from common.messages.evidence import AllowedRoot, TdxDcapEvidence, TrustLevel
from common.messages.reference_values import ReferenceValue, TdxReferenceValue
from tests.fakes.broker_world import MEASUREMENTS, BrokerWorld, MemoryStore
from tests.fakes.tdx_quotes import TEE_SVN, TdReport, sign_td_quote, tdx_collateral

MODULE: Final = (TEE_SVN[1], TEE_SVN[0])


@dataclass(frozen=True)
class TdxRuntime:
    """`EnclaveRuntime` of a trust domain on a simulated platform. `extended`: reports of TD 1.5, in quotes v5."""

    platform: SimulatedPlatform
    trust_settings: TrustSettings
    report: TdReport
    version: int = 4
    extended: bool = False
    trust_level: TrustLevel = TrustLevel.SIMULATION

    @property
    def measurement(self) -> CodeMeasurement:
        """MRTD."""
        return CodeMeasurement(self.report.mr_td.hex())

    def evidence(self, report_data: bytes) -> TdxDcapEvidence:
        """A quote, and collateral of the day on which the platform was made."""
        pki, body = self.platform.pki, replace(self.report, report_data=report_data).encode(extended=self.extended)
        quote = sign_td_quote(body, self.platform.attestation_key, pki.pck.key, pki.pck_chain, version=self.version)
        return TdxDcapEvidence(quote=quote, collateral=tdx_collateral(pki, made_at(pki)))

    def sealing_key(self, label: bytes) -> SecretKey:
        """As the platform gives an enclave; real domains have none."""
        return SecretKey(self.platform.sealing_key(MrEnclave(hashlib.sha256(self.report.mr_td).hexdigest()), label))


def made_at(pki: SimulatedPki) -> datetime:
    """When the platform was made."""
    return pki.root.certificate.not_valid_before_utc + CLOCK_MARGIN


def report_of(measured: MrEnclave) -> TdReport:
    """What a domain says of itself that runs the code which measures so as an enclave."""
    return TdReport(mr_td=hashlib.sha384(measured.raw()).digest())


def value_of(report: TdReport, **changes: Any) -> TdxReferenceValue:
    """A reference value for it that leaves RTMR0 and RTMR3 open."""
    fixed = [HexBytes48(one.hex()) for one in (report.mr_td, report.rtmrs[1], report.rtmrs[2])]
    value = TdxReferenceValue(mr_td=fixed[0], rtmrs=(None, fixed[1], fixed[2], None))
    return value.model_copy(update=changes)


@dataclass(frozen=True)
class Domain:
    """Who asks: `fields` of its report differ from those that its role's has."""

    fields: dict[str, Any] = field(default_factory=dict)
    version: int = 4
    extended: bool = False


class DomainWorld(BrokerWorld):
    """Every role but the broker is released as a trust domain; the broker, too, `with_broker`."""

    def __init__(self, directory: Path, *, with_broker: bool = False, **changes: Any) -> None:
        """`changes` are fields of the released values."""
        self._with_broker, self._changes = with_broker, changes
        super().__init__(directory)

    def restart(self, store: MemoryStore | None = None) -> None:
        """In a domain, too."""
        if not self._with_broker:
            return super().restart(store)
        self.store = store or self.store
        return self.start_on(self.domain("broker"))

    def become_a_cloud_host(self) -> None:
        """From now on its PCK certificate says what cloud providers' say: several packages, cached keys, SMT."""
        pki = self.platform.pki
        encoded = encode_sgx_extension(ppid=bytes(16), instance_id=bytes(16), configuration=(True, True, True))
        pck = issue_certificate(PCK_LEAF, made_at(pki), pki.pck_ca, sgx_extension=encoded)
        self.platform = replace(self.platform, pki=replace(pki, pck=pck))

    def allowed_roots(self) -> tuple[AllowedRoot, ...]:
        """The platform's, for both TEEs."""
        root = self.platform.allowed_root
        return (root, root.model_copy(update={"platform": "tdx"}))

    def references(self, measurements: dict[str, MrEnclave]) -> dict[str, ReferenceValue]:
        """Trust domains'."""
        values: dict[str, ReferenceValue] = {
            role: value_of(report_of(measured), **self._changes) for role, measured in measurements.items()
        }
        return values if self._with_broker else values | {"broker": super().references(measurements)["broker"]}

    def domain(self, role: str, asked: Domain | None = None) -> TdxRuntime:
        """The platform of a launch."""
        asked = asked or Domain()
        report = replace(report_of(MEASUREMENTS[role]), **asked.fields)
        return TdxRuntime(self.platform, self.trust, report, asked.version, asked.extended)

    def launch_domain(self, role: RoleName, job_id: JobId, slot: int = 0, asked: Domain | None = None) -> Launch:
        """A domain that attests and fetches its keys."""
        return attest_and_fetch(self.domain(role, asked), BrokerChannel(self.handle), role, job_id, slot)
