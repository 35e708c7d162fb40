"""A CPU with SGX, played by files of one installation (side: host).

Holds: the simulation's root and platform keys (mode 0600) and a sealing secret. Makes quotes for measurements that the
launcher took, and sealing keys as EGETKEY does. Whoever can read the directory can forge both: that is what
`simulation` means, and every result says it.
"""

import contextlib
import os
import secrets
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from common.certificate_links import root_key_sha256
from common.crypto.digests import transcript
from common.crypto.labels import PLATFORM_SEALING
from common.enclave.simulated_pki import COLLATERAL_LIFE, Certified, SimulatedPki
from common.enclave.simulated_quote import encode_report, sign_quote
from common.errors import FormatError, UnavailableError
from common.identifiers import MrEnclave
from common.messages.evidence import AllowedRoot, Collateral, SgxDcapEvidence

_CERTIFIED: Final = ("root", "pck_ca", "tcb_signing", "pck")
_ATTESTATION_KEY: Final = "attestation"
_SEALING_FILE: Final = "sealing.secret"
_COLLATERAL: Final = "collateral.json"
_REISSUE_AFTER: Final = COLLATERAL_LIFE.total_seconds() / 2


@dataclass(frozen=True, slots=True)
class SimulatedPlatform:
    """One simulated CPU."""

    directory: Path
    pki: SimulatedPki
    attestation_key: EllipticCurvePrivateKey
    sealing_secret: bytes

    def __repr__(self) -> str:
        return "<SimulatedPlatform>"

    @classmethod
    def open_or_create(cls, directory: Path) -> Self:
        """The platform in `directory`, made there first if there is none. Raises `UnavailableError`."""
        if not (directory / _SEALING_FILE).exists():
            _create(directory)
        return cls.open(directory)

    @classmethod
    def open(cls, directory: Path) -> Self:
        """The platform in `directory`. Raises `UnavailableError` (unavailable.launcher) when it is none."""
        try:
            certified = [
                Certified(
                    _read_key(directory, name), load_pem_x509_certificate((directory / f"{name}.pem").read_bytes())
                )
                for name in _CERTIFIED
            ]
            return cls(
                directory,
                SimulatedPki(*certified),
                _read_key(directory, _ATTESTATION_KEY),
                (directory / _SEALING_FILE).read_bytes(),
            )
        except (OSError, ValueError) as cause:
            raise UnavailableError("unavailable.launcher", expected="a simulated platform", seen=directory) from cause

    @property
    def allowed_root(self) -> AllowedRoot:
        """The entry for trust settings that accept this platform."""
        return AllowedRoot(platform="sgx", root_key_sha256=root_key_sha256(self.pki.root.certificate))

    def evidence(self, mr_enclave: MrEnclave, report_data: bytes) -> SgxDcapEvidence:
        """A quote for an enclave of this measurement over 64 bytes of its own, and current collateral."""
        report = encode_report(mr_enclave.raw(), report_data)
        quote = sign_quote(report, self.attestation_key, self.pki.pck.key, self.pki.pck_chain)
        return SgxDcapEvidence(quote=quote, collateral=self.collateral())

    def collateral(self) -> Collateral:
        """Current collateral: the stored one, issued anew when half of its life is over or the clock was set back."""
        path = self.directory / _COLLATERAL
        with contextlib.suppress(OSError, FormatError):
            if 0 <= time.time() - path.stat().st_mtime < _REISSUE_AFTER:
                return Collateral.decode(path.read_bytes())
        fresh = self.pki.collateral(datetime.now(UTC))
        _write_private(path.with_name(f".{_COLLATERAL}.{secrets.token_hex(8)}"), fresh.encode()).replace(path)
        return fresh

    def sealing_key(self, mr_enclave: MrEnclave, label: bytes) -> bytes:
        """32 bytes that only this platform gives, and only to this measurement.

        HKDF-SHA-256 plays EGETKEY with key policy MRENCLAVE (Intel SDM vol. 3D, section 37.17).
        """
        info = transcript(PLATFORM_SEALING, mr_enclave.raw(), label)
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self.sealing_secret)


def _create(directory: Path) -> None:
    """Make a platform beside its place, then move it there; of two makers at once, the first wins."""
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    making = directory.with_name(f".{directory.name}.{secrets.token_hex(8)}")
    making.mkdir(mode=0o700)
    pki = SimulatedPki.generate(datetime.now(UTC))
    for name in _CERTIFIED:
        certified: Certified = getattr(pki, name)
        _write_key(making, name, certified.key)
        (making / f"{name}.pem").write_bytes(certified.pem)
    _write_key(making, _ATTESTATION_KEY, generate_private_key(SECP256R1()))
    _write_private(making / _SEALING_FILE, secrets.token_bytes(32))
    try:
        making.rename(directory)
    except OSError:
        shutil.rmtree(making)
        if not (directory / _SEALING_FILE).exists():
            raise


def _write_key(directory: Path, name: str, key: EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write_private(directory / f"{name}.key.pem", pem)


def _read_key(directory: Path, name: str) -> EllipticCurvePrivateKey:
    key = load_pem_private_key((directory / f"{name}.key.pem").read_bytes(), None)
    if not isinstance(key, EllipticCurvePrivateKey):
        raise ValueError(f"{name}.key.pem holds no elliptic-curve key")  # noqa: TRY004 - like any other unfit file
    return key


def _write_private(path: Path, content: bytes) -> Path:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return path
