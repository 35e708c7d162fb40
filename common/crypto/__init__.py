"""All uses of keys: digests, signatures, key wrapping, authenticated encryption (side: library).

No other package touches key bytes. Keys are objects: their `repr` hides them, they do not pickle, compare in constant
time and leave the process only wrapped (`wrapping`), sealed (`aead`) or in a party's own key file (`key_file`).
"""

from common.crypto.aead import open_blob, seal_blob
from common.crypto.digests import sha256, sha256_raw, transcript
from common.crypto.keys import KeyRing, SecretKey
from common.crypto.signing import SigningKey, verify_signature
from common.crypto.wrapping import WRAPPING_PUBLIC_BYTES, WrappingKey, wrap

__all__ = [
    "WRAPPING_PUBLIC_BYTES",
    "KeyRing",
    "SecretKey",
    "SigningKey",
    "WrappingKey",
    "open_blob",
    "seal_blob",
    "sha256",
    "sha256_raw",
    "transcript",
    "verify_signature",
    "wrap",
]
