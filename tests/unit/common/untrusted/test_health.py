"""/healthz and /readyz: names of what is missing, and nothing else. /carried, /metrics: for this machine alone."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.testclient import TestClient

from common.errors import UnavailableError
from common.messages.service import RefusalBody
from common.untrusted.carried import ByteCount, is_this_machine
from common.untrusted.health import HealthServer, Readiness
from common.untrusted.http_health import count_bodies, health_router
from common.untrusted.http_refusals import answer_refusals


class Parts:
    rabbitmq, broken = False, False

    def check_broken(self) -> bool:
        if self.broken:
            raise RuntimeError("amqp://user:password@host")
        return True


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def readiness(parts: Parts) -> Readiness:
    return Readiness({"rabbitmq": lambda: parts.rabbitmq, "redis": parts.check_broken})


@pytest.fixture
def server(readiness: Readiness) -> Iterator[HealthServer]:
    counted = ByteCount()
    counted.add(7)
    server = HealthServer(0, readiness, carried={"rabbitmq": counted})
    yield server
    server.stop()


def get(server: HealthServer, path: str) -> tuple[int, object]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_the_server_names_what_it_waits_for(server: HealthServer, parts: Parts) -> None:
    assert get(server, "/healthz") == (200, {"alive": True})
    assert get(server, "/readyz") == (503, {"ready": False, "waiting_for": ["rabbitmq"]})
    parts.rabbitmq, parts.broken = True, True
    assert get(server, "/readyz") == (503, {"ready": False, "waiting_for": ["redis"]})
    parts.broken = False
    assert get(server, "/readyz") == (200, {"ready": True, "waiting_for": []})
    status, told = get(server, "/metric")
    assert (status, RefusalBody.decode(json.dumps(told).encode()).code) == (404, "not_found.path")
    assert get(server, "/carried") == (200, {"rabbitmq": 7})


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"POST /readyz HTTP/1.1", 405), (b"HEAD /healthz HTTP/1.1", 405), (b"<script> / HTTP/1.1", 405),
        (b"GET /healthz/../../etc/passwd HTTP/1.1", 404), (b"GET /healthz?x HTTP/1.1", 404), (b"GET", 400),
        (b"GET / HTTP/9.9", 505), (b"GET / / HTTP/1.1", 400), (b"GET /" + b"a" * 70_000 + b" HTTP/1.1", 414),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 200, 431), (b"\xff\xfe\x00", 400),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_what_is_no_documented_request_is_refused_and_never_quoted(
    server: HealthServer, request_line: bytes, status: int
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(request_line + b"\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert RefusalBody.decode(body).code == ("not_found.path" if status == 404 else "format.message")


def test_a_reason_is_told_where_it_is_known() -> None:
    def away() -> bool:
        raise UnavailableError("unavailable.registry", seen="postgresql://user:password@host")

    told = Readiness({"registry": away, "redis": lambda: False}).report()
    assert told == (
        503,
        {"ready": False, "waiting_for": ["registry", "redis"], "reasons": {"registry": "unavailable.registry"}},
    )


def test_metrics_are_for_this_machine_and_for_who_shows_the_token(readiness: Readiness) -> None:
    app = FastAPI()
    answer_refusals(app)
    app.include_router(health_router(readiness, {"ingest": ByteCount()}, token="t0ken"))
    here, there = (TestClient(app, client=(address, 1024)) for address in ("127.0.0.1", "192.0.2.1"))
    page = here.get("/metrics")
    assert page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'cloister_waiting_for{part="rabbitmq"} 1.0' in page.text
    assert 'cloister_waiting_for{part="redis"} 0.0' in page.text
    assert 'cloister_carried_bytes_total{by="ingest"} 0.0' in page.text
    assert there.get("/metrics").status_code == 404
    for wrong in ("Bearer token", "Bearer", "t0ken", "Basic t0ken", "Bearer t0ken "):
        assert there.get("/metrics", headers={"authorization": wrong}).status_code == 404
    assert there.get("/metrics", headers={"authorization": "Bearer t0ken"}).status_code == 200


def test_the_plain_server_tells_the_same(server: HealthServer) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'cloister_carried_bytes_total{by="rabbitmq"} 7.0' in text
    assert "process_resident_memory_bytes" in text


def test_notes_are_told_and_hold_nothing_up() -> None:
    notes: dict[str, str] = {}
    readiness = Readiness({}, notes=lambda: notes)
    assert readiness.report() == (200, {"ready": True, "waiting_for": []})
    notes["model_1"] = "authenticity.sealed_object"
    assert readiness.report() == (200, {"ready": True, "waiting_for": [], "notes": notes})


def test_the_routes_say_the_same(readiness: Readiness, parts: Parts) -> None:
    app = FastAPI()
    app.include_router(health_router(readiness, {}))
    client = TestClient(app)
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").json() == {"ready": False, "waiting_for": ["rabbitmq"]}
    parts.rabbitmq = True
    assert client.get("/readyz").status_code == 200


def test_bodies_are_counted_both_ways_and_totals_are_told_to_this_machine_alone(readiness: Readiness) -> None:
    app = FastAPI()
    answer_refusals(app)
    app.include_router(health_router(readiness, {"ingest": count_bodies(app)}))

    @app.post("/twice")
    async def twice(request: Request) -> Response:
        return Response(2 * await request.body())

    here = TestClient(app, client=("127.0.0.1", 1024))
    assert here.get("/carried").json() == {"ingest": 0}
    assert here.post("/twice", content=b"x" * 1000).content == b"x" * 2000
    assert here.get("/readyz").content
    assert here.get("/carried").json() == {"ingest": 3000}
    assert TestClient(app, client=("192.0.2.1", 1024)).get("/carried").status_code == 404


@pytest.mark.parametrize(
    ("address", "here"),
    [("127.0.0.1", True), ("::1", True), ("192.0.2.1", False), ("testclient", False), (None, False)],
)
def test_whoever_is_not_on_this_machine_is_elsewhere(address: str | None, *, here: bool) -> None:
    assert is_this_machine(address) == here
