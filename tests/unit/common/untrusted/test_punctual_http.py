"""A connection whose request does not come is ended, and one that takes its time is not."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response

from common.untrusted import punctual_http
from common.untrusted.http_bodies import read_body
from common.untrusted.punctual_http import PunctualProtocol

SECONDS = 0.4
HEAD = b"POST /echo HTTP/1.1\r\nHost: here\r\n"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server that waits `SECONDS` for a request, and longer for one that brings 1,000 bytes a second."""
    app = FastAPI()

    @app.post("/echo")
    async def echo(request: Request) -> Response:
        return Response(await read_body(request, 10_000))

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=PunctualProtocol, log_config=None, limit_concurrency=20))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(punctual_http, "REQUEST_SECONDS", SECONDS)
        patch.setattr(punctual_http, "SLOWEST_BYTES_PER_SECOND", 1000)
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


def seconds_until_ended(port: int, first: bytes, drip: bytes = b"") -> float:
    """How long the server keeps a connection that says `first`, and `drip` byte for byte without end."""
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(first)
        connection.settimeout(0.05)
        while time.monotonic() < begin + 20 * SECONDS:
            try:
                if connection.recv(100) == b"":
                    break
            except TimeoutError:
                if drip:
                    with_reset(connection, drip)
            except ConnectionError:
                break
        return time.monotonic() - begin


def with_reset(connection: socket.socket, drip: bytes) -> None:
    """One more byte; what the server has ended shows at the next read."""
    try:
        connection.sendall(drip)
    except ConnectionError:
        connection.shutdown(socket.SHUT_RD)


@pytest.mark.parametrize(
    ("first", "drip"),
    [
        (b"", b""),
        (HEAD, b""),
        (HEAD, b"X"),
        (HEAD + b"Content-Length: 9000\r\n\r\n", b""),
        (HEAD + b"Content-Length: 9000\r\n\r\n", b"x"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["silence", "half a head", "a head in drips", "no body", "a body in drips", "chunks in drips"],
)
def test_a_request_that_does_not_come_is_waited_for_no_longer_than_stated(port: int, first: bytes, drip: bytes) -> None:
    assert SECONDS / 2 < seconds_until_ended(port, first, drip) < 5 * SECONDS


def test_the_second_request_of_a_connection_is_awaited_no_longer(port: int) -> None:
    whole = HEAD + b"Content-Length: 2\r\n\r\nok"
    assert seconds_until_ended(port, whole + HEAD, b"X") < 5 * SECONDS


def test_a_slow_request_that_brings_something_is_answered(port: int) -> None:
    body = b"y" * 3000
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(HEAD + b"Content-Length: 3000\r\n\r\n")
        for at in range(0, 3000, 500):
            connection.sendall(body[at : at + 500])
            time.sleep(0.15)
        connection.settimeout(5)
        answer = b""
        while body not in answer:
            piece = connection.recv(10_000)
            assert piece
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200")


def test_loris_connections_do_not_keep_others_out(port: int) -> None:
    """They fill what the server takes on, and are gone before long."""
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(25)]
    for one in slow:
        one.sendall(HEAD)
    end, status = time.monotonic() + 10 * SECONDS, b""
    while b"200" not in status and time.monotonic() < end:
        with socket.create_connection(("127.0.0.1", port)) as honest:
            honest.sendall(HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nok")
            honest.settimeout(5)
            status = honest.recv(100).partition(b"\r\n")[0]
        time.sleep(0.02)
    for one in slow:
        one.close()
    assert b"200" in status


def test_an_answer_leaves_whole_whatever_its_size_and_the_connection_is_kept(port: int) -> None:
    """Also several on one connection, and one behind which it is closed."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(5)
        for size, more in ((0, b""), (1, b""), (9000, b""), (5, b"Connection: close\r\n")):
            connection.sendall(HEAD + more + b"Content-Length: %d\r\n\r\n" % size + b"z" * size)
            answer = b""
            while answer.partition(b"\r\n\r\n")[1:] != (b"\r\n\r\n", b"z" * size):
                piece = connection.recv(100_000)
                assert piece, answer
                answer += piece
        assert connection.recv(10) == b""
