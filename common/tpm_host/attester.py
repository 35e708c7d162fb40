"""The evidence of this host: its TPM's word, and the lists that the word is about (side: host).

    attester = HostAttester(settings)
    challenge = ...              # the verifier's, for attester.endorsement_area and attester.attestation_area
    attester.activate(challenge)
    evidence = attester.evidence(host_binding(report_data))

The lists are read after the quote: they may have grown since, and the verifier finds where the quote was made.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate, load_pem_x509_certificates

from common.errors import UnavailableError
from common.identifiers import Digest
from common.messages.host_evidence import HostEvidence
from common.messages.tpm_counter import TpmChallenge
from common.tpm_host.device import open_tpm
from common.tpm_host.quoting import QuotingTpm
from common.tpm_ima.quote_format import parse_tpm_quote
from common.tpm_ima.registers import QUOTED, registers_digest

BOOT_LOG: Final = Path("/sys/kernel/security/tpm0/binary_bios_measurements")
MEASUREMENT_LIST: Final = Path("/sys/kernel/security/ima/ascii_runtime_measurements")
_TRIES: Final = 16


@dataclass(frozen=True, kw_only=True)
class HostSettings:
    """Where things are on this host.

    `boot_log` is None where firmware or virtual machine has none. `issuers`: PEM of whoever issued the endorsement
    key's certificate, up to the root. `certificate`: that certificate in PEM, where the TPM does not hold it itself.
    `signing_keys`: SubjectPublicKeyInfo (DER) of keys that signed this host's files.
    """

    tpm: str = "/dev/tpmrm0"
    boot_log: Path | None = BOOT_LOG
    measurement_list: Path = MEASUREMENT_LIST
    issuers: Path
    certificate: Path | None = None
    signing_keys: tuple[Path, ...] = ()


class HostAttester:
    """One host's TPM, open; `close` lets go of it. Raises `UnavailableError` (unavailable.tpm,
    unavailable.host_log).
    """

    def __init__(self, settings: HostSettings) -> None:
        self._settings = settings
        stored = None if settings.certificate is None else _certificates(settings.certificate)[0]
        der = None if stored is None else stored.public_bytes(Encoding.DER)
        is_rsa = stored is not None and isinstance(stored.public_key(), RSAPublicKey)
        issuers = [one.public_bytes(Encoding.DER) for one in _certificates(settings.issuers)]
        self.tpm = QuotingTpm(open_tpm(settings.tpm), certificate=der, is_rsa=is_rsa)
        if self.tpm.certificate is None:
            self.close()
            raise UnavailableError("unavailable.tpm", expected="a TPM that holds an EK certificate, or a file with it")
        self._certificates = (self.tpm.certificate, *issuers)
        self._activation = b""

    def close(self) -> None:
        """Let go of the TPM."""
        self.tpm.close()

    @property
    def endorsement_area(self) -> bytes:
        """Public area of the endorsement key."""
        return self.tpm.endorsement_key.area

    @property
    def attestation_area(self) -> bytes:
        """Public area of the attestation key."""
        return self.tpm.attestation_key.area

    def activate(self, challenge: TpmChallenge) -> None:
        """Read the verifier's secret, which all evidence for that verifier shows from then on."""
        self._activation = self.tpm.activate(challenge.credential, challenge.secret)

    def evidence(self, binding: bytes) -> HostEvidence:
        """A quote for this binding, and what it is about. Raises a `RuntimeError` before `activate`."""
        if not self._activation:
            raise RuntimeError("activate first: nobody believes a key whose TPM is unknown")
        attested, signature, registers = self._quote(binding)
        log, settings = self._settings.boot_log, self._settings
        return HostEvidence(
            endorsement_key=self.endorsement_area,
            endorsement_certificates=self._certificates,
            attestation_key=self.attestation_area,
            activation=self._activation,
            attested=attested,
            signature=signature,
            registers=tuple(map(Digest.of, registers)),
            boot_log=b"" if log is None else _read(log),
            measurement_list=_read(settings.measurement_list),
            signing_keys=tuple(map(_read, settings.signing_keys)),
        )

    def _quote(self, binding: bytes) -> tuple[bytes, bytes, tuple[bytes, ...]]:
        """Quote and registers of one moment: what runs in between extends register 10, and then it is done again."""
        for _ in range(_TRIES):
            quote = self.tpm.quote(binding, QUOTED)
            registers = self.tpm.registers(QUOTED)
            if parse_tpm_quote(quote.attested).digest == registers_digest(registers, "sha256"):
                return quote.attested, quote.signature, registers
        raise UnavailableError("unavailable.tpm", expected="registers that stay for a moment", seen=f"{_TRIES} changes")


def _certificates(path: Path) -> list[Certificate]:
    try:
        return load_pem_x509_certificates(_read(path))
    except ValueError as cause:
        raise UnavailableError("unavailable.host_log", expected="certificates in PEM", seen=path) from cause


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise UnavailableError("unavailable.host_log", expected=path, seen=cause.strerror) from cause
