"""A folder like Gramine's /dev/attestation, with quotes of the simulated platform (side: enclave).

Gramine makes a quote when `quote` is opened; here it is written before, over data that a test chooses.
"""

from pathlib import Path

from common.enclave.gramine import GramineRuntime
from common.enclave.simulated_platform import SimulatedPlatform
from common.enclave.trust_settings import TrustSettings
from common.identifiers import MrEnclave


class AttestationDevice:
    """The folder of an enclave that measures `own`."""

    def __init__(self, folder: Path, platform: SimulatedPlatform, own: MrEnclave, key: bytes = b"\x07" * 16) -> None:
        self.folder, self.platform, self.own, self.key = folder, platform, own, key
        (folder / "keys").mkdir(parents=True)
        (folder / "attestation_type").write_text("dcap")
        (folder / "my_target_info").write_bytes(own.raw() + bytes(480))
        (folder / "user_report_data").write_bytes(bytes(64))
        (folder / "keys/_sgx_mrenclave").write_bytes(key)

    def quote(self, data: bytes, of: MrEnclave | None = None) -> bytes:
        """A quote of the platform over `data`."""
        return self.platform.evidence(of or self.own, data).quote

    def show(self, quote: bytes) -> None:
        """What `quote` holds."""
        (self.folder / "quote").write_bytes(quote)


class QuotingRuntime(GramineRuntime):
    """With a device that makes a quote at each opening, over what was written last."""

    def __init__(self, trust_settings: TrustSettings, device: AttestationDevice) -> None:
        super().__init__(trust_settings, device.folder)
        self._made_by = device

    def _read(self, name: str) -> bytes:
        if name == "quote":
            self._made_by.show(self._made_by.quote((self._made_by.folder / "user_report_data").read_bytes()))
        return super()._read(name)
