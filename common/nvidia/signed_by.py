"""Whose signature is it? ECDSA P-384 with SHA-384, as NVIDIA signs reports and reference values (side: verifier)."""

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

_HALF: Final = 48


def is_signed_by(key: object, signature: bytes, message: bytes) -> bool:
    """Whether `signature` (r || s, 96 bytes) over `message` is by this P-384 key; by any other key, never."""
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP384R1):
        return False
    if len(signature) != 2 * _HALF:
        return False
    r, s = (int.from_bytes(half, "big") for half in (signature[:_HALF], signature[_HALF:]))
    try:
        key.verify(encode_dss_signature(r, s), message, ECDSA(SHA384()))
    except InvalidSignature:
        return False
    return True
