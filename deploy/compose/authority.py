"""The installation's own certificate authority: TLS of RabbitMQ, Redis and PostgreSQL inside the stack (side: host).

P-256, for ten years; a server's certificate names its service, which is its host name on the stack's networks. The key
lies beside the secrets, is mounted nowhere, and makes certificates when an installation is prepared again.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE: Final = timedelta(days=3650)
_CLOCKS_APART: Final = timedelta(hours=1)


class Authority:
    """A key and its certificate."""

    def __init__(self, key: EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key, self._certificate = key, certificate

    @classmethod
    def generate(cls) -> "Authority":
        """A fresh one."""
        key, name = generate_private_key(SECP256R1()), _name("cloister installation")
        builder = _builder(name, name, key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(usage, critical=True).add_extension(identifier, critical=False)
        return cls(key, builder.sign(key, SHA256()))

    @classmethod
    def read(cls, key_file: Path, certificate_file: Path) -> "Authority":
        """The stored one."""
        key = load_pem_private_key(key_file.read_bytes(), None)
        if not isinstance(key, EllipticCurvePrivateKey):
            raise ValueError(f"{key_file} holds no elliptic-curve key")  # noqa: TRY004 - like any other unfit file
        return cls(key, x509.load_pem_x509_certificate(certificate_file.read_bytes()))

    @property
    def key_pem(self) -> bytes:
        """PKCS #8, not encrypted."""
        return _key_pem(self._key)

    @property
    def certificate_pem(self) -> bytes:
        """What clients verify under."""
        return self._certificate.public_bytes(Encoding.PEM)

    def issue(self, service: str) -> tuple[bytes, bytes]:
        """Key and certificate of a server that is reached as `service`, and as 127.0.0.1's `localhost`."""
        key = generate_private_key(SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(service), x509.DNSName("localhost")])
        builder = _builder(_name(service), self._certificate.subject, key)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(names, critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = builder.add_extension(issuer, critical=False).sign(self._key, SHA256())
        return _key_pem(key), certificate.public_bytes(Encoding.PEM)


def _builder(subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - _CLOCKS_APART).not_valid_after(now + LIFE)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
