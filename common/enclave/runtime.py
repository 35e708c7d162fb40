"""What an enclave asks of its platform, whichever it is (side: enclave).

Code of a role calls `current_runtime()` once, in its `main`. Outside an enclave there is none: the answer is a refusal,
never a stand-in.
"""

from functools import cache
from typing import Protocol

from common.crypto.keys import SecretKey
from common.enclave.gramine import GramineRuntime, is_gramine, is_sgx
from common.enclave.simulation import SimulationRuntime
from common.enclave.trust_settings import TrustSettings, measured_trust_settings
from common.identifiers import CodeMeasurement
from common.messages.evidence import Evidence, TrustLevel


class EnclaveRuntime(Protocol):
    """One launch of an enclave on its platform."""

    @property
    def trust_level(self) -> TrustLevel:
        """What stands behind this platform's evidence."""

    @property
    def measurement(self) -> CodeMeasurement:
        """The enclave's own measurement, as its quotes state it."""

    @property
    def trust_settings(self) -> TrustSettings:
        """Whom to believe: measured with the code."""

    def evidence(self, report_data: bytes) -> Evidence:
        """A fresh quote over these 64 bytes, with collateral where the platform has it."""

    def sealing_key(self, label: bytes) -> SecretKey:
        """The key that this platform gives this measurement, and no other, for `label` (hardware sealing)."""


@cache
def current_runtime() -> EnclaveRuntime:
    """The platform of this enclave. Raises `UnavailableError` (unavailable.launcher) outside an enclave."""
    if is_sgx():
        return GramineRuntime(measured_trust_settings())
    if is_gramine():
        return SimulationRuntime.connect_under_gramine()
    return SimulationRuntime.connect()
