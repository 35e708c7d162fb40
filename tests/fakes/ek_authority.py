"""Who makes TPMs: an authority with a root, an issuer, and certificates for endorsement keys, with chosen defects."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from common.certificate_links import root_key_sha256
from common.identifiers import Digest
from common.tpm_ima.endorsement import EK_CERTIFICATE

ISSUED = datetime(2026, 1, 1, tzinfo=UTC)
AT = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
_MODEL = x509.ObjectIdentifier("2.23.133.2.2")


@dataclass(frozen=True)
class Defects:
    """How certificates differ from right ones."""

    model: str = "Chip"
    usage: x509.ObjectIdentifier = EK_CERTIFICATE
    leaf_is_ca: bool = False
    issuer_is_ca: bool = True
    issuer_signs: bool = True
    root_length: int | None = None
    critical: x509.ObjectIdentifier | None = None
    days: int = 3650


@dataclass(frozen=True)
class EkAuthority:
    defects: Defects = Defects()
    root_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    issuer_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))

    @property
    def root(self) -> x509.Certificate:
        made = _builder("Test EK Root", "Test EK Root", self.root_key.public_key(), self.defects.days)
        made = _as_issuer(made, ca=True, signs=True, length=self.defects.root_length)
        return made.sign(self.root_key, SHA256())

    @property
    def issuer(self) -> x509.Certificate:
        made = _builder("Test EK Issuer", "Test EK Root", self.issuer_key.public_key(), self.defects.days)
        made = _as_issuer(made, ca=self.defects.issuer_is_ca, signs=self.defects.issuer_signs, length=None)
        return made.sign(self.root_key, SHA256())

    @property
    def pinned(self) -> Digest:
        return root_key_sha256(self.root)

    def certify(self, key: Any) -> x509.Certificate:
        defects = self.defects
        model = x509.Name([x509.NameAttribute(_MODEL, defects.model)])
        made = (
            _builder("", "Test EK Issuer", key, defects.days)
            .add_extension(x509.BasicConstraints(defects.leaf_is_ca, None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([defects.usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DirectoryName(model)]), critical=True)
        )
        if defects.critical is not None:
            made = made.add_extension(x509.UnrecognizedExtension(defects.critical, b"\5\0"), critical=True)
        return made.sign(self.issuer_key, SHA256())

    def chain(self, key: Any) -> tuple[bytes, ...]:
        """DER: the endorsement key's certificate, issuer, root."""
        return tuple(one.public_bytes(Encoding.DER) for one in (self.certify(key), self.issuer, self.root))


def _builder(subject: str, issuer: str, key: Any, days: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(ISSUED)
        .not_valid_after(ISSUED + timedelta(days=days))
    )


def _as_issuer(made: x509.CertificateBuilder, *, ca: bool, signs: bool, length: int | None) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=signs, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return made.add_extension(x509.BasicConstraints(ca, length), critical=True).add_extension(usage, critical=True)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])
