"""HTTP signatures: one form, fresh, over method, address and body."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from common.crypto.signing import SigningKey
from common.errors import AuthenticityError, FreshnessError
from common.http_signatures import WINDOW_SECONDS, Target, sign_request, verify_request

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
