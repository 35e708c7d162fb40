"""HTTP signatures: one form, fresh, over method, address and body."""

import base64
import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from common.crypto.keys import SecretKey
from common.crypto.request_keys import RequestKey
from common.crypto.signing import SigningKey
from common.errors import AuthenticityError, FreshnessError
from common.http_signatures import WINDOW_SECONDS, Target, sign_request, verify_request
from common.identifiers import PartyKey, RequestKeyId

KEY = SigningKey.generate()
URL = "http://Example.org:8080/v1/jobs/job_1?after=3"
TARGET = Target("POST", "example.org:8080", "/v1/jobs/job_1", "?after=3")
NOW = 1_000_000.0


def signed(body: bytes = b"body") -> dict[str, str]:
    return sign_request(KEY, "post", URL, body, now=NOW)


def test_a_signed_request_is_verified() -> None:
    request = verify_request(TARGET, signed(), NOW)
    assert (request.party, request.created) == (KEY.party, int(NOW))
    request.require_content(b"body")
    assert verify_request(TARGET, signed(), NOW).nonce != request.nonce


def test_the_signature_base_is_that_of_rfc_9421() -> None:
    headers = signed()
    parameters = headers["signature-input"].removeprefix("cloister=")
    base = "\n".join(
        (
            '"@method": POST',
            '"@authority": example.org:8080',
            '"@path": /v1/jobs/job_1',
            '"@query": ?after=3',
            f'"content-digest": {headers["content-digest"]}',
            f'"@signature-params": {parameters}',
        )
    )
    signature = base64.b64decode(headers["signature"].removeprefix("cloister=:").removesuffix(":"))
    Ed25519PublicKey.from_public_bytes(KEY.party.raw()).verify(signature, base.encode())


def test_the_content_digest_is_that_of_rfc_9530() -> None:
    # RFC 9530 appendix B.1 gives the digest of this content
    headers = sign_request(KEY, "PUT", URL, b'{"hello": "world"}\n', now=NOW)
    assert headers["content-digest"] == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a.example", Target("GET", "a.example", "/", "?")),
        ("http://a.example:80/x", Target("GET", "a.example", "/x", "?")),
        ("https://a.example:443/x?", Target("GET", "a.example", "/x", "?")),
        ("https://a.example:80/x%2Fy?a=%20b", Target("GET", "a.example:80", "/x%2Fy", "?a=%20b")),
        ("http://[::1]:9/x", Target("GET", "[::1]:9", "/x", "?")),
    ],
)
def test_targets(url: str, expected: Target) -> None:
    assert Target.of("GET", url) == expected


@pytest.mark.parametrize(
    "target",
    [
        Target("PUT", TARGET.authority, TARGET.path, TARGET.query),
        Target(TARGET.method, "other.example", TARGET.path, TARGET.query),
        Target(TARGET.method, TARGET.authority, "/v1/jobs/job_2", TARGET.query),
        Target(TARGET.method, TARGET.authority, TARGET.path, "?after=4"),
    ],
    ids=["method", "authority", "path", "query"],
)
def test_a_signature_is_for_one_target(target: Target) -> None:
    with pytest.raises(AuthenticityError, match="authenticity.http_signature"):
        verify_request(target, signed(), NOW)


def test_another_body_is_refused() -> None:
    request = verify_request(TARGET, signed(), NOW)
    with pytest.raises(AuthenticityError, match="authenticity.http_signature"):
        request.require_content(b"Body")


@pytest.mark.parametrize("offset", [-WINDOW_SECONDS - 1, WINDOW_SECONDS + 1])
def test_a_stale_or_early_request_is_refused(offset: float) -> None:
    with pytest.raises(FreshnessError, match="freshness.request"):
        verify_request(TARGET, signed(), NOW + offset)


def swap(name: str, old: str, new: str) -> dict[str, str]:
    headers = signed()
    assert old in headers[name]
    return headers | {name: headers[name].replace(old, new, 1)}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {name: text for name, text in signed().items() if name != "signature"},
        {name: text for name, text in signed().items() if name != "content-digest"},
        swap("signature-input", '"@path" ', ""),
        swap("signature-input", '"@method" "@authority"', '"@authority" "@method"'),
        swap("signature-input", ';tag="cloister"', ""),
        swap("signature-input", 'tag="cloister"', 'tag="other"'),
        swap("signature-input", "ed25519", "hmac-sha256"),
        swap("signature-input", "created=1000000", "created=1000001"),
        swap("signature-input", "cloister=(", "other=("),
        swap("signature-input", KEY.party, SigningKey.generate().party),
        swap("content-digest", "sha-256", "sha-512"),
        signed() | {"signature": signed()["signature"]},
        signed() | {"signature": signed()["signature"] + ", x=:AAAA:"},
        signed() | {"signature-input": signed()["signature-input"] + ", cloister=()"},
    ],
)
def test_any_other_form_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(AuthenticityError, match="authenticity.http_signature"):
        verify_request(TARGET, headers, NOW)


RAW = bytes(range(32))
REQUEST_KEY = RequestKey(RequestKeyId.new(), SecretKey(RAW))


