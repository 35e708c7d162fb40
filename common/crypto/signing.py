"""Ed25519 signatures (RFC 8032) over labelled transcripts (side: library)."""

from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from common.crypto.digests import transcript
from common.crypto.keys import HiddenKey
from common.errors import AuthenticityError
from common.identifiers import PartyKey


class SigningKey(HiddenKey):
    """A private Ed25519 key: a party's identity, or the signing key of one enclave launch."""

    __slots__ = ("_private", "party")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.party = PartyKey.of(private.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> Self:
        """A fresh key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """The key with this 32-byte seed (RFC 8032 section 5.1.5); only key files and sealed state hold one."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def seed_for_sealing(self) -> bytes:
        """The 32-byte seed; the caller seals it, or writes it to its owner's key file, in the same expression."""
        return self._private.private_bytes_raw()

    def sign(self, label: bytes, *parts: bytes) -> bytes:
        """64 bytes over transcript(label, *parts)."""
        return self._private.sign(transcript(label, *parts))

    def sign_http(self, signature_base: bytes) -> bytes:
        """64 bytes over an RFC 9421 signature base, which brings its own separation (`tag`)."""
        return self._private.sign(signature_base)

    def sign_jws(self, signing_input: bytes) -> bytes:
        """64 bytes over a JWS signing input (RFC 7515), which no transcript can equal (`jws`)."""
        return self._private.sign(signing_input)


def verify_signature(party: PartyKey, signature: bytes, label: bytes, *parts: bytes) -> None:
    """Raise `AuthenticityError` unless `party` signed transcript(label, *parts)."""
    verify_raw(party, signature, transcript(label, *parts))


def verify_raw(party: PartyKey, signature: bytes, signed: bytes) -> None:
    """Raise `AuthenticityError` unless `party` signed these exact bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(party.raw()).verify(signature, signed)
    except (InvalidSignature, ValueError) as cause:
        raise AuthenticityError("authenticity.signature", expected=f"a signature by {party}") from cause
