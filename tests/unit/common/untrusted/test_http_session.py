"""One answer, bounded in bytes and time, from whoever listens; nothing is followed, repeated or decompressed."""

import gzip
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from common.untrusted.http_session import HttpFailure, HttpOversizeError, HttpSession

BODY = bytes(range(256)) * 8
ASKED: list[str] = []


class _Server(BaseHTTPRequestHandler):
    """Misbehaves by path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        ASKED.append(self.path)
        if self.path == "/broken":
            return  # no answer, and the connection ends
        body, drip = {"/drip": (BODY[:20], 0.05), "/packed": (gzip.compress(BODY), 0.0)}.get(self.path, (BODY, 0.0))
        self.send_response({"/moved": 302, "/made": 201}.get(self.path, 200))
        self.send_header("location", "/elsewhere")
        if self.path == "/packed":
            self.send_header("content-encoding", "gzip")
        self.send_header("content-length", str(len(body) + (9 if self.path == "/short" else 0)))
        self.end_headers()
        for at in range(len(body) if drip else 0):
            self.wfile.write(body[at : at + 1])
            time.sleep(drip)
        if not drip:
            self.wfile.write(body)
        self.close_connection = self.path == "/short"

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The server on a free port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def session() -> Iterator[HttpSession]:
    """One that waits for nobody long."""
    session = HttpSession(connect_seconds=2.0, silence_seconds=5.0)
    yield session
    session.close()


def test_a_whole_answer_comes_back_whatever_its_status(session: HttpSession, address: str) -> None:
    made = session.request("GET", f"{address}/made")
    assert (made.status, made.is_success, made.body) == (201, True, BODY)
    moved = session.request("GET", f"{address}/moved")
    assert (moved.status, moved.is_success, moved.headers["Location"]) == (302, False, "/elsewhere")
    assert "/elsewhere" not in ASKED


def test_what_is_packed_stays_as_it_came(session: HttpSession, address: str) -> None:
    assert session.request("GET", f"{address}/packed").body == gzip.compress(BODY)


def test_what_is_too_large_or_too_slow_is_left(session: HttpSession, address: str) -> None:
    assert session.request("GET", f"{address}/all", max_bytes=len(BODY)).body == BODY
    with pytest.raises(HttpOversizeError):
        session.request("GET", f"{address}/all", max_bytes=len(BODY) - 1)
    begun = time.monotonic()
    with pytest.raises(HttpOversizeError):
        session.request("GET", f"{address}/drip", until=begun + 0.2)
    assert time.monotonic() - begun < 0.9, "not until the last byte"
    assert session.request("GET", f"{address}/all").body == BODY, "the connection that was left is not used again"


@pytest.mark.parametrize("path", ["/broken", "/short"])
def test_a_broken_answer_is_a_failure_and_is_not_asked_for_again(session: HttpSession, address: str, path: str) -> None:
    ASKED.clear()
    with pytest.raises(HttpFailure):
        session.request("POST", address + path, b"once")
    assert [path] == ASKED


def test_no_proxy_of_the_environment_is_asked(
    session: HttpSession, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert HttpSession(connect_seconds=2.0, silence_seconds=5.0).request("GET", address).status == 200
    with pytest.raises(HttpFailure):
        session.request("GET", "http://127.0.0.1:9")
