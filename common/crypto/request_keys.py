"""Keys by which a query front knows again who has signed to it before (side: library).

Both sides bring a fresh X25519 share (RFC 7748); the party's travels in a request that it signs, the front's in the
answer. The key is HKDF-SHA-256 over what the shares have in common (RFC 7748, section 6.1), with both shares and the
party in its info, so neither the key nor what it is made of is ever on the wire. It makes and checks HMAC-SHA-256 over
HTTP signature bases (RFC 9421, section 3.3.3) and nothing else. Who sits between the two can hand the party a share of
his own; then the two sides have different keys, and the front takes neither's requests.

What it protects is accounting and availability: a front is an untrusted relay, and queries are sealed beneath it.
"""

import hmac
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from common.crypto.keys import HiddenKey, SecretKey
from common.crypto.labels import REQUEST_KEY
from common.errors import AuthenticityError, FormatError
from common.identifiers import PartyKey, RequestKeyId

SHARE_BYTES: Final = 32
"""A public X25519 value (RFC 7748, section 5)."""

MAC_BYTES: Final = 32
"""HMAC-SHA-256 (RFC 9421, section 3.3.3: not truncated)."""


class RequestKey(HiddenKey):
    """One party's key at one front, under the name that the front gave it."""

    __slots__ = ("_raw", "name")

    def __init__(self, name: RequestKeyId, key: SecretKey) -> None:
        self.name, self._raw = name, key._raw  # noqa: SLF001 - one of our own

    def sign_http(self, signature_base: bytes) -> bytes:
        """The `MAC_BYTES` of an RFC 9421 signature base, which brings its own separation (`tag`)."""
        return hmac.digest(self._raw, signature_base, "sha256")

    def verify_http(self, mac: bytes, signature_base: bytes) -> None:
        """Raise `AuthenticityError` (authenticity.http_signature) unless this key made it of these exact bytes."""
        if not hmac.compare_digest(self.sign_http(signature_base), mac):
            raise AuthenticityError("authenticity.http_signature", expected=f"made by {self.name}")


class RequestKeyShare(HiddenKey):
    """One side's part of one request key; it is used once."""

    __slots__ = ("_private", "public")

    def __init__(self, private: X25519PrivateKey) -> None:
        self._private, self.public = private, private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> Self:
        """A fresh one."""
        return cls(X25519PrivateKey.generate())

    def agree_as_party(self, front: bytes, party: PartyKey, name: RequestKeyId) -> RequestKey:
        """The key that `party`, whose share this is, has with the front that answered by the share `front`.

        Raises `FormatError` (format.message) for what is no share, or one of low order.
        """
        return RequestKey(name, self._shared(front).derive(REQUEST_KEY, self.public, front, party.raw()))

    def agree_as_front(self, offered: bytes, party: PartyKey, name: RequestKeyId) -> RequestKey:
        """The key that this front has with `party`, which has `offered` its share. Raises as `agree_as_party`."""
        return RequestKey(name, self._shared(offered).derive(REQUEST_KEY, offered, self.public, party.raw()))

    def _shared(self, other: bytes) -> SecretKey:
        try:
            return SecretKey(self._private.exchange(X25519PublicKey.from_public_bytes(other)))
        except ValueError as cause:  # of another length; or all zeros come of it (RFC 7748, section 6.1)
            raise FormatError("format.message", expected=f"an X25519 share of {SHARE_BYTES} bytes") from cause
