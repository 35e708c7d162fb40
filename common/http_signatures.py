"""HTTP message signatures (RFC 9421, Ed25519) with content digests (RFC 9530): pure rules, no I/O (side: library).

Every request covers the same components in the same order and carries the same parameters, so there is one form and
everything else is refused:

    Content-Digest: sha-256=:<base64>:
    Signature-Input: cloister=("@method" "@authority" "@path" "@query" "content-digest");created=<Unix seconds>;
                     nonce="<22 characters base64url>";keyid="<Ed25519 public key, hex>";alg="ed25519";tag="cloister"
    Signature: cloister=:<base64, 64 bytes>:

What a signature says: this party sent this method, address and body once, about now. The caller of `verify_request`
must still read the body and call `require_content`, refuse a nonce that it has seen, and know the party.
"""

import base64
import binascii
import hmac
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from common.crypto.digests import sha256_raw
from common.crypto.signing import SigningKey, verify_raw
from common.errors import AuthenticityError, FreshnessError
from common.identifiers import PartyKey

WINDOW_SECONDS: Final = 300
"""How far a request's time may be from the verifier's clock, either way."""

SIGNATURE_HEADERS: Final = ("content-digest", "signature-input", "signature")
"""By lower-case name, the three header fields that a signed request carries."""

_LABEL: Final = "cloister"
_COMPONENTS: Final = '("@method" "@authority" "@path" "@query" "content-digest")'
_PARAMETERS = re.compile(
    re.escape(_COMPONENTS)
    + r';created=(?P<created>[0-9]{1,12});nonce="(?P<nonce>[A-Za-z0-9_-]{22})"'
    + r';keyid="(?P<party>[0-9a-f]{64})";alg="ed25519";tag="cloister"'
)
_SIGNATURE = re.compile(rf"{_LABEL}=:(?P<signature>[A-Za-z0-9+/]{{86}}==):")
_DIGEST = re.compile(r"sha-256=:(?P<digest>[A-Za-z0-9+/]{43}=):")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Target:
    """Where a request goes: method, authority (host, and port unless it is the scheme's own), path, query with `?`."""

    method: str
    authority: str
    path: str
    query: str = "?"

    @classmethod
    def of(cls, method: str, url: str) -> "Target":
        """The target of an absolute URL (RFC 9421 sections 2.2.3, 2.2.6, 2.2.7)."""
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        host = f"[{host}]" if ":" in host else host
        port = "" if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
        return cls(method.upper(), host + port, parts.path or "/", f"?{parts.query}")


@dataclass(frozen=True)
class SignedRequest:
    """What a verified signature says. `content_digest` (32 bytes) is what the body must hash to."""

    party: PartyKey
    created: int
    nonce: str
    content_digest: bytes

    def require_content(self, body: bytes) -> None:
        """Raise `AuthenticityError` (authenticity.http_signature) unless this is the body that was signed."""
        if not hmac.compare_digest(sha256_raw(body), self.content_digest):
            raise AuthenticityError("authenticity.http_signature", expected="the body whose digest was signed")


def sign_request(
    key: SigningKey, method: str, url: str, body: bytes = b"", *, now: float | None = None
) -> dict[str, str]:
    """The three header fields for a request to this absolute URL."""
    created = int(time.time() if now is None else now)
    nonce = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
    digest = f"sha-256=:{base64.b64encode(sha256_raw(body)).decode()}:"
    parameters = f'{_COMPONENTS};created={created};nonce="{nonce}";keyid="{key.party}";alg="ed25519";tag="cloister"'
    signature = key.sign_http(_signature_base(Target.of(method, url), digest, parameters))
    return {
        "content-digest": digest,
        "signature-input": f"{_LABEL}={parameters}",
        "signature": f"{_LABEL}=:{base64.b64encode(signature).decode()}:",
    }


def verify_request(target: Target, headers: Mapping[str, str], now: float) -> SignedRequest:
    """Who signed this request: (1) one signature of our form, (2) made about now, (3) genuine.

    `headers` by lower-case name. Raises `AuthenticityError` (authenticity.http_signature) for 1 and 3,
    `FreshnessError` (freshness.request) for 2.
    """
    raw_input = headers.get("signature-input", "")
    label, _, parameters = raw_input.partition("=")
    match = _PARAMETERS.fullmatch(parameters)
    signature = _SIGNATURE.fullmatch(headers.get("signature", ""))
    digest = _DIGEST.fullmatch(headers.get("content-digest", ""))
    if label != _LABEL or match is None or signature is None or digest is None:  # (1)
        raise _unsigned("content-digest, signature-input and signature as documented (docs/formats.md)")
    created = int(match["created"])
    if abs(created - now) > WINDOW_SECONDS:  # (2)
        raise FreshnessError("freshness.request", expected=f"a time within {WINDOW_SECONDS} s of now", seen=created)
    party = PartyKey(match["party"])
    base = _signature_base(target, headers["content-digest"], parameters)
    try:
        verify_raw(party, _decode(signature["signature"]), base)  # (3)
    except AuthenticityError as cause:
        raise _unsigned("a genuine signature over method, address and content") from cause
    return SignedRequest(party, created, match["nonce"], _decode(digest["digest"]))


def _signature_base(target: Target, digest: str, parameters: str) -> bytes:
    # RFC 9421 section 2.5: one line for each component, then the parameters, no newline at the end
    return (
        f'"@method": {target.method}\n"@authority": {target.authority}\n"@path": {target.path}\n'
        f'"@query": {target.query}\n"content-digest": {digest}\n"@signature-params": {parameters}'
    ).encode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as cause:
        raise _unsigned("canonical base64") from cause


def _unsigned(expected: str) -> AuthenticityError:
    return AuthenticityError("authenticity.http_signature", expected=expected)