class OneKey:
    """A server with one party's request key, and what it was asked to look up."""

    def __init__(self, key: RequestKey = REQUEST_KEY) -> None:
        self.key, self.looked_up = key, list[str]()

    def verify(self, name: str, mac: bytes, signature_base: bytes, now: float) -> PartyKey:
        self.looked_up.append(name)
        assert now == NOW
        if name != self.key.name:
            raise AuthenticityError("authenticity.request_key")
        self.key.verify_http(mac, signature_base)
        return KEY.party


def keyed(body: bytes = b"body", key: RequestKey = REQUEST_KEY) -> dict[str, str]:
    return sign_request(key, "post", URL, body, now=NOW)


def test_a_request_key_stands_for_its_party() -> None:
    request = verify_request(TARGET, keyed(), NOW, OneKey())
    assert (request.party, request.created) == (KEY.party, int(NOW))
    request.require_content(b"body")
    with pytest.raises(AuthenticityError, match=r"authenticity\.http_signature"):
        request.require_content(b"Body")


def test_its_signature_is_hmac_sha256_of_the_base_of_rfc_9421() -> None:
    headers = keyed()
    parameters = headers["signature-input"].removeprefix("cloister=")
    assert f';keyid="{REQUEST_KEY.name}";alg="hmac-sha256";' in parameters
    base = (
        '"@method": POST\n"@authority": example.org:8080\n"@path": /v1/jobs/job_1\n"@query": ?after=3\n'
        f'"content-digest": {headers["content-digest"]}\n"@signature-params": {parameters}'
    )
    mac = base64.b64encode(hmac.new(RAW, base.encode(), hashlib.sha256).digest()).decode()
    assert headers["signature"] == f"cloister=:{mac}:"


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_it_is_for_one_target(method: str) -> None:
    target = Target(method, TARGET.authority, TARGET.path, TARGET.query)
    with pytest.raises(AuthenticityError, match=r"authenticity\.http_signature"):
        verify_request(target, keyed(), NOW, OneKey())


def test_an_identity_signs_where_request_keys_are_taken_too() -> None:
    keys = OneKey()
    assert verify_request(TARGET, signed(), NOW, keys).party == KEY.party
    assert keys.looked_up == []


def test_a_request_key_is_nothing_where_none_are_taken() -> None:
    with pytest.raises(AuthenticityError, match=r"authenticity\.http_signature"):
        verify_request(TARGET, keyed(), NOW)


def test_another_request_key_is_unknown_or_makes_another_signature() -> None:
    with pytest.raises(AuthenticityError, match=r"authenticity\.request_key"):
        verify_request(TARGET, keyed(key=RequestKey(RequestKeyId.new(), SecretKey(RAW))), NOW, OneKey())
    with pytest.raises(AuthenticityError, match=r"authenticity\.http_signature"):
        verify_request(TARGET, keyed(key=RequestKey(REQUEST_KEY.name, SecretKey(bytes(32)))), NOW, OneKey())


@pytest.mark.parametrize("offset", [-WINDOW_SECONDS - 1, WINDOW_SECONDS + 1])
def test_a_stale_or_early_keyed_request_is_refused_unseen(offset: float) -> None:
    keys = OneKey()
    with pytest.raises(FreshnessError, match=r"freshness\.request"):
        verify_request(TARGET, keyed(), NOW + offset, keys)
    assert keys.looked_up == []


class _Named(RequestKey):
    """What an attacker makes: any text as the name of a key of his own choosing."""

    def __init__(self, name: str, raw: bytes) -> None:
        super().__init__(RequestKeyId.new(), SecretKey(raw))
        self.name = name  # type: ignore[assignment]  # it is no name of ours


def _confused() -> dict[str, dict[str, str]]:
    """Algorithms taken for one another, each with the signature that the confused verifier would want."""
    public = _Named(KEY.party, KEY.party.raw())  # the public key as the secret of an HMAC
    by_public = sign_request(public, "post", URL, b"body", now=NOW)
    told_ed25519 = {**by_public, "signature-input": by_public["signature-input"].replace("hmac-sha256", "ed25519")}
    named = keyed()["signature-input"]
    as_ed25519 = {**signed(), "signature-input": named.replace("hmac-sha256", "ed25519")}
    return {
        "public key as HMAC secret": by_public,
        "public key as HMAC secret, called ed25519": told_ed25519,
        "name of a secret key, called ed25519": as_ed25519,
        "name of a secret key, called ed25519, its MAC": {**keyed(), "signature-input": as_ed25519["signature-input"]},
        "MAC under an identity's form": {**signed(), "signature": keyed()["signature"]},
        "identity's signature under a key's form": {**keyed(), "signature": signed()["signature"]},
        "party called hmac-sha256": swap("signature-input", "ed25519", "hmac-sha256"),
        "no algorithm": {**keyed(), "signature-input": named.replace(';alg="hmac-sha256"', "")},
        "another MAC": {**keyed(), "signature-input": named.replace("hmac-sha256", "hmac-sha512")},
        "both": {**keyed(), "signature-input": named.replace(";alg", f';keyid="{KEY.party}";alg')},
    }


@pytest.mark.parametrize("headers", _confused().values(), ids=_confused())
@pytest.mark.parametrize("keys", [None, OneKey()], ids=["identities alone", "request keys too"])
def test_algorithms_are_not_confused(headers: dict[str, str], keys: OneKey | None) -> None:
    with pytest.raises(AuthenticityError, match=r"authenticity\.http_signature"):
        verify_request(TARGET, headers, NOW, keys)
    assert keys is None or keys.looked_up == []
