"""Certificates are taken in the one encoding that they were signed in."""

from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate, CertificateBuilder, Name, NameAttribute
from cryptography.x509.oid import NameOID

from common.certificate_links import is_link


def root() -> Certificate:
    """One whose signature ends with a zero bit, so that it could be called unused."""
    key, name = ec.generate_private_key(ec.SECP256R1()), Name([NameAttribute(NameOID.COMMON_NAME, "Root")])
    now = datetime.now(UTC)
    builder = CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    while True:
        made = builder.sign(key, SHA256())
        if made.signature[-1] & 1 == 0:
            return made


def test_a_signature_with_unused_bits_is_none() -> None:
    made = root()
    encoded = made.public_bytes(Encoding.DER)
    place = len(encoded) - len(made.signature) - 1
    changed = encoded[:place] + b"\1" + encoded[place + 1 :]
    assert encoded[place] == 0
    assert is_link(encoded, encoded)
    assert not is_link(changed, encoded)
