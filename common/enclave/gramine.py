"""The enclave's end of an SGX platform under Gramine: files below /dev/attestation (side: enclave).

The library OS makes them, not the host, and only inside SGX (Gramine 1.9, "Attestation and Secret Provisioning", low-
level interface):

    attestation_type       "dcap", as the manifest says
    my_target_info         TARGETINFO of this enclave, 512 bytes; MRENCLAVE comes first
    user_report_data       64 bytes, written
    quote                  an SGX quote v3 over what was written last, made by the quoting enclave
    keys/_sgx_mrenclave    128 bits of EGETKEY under this MRENCLAVE, on this processor

The interface is not made for several threads, so one at a time writes and reads. A quote that does not state what was
written, or another enclave, is no quote of this launch. It comes without collateral: whoever verifies it has that.

The sealing key is never used itself: each label has a key derived from it (the manual asks for that). No folder of ours
is mounted under it.
"""

import threading
from pathlib import Path
from typing import Final

from common.crypto.keys import SecretKey, derive_from_hardware
from common.crypto.labels import PLATFORM_SEALING
from common.dcap.quote_format import HEADER_BYTES, SGX_REPORT_BYTES, parse_quote
from common.enclave.trust_settings import TrustSettings
from common.errors import FormatError, UnavailableError
from common.identifiers import MrEnclave
from common.messages.evidence import REPORT_DATA_BYTES, DcapQuote, TrustLevel

DEVICE: Final = Path("/dev/attestation")
TARGET_INFO_BYTES: Final = 512
SEALING_KEY_BYTES: Final = 16

_MR_ENCLAVE: Final = slice(64, 96)
_REPORT_DATA: Final = slice(320, 384)
"""Of a report body (Intel SDM vol. 3D, "REPORT")."""

_TARGET_MR_ENCLAVE: Final = slice(0, 32)


def is_sgx(device: Path = DEVICE) -> bool:
    """Whether this process is an SGX enclave under Gramine, whose library OS alone makes this file."""
    return (device / "attestation_type").exists()


def is_gramine(device: Path = DEVICE) -> bool:
    """Whether this process runs under Gramine, inside SGX or not (`gramine-direct`)."""
    return device.is_dir()


class GramineRuntime:
    """`EnclaveRuntime` on SGX hardware. `device` is the folder that Gramine makes.

    Raises `UnavailableError` (unavailable.launcher) where it is another, or the manifest switched quotes off.
    """

    trust_level: Final = TrustLevel.SGX

    def __init__(self, trust_settings: TrustSettings, device: Path = DEVICE) -> None:
        self.trust_settings: Final = trust_settings
        self._device, self._lock = device, threading.Lock()
        kind = self._read("attestation_type").decode(errors="replace").strip("\0\n ")
        if kind != "dcap":
            raise UnavailableError("unavailable.launcher", expected="sgx.remote_attestation dcap", seen=kind)
        target = self._read("my_target_info")
        if len(target) != TARGET_INFO_BYTES:
            raise UnavailableError("unavailable.launcher", expected=f"{TARGET_INFO_BYTES} bytes", seen=len(target))
        self.measurement: Final = MrEnclave.of(target[_TARGET_MR_ENCLAVE])

    def evidence(self, report_data: bytes) -> DcapQuote:
        """A fresh quote over 64 bytes. Raises `UnavailableError` where the host's quoting service gives none."""
        if len(report_data) != REPORT_DATA_BYTES:
            raise ValueError(f"report data has {REPORT_DATA_BYTES} bytes")
        with self._lock:
            self._write("user_report_data", report_data)
            quote = self._read("quote")
        return DcapQuote(quote=self._require_own(_without_padding(quote), report_data))

    def sealing_key(self, label: bytes) -> SecretKey:
        """The processor's key for this measurement and label."""
        raw = self._read("keys/_sgx_mrenclave")
        if len(raw) != SEALING_KEY_BYTES:
            raise UnavailableError(
                "unavailable.launcher", expected=f"{SEALING_KEY_BYTES} bytes of a key", seen=len(raw)
            )
        return derive_from_hardware(raw, PLATFORM_SEALING, self.measurement.raw(), label)

    def _require_own(self, quote: bytes, report_data: bytes) -> bytes:
        try:
            unverified = parse_quote(quote)
        except FormatError as cause:
            raise UnavailableError("unavailable.launcher", expected="an SGX quote v3", seen=cause.seen) from cause
        stated = unverified.body[_MR_ENCLAVE], unverified.body[_REPORT_DATA]
        if unverified.tee != "sgx" or stated != (self.measurement.raw(), report_data):
            raise UnavailableError("unavailable.launcher", expected="a quote of this enclave over what it wrote")
        return quote

    def _read(self, name: str) -> bytes:
        try:
            return (self._device / name).read_bytes()
        except OSError as cause:
            raise UnavailableError("unavailable.launcher", expected=f"readable {self._device}/{name}") from cause

    def _write(self, name: str, content: bytes) -> None:
        try:
            with open(self._device / name, "wb") as file:
                file.write(content)
        except OSError as cause:
            raise UnavailableError("unavailable.launcher", expected=f"writable {self._device}/{name}") from cause


def _without_padding(buffer: bytes) -> bytes:
    """A quote without the zeros behind it: as long as its signature data says (common/dcap/quote_format)."""
    at = HEADER_BYTES + SGX_REPORT_BYTES
    if len(buffer) < at + 4:
        return buffer
    end = at + 4 + int.from_bytes(buffer[at : at + 4], "little")
    return buffer[:end] if not any(buffer[end:]) else buffer
