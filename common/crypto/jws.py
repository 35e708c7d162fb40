"""Compact JWS with Ed25519, and the public key as a JWK (side: library).

Sources: RFC 7515 (compact serialisation), RFC 8037 (`alg` EdDSA, `kty` OKP), RFC 7638 (thumbprint, the `kid` here).
What is signed begins with `eyJ`, the base64url of `{"`; a transcript begins with a length whose first byte is zero. So
no signature of one kind passes for the other, even under one key.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from common.crypto.digests import sha256_raw
from common.crypto.signing import SigningKey
from common.identifiers import PartyKey

ALGORITHM: Final = "EdDSA"


def base64url(raw: bytes) -> str:
    """Without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def public_jwk(key: PartyKey) -> dict[str, str]:
    """The members that make the key, as its thumbprint orders them."""
    return {"crv": "Ed25519", "kty": "OKP", "x": base64url(key.raw())}


def thumbprint(key: PartyKey) -> str:
    """SHA-256 over those members, in base64url."""
    return base64url(sha256_raw(_compact(public_jwk(key))))


def sign_compact(claims: Mapping[str, Any], key: SigningKey, *, kind: str) -> str:
    """A JWT. `kind` is its media type without `application/` (header `typ`)."""
    header = {"alg": ALGORITHM, "kid": thumbprint(key.party), "typ": kind}
    signed = f"{base64url(_compact(header))}.{base64url(_compact(claims))}"
    return f"{signed}.{base64url(key.sign_jws(signed.encode()))}"


def _compact(members: Mapping[str, Any]) -> bytes:
    return json.dumps(members, separators=(",", ":")).encode()
