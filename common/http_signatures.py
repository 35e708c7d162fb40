"""HTTP message signatures (RFC 9421) with content digests (RFC 9530): pure rules, no I/O (side: library).

Every request covers the same components in the same order and carries the same parameters, so there is one form and
everything else is refused:

    Content-Digest: sha-256=:<base64>:
    Signature-Input: cloister=("@method" "@authority" "@path" "@query" "content-digest");created=<Unix seconds>;
                     nonce="<22 characters base64url>";keyid="<Ed25519 public key, hex>";alg="ed25519";tag="cloister"
    Signature: cloister=:<base64, 64 bytes>:

A party that has a request key with the server (common/crypto/request_keys) signs with that in its place: keyid is the
key's name, alg is "hmac-sha256" (RFC 9421, section 3.3.3), the signature has 32 bytes. What kind of key is meant is
written in the form of its keyid, and `alg` must say the same: a public key is never looked up among secret ones, nor a
secret one taken for public. Who verifies says which request keys there are; by default there are none.

What a signature says: this party sent this method, address and body once, about now. The caller of `verify_request`
must still read the body and call `require_content`, refuse a nonce that it has seen, and know the party.
"""

import base64
import binascii
import functools
import hmac
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlsplit

from common.crypto.digests import sha256_raw
from common.crypto.request_keys import RequestKey
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
    + r';created=(?P<created>[0-9]{1,12});nonce="(?P<nonce>[A-Za-z0-9_-]{22})";keyid="'
    + r'(?:(?P<party>[0-9a-f]{64})";alg="ed25519"|(?P<name>request_[0-9a-f]{32})";alg="hmac-sha256")'
    + r';tag="cloister"'
)
_SIGNATURE = re.compile(rf"{_LABEL}=:(?P<signature>[A-Za-z0-9+/]{{86}}==):")
_MAC = re.compile(rf"{_LABEL}=:(?P<signature>[A-Za-z0-9+/]{{43}}=):")
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
        return cls(method.upper(), *_place(url))


@functools.lru_cache(maxsize=256)
def _place(url: str) -> tuple[str, str, str]:
    """Authority, path, query. A session asks at one address again and again."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    return host + port, parts.path or "/", f"?{parts.query}"


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


class RequestKeys(Protocol):
    """The request keys that a server has with parties."""

    def verify(self, name: str, mac: bytes, signature_base: bytes, now: float) -> PartyKey:
        """Whose key of this name, of the form of a `RequestKeyId`, has made this `mac`, which is one use of it.

        Raises `AuthenticityError`: authenticity.request_key where there is no such key, or no more,
        authenticity.http_signature where it made another.
        """
        ...


def sign_request(
    key: SigningKey | RequestKey, method: str, url: str, body: bytes = b"", *, now: float | None = None
) -> dict[str, str]:
    """The three header fields for a request to this absolute URL."""
    created = int(time.time() if now is None else now)
    nonce = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
    digest = f"sha-256=:{base64.b64encode(sha256_raw(body)).decode()}:"
    name, algorithm = (key.name, "hmac-sha256") if isinstance(key, RequestKey) else (key.party, "ed25519")
    parameters = f'{_COMPONENTS};created={created};nonce="{nonce}";keyid="{name}";alg="{algorithm}";tag="cloister"'
    signature = key.sign_http(_signature_base(Target.of(method, url), digest, parameters))
    return {
        "content-digest": digest,
        "signature-input": f"{_LABEL}={parameters}",
        "signature": f"{_LABEL}=:{base64.b64encode(signature).decode()}:",
    }


def verify_request(
    target: Target, headers: Mapping[str, str], now: float, keys: RequestKeys | None = None
) -> SignedRequest:
    """Who signed this request: (1) one signature of our form, (2) made about now, (3) genuine.

    `headers` by lower-case name. `keys`: the request keys that are good here; without them an identity's key alone is.
    Raises `AuthenticityError` (authenticity.http_signature) for 1 and 3, `FreshnessError` (freshness.request) for 2,
    and for 3 `AuthenticityError` (authenticity.request_key), too, where a request key is not there (any more).
    """
    raw_input = headers.get("signature-input", "")
    label, _, parameters = raw_input.partition("=")
    match = _PARAMETERS.fullmatch(parameters)
    digest = _DIGEST.fullmatch(headers.get("content-digest", ""))
    is_keyed = match is not None and match["name"] is not None
    signature = (_MAC if is_keyed else _SIGNATURE).fullmatch(headers.get("signature", ""))
    if label != _LABEL or match is None or signature is None or digest is None or (is_keyed and keys is None):  # (1)
        raise _unsigned("content-digest, signature-input and signature as documented (docs/formats.md)")
    created = int(match["created"])
    if abs(created - now) > WINDOW_SECONDS:  # (2)
        raise FreshnessError("freshness.request", expected=f"a time within {WINDOW_SECONDS} s of now", seen=created)
    base = _signature_base(target, headers["content-digest"], parameters)
    if keys is not None and is_keyed:
        party = keys.verify(match["name"], _decode(signature["signature"]), base, now)  # (3)
    else:
        party = _signer(PartyKey(match["party"]), _decode(signature["signature"]), base)  # (3)
    return SignedRequest(party, created, match["nonce"], _decode(digest["digest"]))


def _signer(party: PartyKey, signature: bytes, base: bytes) -> PartyKey:
    try:
        verify_raw(party, signature, base)
    except AuthenticityError as cause:
        raise _unsigned("a genuine signature over method, address and content") from cause
    return party


def _signature_base(target: Target, digest: str, parameters: str) -> bytes:
    # RFC 9421 section 2.5: one line for each component, then the parameters, no newline at the end
    return (
        f'"@method": {target.method}\n"@authority": {target.authority}\n"@path": {target.path}\n'
        f'"@query": {target.query}\n"content-digest": {digest}\n"@signature-params": {parameters}'
    ).encode()


def _decode(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as cause:
        raise _unsigned("canonical base64") from cause


def _unsigned(expected: str) -> AuthenticityError:
    return AuthenticityError("authenticity.http_signature", expected=expected)
