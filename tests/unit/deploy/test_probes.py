import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deploy.embedded.probes import amqp_login, epmd_answers, http_ready, redis_ping


class _Service(HTTPServer):
    status = 200
    body = b""


class _Handler(BaseHTTPRequestHandler):
    server: _Service

    def do_GET(self) -> None:
        self.send_response(self.server.status if self.path == "/readyz" else 404)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[_Service]:
    with _Service(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"ready": True, "waiting_for": []}, ()),
        ({"ready": False, "waiting_for": ["witness", "registry"]}, ("witness", "registry")),
        ({"ready": False}, ("its /readyz",)),
        ({"ready": "true"}, ("its /readyz",)),
        ({}, ("its /readyz",)),
        ([], ("its /readyz",)),
        (None, ("its /readyz",)),
    ],
)
def test_readyz_is_believed_only_when_it_says_true(
    service: _Service, answer: object, expected: tuple[str, ...]
) -> None:
    service.body = json.dumps(answer).encode()
    assert http_ready(service.server_port)() == expected


def test_what_is_not_json_is_not_ready(service: _Service) -> None:
    service.body = b"<html>ready</html>"
    assert http_ready(service.server_port)() == ("its /readyz",)


def test_a_closed_port_is_not_ready(tmp_path: object) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        assert http_ready(port)() == ("its /readyz",)
        assert epmd_answers(port)() == ("its port",)
        assert amqp_login(f"amqp://a:b@127.0.0.1:{port}/x")() == ("an AMQP login",)
        assert redis_ping(f"redis://:b@127.0.0.1:{port}/0")() == ("a Redis PING",)


def test_a_port_that_is_open_and_mute_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.embedded.probes.TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        assert http_ready(port)() == ("its /readyz",)
        assert epmd_answers(port)() == ("its port",)
        assert amqp_login(f"amqp://a:b@127.0.0.1:{port}/x")() == ("an AMQP login",)
        assert redis_ping(f"redis://:b@127.0.0.1:{port}/0")() == ("a Redis PING",)


def test_another_program_on_epmds_port_is_not_epmd(service: _Service) -> None:
    assert epmd_answers(service.server_port)() == ("its port",)
