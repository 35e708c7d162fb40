"""Every route of every service refuses the same bad requests in the same documented way.

Routes come from the services' own OpenAPI documents, so that a new one is covered as soon as it is there. What a route
says about good requests stands in its own tests; what it says to drawn ones, in `test_http_fuzzed`.
"""

import time
from collections.abc import Iterator, MutableMapping
from typing import Any, Final

import httpx
import pytest

from common.errors import Refusal
from common.http_signatures import WINDOW_SECONDS, sign_request
from common.messages.service import RefusalBody
from common.untrusted.broker_client import reply_of
from deploy.embedded.stack import EmbeddedStack
from tests.fakes import http_services
from tests.fakes.http_services import BASE, HttpService
from tests.security.http_operations import Operation, operations_of, other_methods

LARGE: Final = 64 << 20
PIECE: Final = 1 << 16
SLACK: Final = 4 << 20
"""More than any body may have, but for a query's of the largest model."""


@pytest.fixture(scope="module", params=http_services.SERVICES)
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, broker_stack: EmbeddedStack
) -> Iterator[HttpService]:
    with http_services.SERVICES[request.param](tmp_path_factory.mktemp(request.param), broker_stack) as one:
        yield one


def told(answer: httpx.Response) -> tuple[int, str]:
    """Status and public code of a refusal; the key broker's own stand inside its signed replies."""
    if answer.is_success:
        with pytest.raises(Refusal) as inside:
            reply_of(answer.content)
        return inside.value.http_status, inside.value.code
    return answer.status_code, RefusalBody.decode(answer.content).code


def with_bodies(service: HttpService) -> list[Operation]:
    return [one for one in operations_of(service) if one.content]


def signed(service: HttpService) -> list[Operation]:
    return [one for one in operations_of(service) if service.wants_signature(one.path)]


def test_every_route_says_what_it_answers(service: HttpService) -> None:
    for path, methods in service.app.openapi()["paths"].items():
        for method, operation in methods.items():
            good = operation["responses"].get("200", {})
            assert "204" in operation["responses"] or good.get("content"), f"{method} {path}"
            assert method in {"get", "delete"} or "requestBody" in operation or path.endswith("/complete"), path


def test_a_body_that_is_too_large(service: HttpService) -> None:
    for one in with_bodies(service):
        assert told(service.send(one.method, one.url, bytes(SLACK))) == (413, "format.too_large"), one


def test_a_body_without_end_is_not_read_to_its_end(service: HttpService) -> None:
    """By an application that reads as the network gives; nothing states how long it is."""
    for one in operations_of(service):
        source = Endless(service, one)
        assert service.http.portal is not None
        service.http.portal.call(service.app, source.scope, source.receive, source.send)
        assert source.taken <= SLACK, one
        assert not one.content or source.status == 413, one


def test_a_body_of_another_kind(service: HttpService) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json"):
        for one in with_bodies(service):
            answer = service.send(one.method, one.url, b"{}", {"content-type": kind})
            assert told(answer) == (415, "format.media_type"), one


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"null", b'"', b"[" * 50_000, b"\xff\xfe", b'{"type":"\\ud800"}', b"1e999", b"{}" * 2]
)
def test_a_body_that_is_no_message(service: HttpService, body: bytes) -> None:
    for one in with_bodies(service):
        if one.takes_json:
            assert told(service.send(one.method, one.url, body)) == (400, "format.message"), one


def test_another_method(service: HttpService) -> None:
    for method, url in other_methods(service):
        assert told(service.send(method, url)) == (405, "format.message"), (method, url)


def test_another_path(service: HttpService) -> None:
    for one in operations_of(service):
        path = one.url.partition("?")[0]
        for other in (path + "/more/more", path + "/..%2f..%2fetc/passwd", "/v1" + path, "/docs", "/openapi.json"):
            assert told(service.send("GET", other)) == (404, "not_found.path"), other


def test_parameters_that_are_none(service: HttpService) -> None:
    """A path's are refused before anything is looked up; a query's too."""
    strange = ("%00", "-1", "1e3", "0x1", "%F0%9F%98%80", "..", "a" * 3000, "%2e%2e", "1" * 400, "%D9%A1")
    for one in operations_of(service):
        for name in [part[1:-1] for part in one.path.split("/") if part.startswith("{")]:
            for text in strange:
                url = one.url.replace(service.known.get(name, (name,))[0], text)
                if url != one.url and text not in {"..", "%2e%2e"}:
                    status, code = told(service.send(one.method, url))
                    assert (status, code.split(".")[0]) in {(400, "format"), (404, "not_found")}, url


def test_a_request_that_nobody_signed(service: HttpService) -> None:
    for one in signed(service):
        assert told(service.send_unsigned(one.method, one.url)) == (403, "authenticity.http_signature"), one


@pytest.mark.parametrize("seconds", [-WINDOW_SECONDS - 2, WINDOW_SECONDS + 2, -(10**9), 10**9])
def test_a_request_of_another_time(service: HttpService, seconds: int) -> None:
    for one in signed(service):
        headers = sign_request(service.key, one.method, BASE + one.url, now=time.time() + seconds)
        assert told(service.send_unsigned(one.method, one.url, headers=headers)) == (409, "freshness.request"), one


def test_a_request_twice_and_one_for_another_route(service: HttpService) -> None:
    routes = signed(service)
    for one, other in zip(routes, [*routes[1:], *routes[:1]], strict=True):
        headers = sign_request(service.key, "PATCH", BASE + one.url)
        assert told(service.send_unsigned("PATCH", one.url, headers=headers)) == (405, "format.message")
        for target in (one, other):
            assert told(service.send_unsigned(target.method, target.url, headers=headers))[0] == 403, target
        headers = sign_request(service.key, one.method, BASE + one.url, b"{")
        first = service.send_unsigned(one.method, one.url, b"{", headers)
        assert first.status_code != 409 or RefusalBody.decode(first.content).code != "freshness.request"
        again = service.send_unsigned(one.method, one.url, b"{", headers)
        assert told(again) == (409, "freshness.request"), one


class Endless:
    """A request whose body comes in pieces for as long as somebody takes them."""

    def __init__(self, service: HttpService, operation: Operation) -> None:
        path, _, query = operation.url.partition("?")
        headers = sign_request(service.key, operation.method, BASE + operation.url) | {"host": "testserver"}
        self.taken, self.status = 0, 0
        self.scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": operation.method,
            "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1), "server": ("testserver", 80),
        }  # fmt: skip

    async def receive(self) -> dict[str, Any]:
        self.taken += PIECE
        return {"type": "http.request", "body": bytes(PIECE), "more_body": self.taken < LARGE}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.status = message.get("status", self.status)
