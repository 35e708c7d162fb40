"""A reader of JWTs that shares no code with what makes them: `base64`, `json` and `cryptography` alone (side: library).

It stands for any relying party: key set in, claims out, or `JwtError`. Steps: RFC 7515 section 5.2, RFC 7519 section
7.2, RFC 8037 section 3.1.
"""

import base64
import binascii
import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class JwtError(Exception):
    """Not a token of this key set, or not valid now."""


def read_jwt(token: str, key_set: dict[str, Any], at: int) -> dict[str, Any]:
    """The claims of a token that a key of the set signed and that is valid at `at`."""
    parts = token.split(".")
    if len(parts) != 3:
        raise JwtError("three parts")
    header = _object(parts[0])
    if header.get("alg") != "EdDSA" or "crit" in header:
        raise JwtError("algorithm")
    keys = [key for key in key_set["keys"] if key["kid"] == header.get("kid")]
    if len(keys) != 1 or (keys[0]["kty"], keys[0]["crv"]) != ("OKP", "Ed25519"):
        raise JwtError("key")
    try:
        public = Ed25519PublicKey.from_public_bytes(_bytes(keys[0]["x"]))
        public.verify(_bytes(parts[2]), f"{parts[0]}.{parts[1]}".encode())
    except InvalidSignature as cause:
        raise JwtError("signature") from cause
    claims = _object(parts[1])
    if not claims["iat"] <= at < claims["exp"]:
        raise JwtError("time")
    return claims


def _object(part: str) -> dict[str, Any]:
    try:
        found = json.loads(_bytes(part))
    except ValueError as cause:
        raise JwtError("JSON") from cause
    if not isinstance(found, dict):
        raise JwtError("an object")
    return found


def _bytes(text: str) -> bytes:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as cause:
        raise JwtError("base64url") from cause
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != text.encode():
        raise JwtError("one encoding only")
    return raw
