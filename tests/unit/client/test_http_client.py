"""Requests carry a signature that the server's rules accept, and its refusals come back as our errors."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from client.http_client import ServiceClient
from common.crypto import SigningKey
from common.errors import QuotaError, UnavailableError
from common.http_signatures import SignedRequest, Target, verify_request

SEEN: list[tuple[SignedRequest, bytes]] = []


class _Service(BaseHTTPRequestHandler):
    """Verifies what it gets like a service does, and answers by path."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        target = Target.of("POST", f"http://{self.headers['host']}{self.path}")
        signed = verify_request(target, headers, now=float(headers["x-now"]) if "x-now" in headers else _now())
        signed.require_content(body)
        SEEN.append((signed, body))
        self._answer(200, b"done")

    def do_GET(self) -> None:
        status, body = {
            "/quota": (413, b'{"code":"quota.bytes","mender":"operator","mend":"..."}'),
            "/prose": (500, b"<html>oops</html>"),
            "/moved": (302, b""),
        }[self.path]
        self._answer(status, body)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("location", "/elsewhere")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def _now() -> float:
    import time

    return time.time()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A small service on a free port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Service)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_request_is_signed_by_its_party_over_its_body(address: str) -> None:
    key = SigningKey.generate()
    assert ServiceClient(address, key).post("/v1/things?after=3", b"body") == b"done"
    signed, body = SEEN[-1]
    assert (signed.party, body) == (key.party, b"body")


def test_a_services_refusal_is_raised_as_what_it_is(address: str) -> None:
    with pytest.raises(QuotaError, match="quota.bytes"):
        ServiceClient(address).get("/quota")


@pytest.mark.parametrize("path", ["/prose", "/moved"])
def test_anything_undocumented_is_unavailable(address: str, path: str) -> None:
    with pytest.raises(UnavailableError, match="unavailable.service"):
        ServiceClient(address).get(path)


def test_nobody_there_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match="unavailable.service"):
        ServiceClient("http://127.0.0.1:9").get("/")
