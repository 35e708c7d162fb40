"""Whose signature is it? ECDSA P-256 with SHA-256, as Intel signs quotes, collateral and CRLs (side: verifier)."""

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import Certificate, CertificateRevocationList

_HALF: Final = 32
_UNCOMPRESSED: Final = b"\4"


def is_signed_by(key: object, signature: bytes, message: bytes) -> bool:
    """Whether `signature` (r || s, 64 bytes) over `message` is by this key; by one that is not on a curve, never."""
    r, s = (int.from_bytes(half, "big") for half in (signature[:_HALF], signature[_HALF:]))
    try:
        if not isinstance(key, EllipticCurvePublicKey):
            return False
        key.verify(encode_dss_signature(r, s), message, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def is_signed_by_point(point: bytes, signature: bytes, message: bytes) -> bool:
    """The same for a bare P-256 key (x || y, 64 bytes); by what is no point of the curve, never."""
    try:
        key = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), _UNCOMPRESSED + point)
    except ValueError:
        return False
    return is_signed_by(key, signature, message)


def is_crl_of(crl: CertificateRevocationList, issuer: Certificate) -> bool:
    """Whether `issuer` has the CRL's issuer's name and made its signature. Raises what `cryptography` raises."""
    key = issuer.public_key()
    return isinstance(key, EllipticCurvePublicKey) and crl.is_signature_valid(key) and crl.issuer == issuer.subject
