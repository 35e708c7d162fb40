"""Who issued a certificate, in the one encoding that was signed, and what a root is pinned by (side: library)."""

from functools import lru_cache
from typing import Final

import cryptography.hazmat.backends.openssl.backend  # noqa: F401 - else the first verification imports it: 6 ms
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import (
    Certificate,
    DuplicateExtension,
    InvalidVersion,
    UnsupportedGeneralNameType,
    load_der_x509_certificate,
)

from common.crypto.digests import sha256
from common.identifiers import Digest

UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    InvalidVersion,
    DuplicateExtension,
    UnsupportedGeneralNameType,
)
"""What `cryptography` raises, early or late, for a certificate or CRL that it cannot read."""

_KNOWN_LINKS: Final = 1024
"""How many signatures are remembered, good or bad: they repeat from quote to quote."""


@lru_cache(maxsize=_KNOWN_LINKS)
def is_link(child: bytes, issuer: bytes) -> bool:
    """Whether `issuer` has the name and made the signature that `child` (both DER) carries, in whole octets.

    The count of unused bits before a signature is signed by nobody, and `cryptography` takes others than 0.
    """
    try:
        issued = load_der_x509_certificate(child)
        issued.verify_directly_issued_by(load_der_x509_certificate(issuer))
        return ends_with_octets(child, issued.signature)
    except (InvalidSignature, *UNREADABLE):
        return False


def ends_with_octets(signed: bytes, signature: bytes) -> bool:
    """Whether a certificate or CRL (DER) ends with this signature as a string of whole octets."""
    return signed.endswith(b"\0" + signature)


def root_key_sha256(certificate: Certificate) -> Digest:
    """What a root is pinned by: SHA-256 of the DER SubjectPublicKeyInfo."""
    return sha256(certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
