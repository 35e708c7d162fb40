"""/healthz and /readyz: names of what is missing, and nothing else."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from common.untrusted.health import HealthServer, Readiness
from common.untrusted.http_health import health_router


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
    server = HealthServer(0, readiness)
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
    assert get(server, "/metrics") == (404, {})


def test_notes_are_told_and_hold_nothing_up() -> None:
    notes: dict[str, str] = {}
    readiness = Readiness({}, notes=lambda: notes)
    assert readiness.report() == (200, {"ready": True, "waiting_for": []})
    notes["model_1"] = "authenticity.sealed_object"
    assert readiness.report() == (200, {"ready": True, "waiting_for": [], "notes": notes})


def test_the_routes_say_the_same(readiness: Readiness, parts: Parts) -> None:
    app = FastAPI()
    app.include_router(health_router(readiness))
    client = TestClient(app)
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").json() == {"ready": False, "waiting_for": ["rabbitmq"]}
    parts.rabbitmq = True
    assert client.get("/readyz").status_code == 200
