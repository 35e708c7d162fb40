"""Hybrid public-key wrapping: HPKE with ML-KEM-768 + X25519, HKDF-SHA-256, AES-256-GCM (side: library).

HPKE is RFC 9180; the KEM is the X-Wing combiner, code point 0x647a of draft-connolly-cfrg-xwing-kem, as built into
`cryptography` 50. Base mode, single-shot, `info` only: whoever must answer gets an answer key *inside* the message.
A wrapped value is bound to its purpose by `info` = transcript(label, ...): opened under another it is not authentic.
"""

import secrets
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite

from common.crypto.keys import HiddenKey, KeyRing
from common.errors import AuthenticityError, FormatError

_SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_MLKEM_PUBLIC_BYTES: Final = 1184  # FIPS 203, table 3
_MLKEM_SEED_BYTES: Final = 64  # FIPS 203, section 7.1: d || z

WRAPPING_PUBLIC_BYTES: Final = _MLKEM_PUBLIC_BYTES + 32
"""An encoded public key: ML-KEM-768 encapsulation key, then X25519 public key."""

WRAPPING_SEED_BYTES: Final = _MLKEM_SEED_BYTES + 32
"""An encoded private key: ML-KEM-768 seed, then X25519 private key."""

WRAPPING_OVERHEAD: Final = 1088 + 32 + 16
"""Bytes that wrapping adds: ML-KEM-768 ciphertext, X25519 share, GCM tag."""


class WrappingKey(HiddenKey):
    """A private HPKE key."""

    __slots__ = ("_private", "_seed", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != WRAPPING_SEED_BYTES:
            raise FormatError("format.message", expected=f"a wrapping key of {WRAPPING_SEED_BYTES} bytes")
        mlkem = MLKEM768PrivateKey.from_seed_bytes(seed[:_MLKEM_SEED_BYTES])
        x25519 = X25519PrivateKey.from_private_bytes(seed[_MLKEM_SEED_BYTES:])
        self._seed = bytes(seed)
        self._private = MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> Self:
        """A fresh key."""
        return cls(secrets.token_bytes(WRAPPING_SEED_BYTES))

    def seed_for_sealing(self) -> bytes:
        """The 96-byte seed; the caller seals it, or writes it to its owner's key file, in the same expression."""
        return self._seed

    def open(self, wrapped: bytes, info: bytes) -> bytes:
        """What was wrapped to this key under this `info`; else `AuthenticityError`."""
        try:
            return _SUITE.decrypt(wrapped, self._private, info)
        except (InvalidTag, ValueError) as cause:
            raise AuthenticityError("authenticity.wrapped_key") from cause

    def open_ring(self, wrapped: bytes, info: bytes) -> KeyRing:
        """The key ring that was wrapped to this key under this `info`."""
        return KeyRing.decode_unwrapped(self.open(wrapped, info))


def wrap(plaintext: bytes, public: bytes, info: bytes) -> bytes:
    """`plaintext` for the holder of `public` alone, `WRAPPING_OVERHEAD` bytes longer. Raises `FormatError`."""
    key = _parse_public(public)
    try:
        return _SUITE.encrypt(plaintext, key, info)
    except ValueError as cause:  # an X25519 share of low order parses (RFC 7748, section 6.1)
        raise _no_public_key() from cause


def wrap_ring(ring: KeyRing, public: bytes, info: bytes) -> bytes:
    """A key ring for the holder of `public` alone."""
    return wrap(ring.encode_for_wrapping(), public, info)


def _parse_public(public: bytes) -> MLKEM768X25519PublicKey:
    if len(public) != WRAPPING_PUBLIC_BYTES:
        raise FormatError("format.message", expected=f"a public wrapping key of {WRAPPING_PUBLIC_BYTES} bytes")
    try:
        mlkem = MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC_BYTES])
        return MLKEM768X25519PublicKey(mlkem, X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC_BYTES:]))
    except ValueError as cause:
        raise _no_public_key() from cause


def _no_public_key() -> FormatError:
    return FormatError("format.message", expected="a public ML-KEM-768 + X25519 key")
