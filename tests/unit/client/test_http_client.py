"""Requests carry a signature that the server's rules accept, and its refusals come back as our errors."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from client.http_client import PATIENT_TIMES, ServiceClient
from common.crypto import SigningKey
from common.errors import QuotaError, UnavailableError
from common.http_signatures import SignedRequest, Target, verify_request

BUSY: list[SignedRequest] = []
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
        if self.path == "/busy":
            self._answer_at_last()
            return
        status, body = {
            "/flood": (429, b'{"code":"quota.requests","mender":"sender","mend":"..."}'),
            "/quota": (413, b'{"code":"quota.bytes","mender":"operator","mend":"..."}'),
            "/prose": (500, b"<html>oops</html>"),
            "/moved": (302, b""),
        }[self.path]
        self._answer(status, body)

    def _answer_at_last(self) -> None:
        """The third of three requests, each signed anew, is answered."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        target = Target.of("GET", f"http://{self.headers['host']}{self.path}")
        BUSY.append(verify_request(target, headers, now=_now()))
        self._answer(*((200, b"done") if len(BUSY) == 3 else (429, b"{}")))

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("location", "/elsewhere")
        self.send_header("retry-after", "3600")
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


def test_what_is_over_quota_is_sent_again_after_a_while(address: str) -> None:
    waited: list[float] = []
    client = ServiceClient(address, SigningKey.generate(), pause=waited.append)
    assert client.get("/busy") == b"done"
    assert len({request.nonce for request in BUSY}) == 3
    assert waited == [5, 5]  # the service asked for an hour
    with pytest.raises(QuotaError, match="quota.requests"):
        client.get("/flood")
    assert len(waited) == 2 + PATIENT_TIMES - 1


@pytest.mark.parametrize("path", ["/prose", "/moved"])
def test_anything_undocumented_is_unavailable(address: str, path: str) -> None:
    with pytest.raises(UnavailableError, match="unavailable.service"):
        ServiceClient(address).get(path)


def test_nobody_there_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match="unavailable.service"):
        ServiceClient("http://127.0.0.1:9").get("/")
