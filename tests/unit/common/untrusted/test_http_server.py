"""A service that is told to end answers what it has begun, and takes nothing new."""

import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator

import pytest

from deploy.embedded.specification import CODE_ROOT

_APP = """
import sys, time
from fastapi import Response
from common.untrusted.http_description import Service
from common.untrusted.http_server import serve
app = Service("slow")

@app.get("/slow")
def slow() -> Response:
    time.sleep(1.5)
    return Response(b"done")

@app.get("/now")
def now() -> Response:
    return Response(b"now")

serve(app, "127.0.0.1", int(sys.argv[1]))
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(port: int) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _APP, str(port)], cwd=CODE_ROOT, env={"PYTHONPATH": str(CODE_ROOT), "PATH": ""}
    )
    try:
        deadline = time.monotonic() + 60
        while get(port, "/now") != b"now":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def get(port: int, path: str) -> bytes | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            body: bytes = answer.read()
            return body
    except OSError:
        return None


def test_what_is_under_way_is_answered(server: "subprocess.Popen[bytes]", port: int) -> None:
    answers: list[bytes | None] = []
    asking = threading.Thread(target=lambda: answers.append(get(port, "/slow")))
    asking.start()
    time.sleep(0.5)
    server.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert get(port, "/now") is None
    asking.join()
    assert answers == [b"done"]
    assert server.wait(10) in {0, -signal.SIGTERM}
