"""Frames straight between relays: order, fan-out, who may come, and where a job's parameter server is now."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.crypto.digests import sha256
from common.identifiers import JobId, PartyKey
from common.untrusted.database import Database
from common.untrusted.frame_hub import FrameHub
from common.untrusted.frame_line import FrameLine
from common.untrusted.frame_stream import MAX_FRAME_BYTES, OUTBOX_FRAMES, TOKEN_BYTES, send_greeting
from common.untrusted.frame_transport import FrameCarrier, downlink_key, uplink_key
from common.untrusted.job_board import FrameRoute, JobBoard, NewJob

JOB, OTHER = JobId.of(sha256(b"a job")), JobId.of(sha256(b"another job"))
SECONDS = 20.0


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


class Scene:
    """A board with two jobs, and what carries frames of them."""

    def __init__(self, directory: Path) -> None:
        self.board = JobBoard(Database(f"sqlite:///{directory / 'board.sqlite'}"))
        for job_id in (JOB, OTHER):
            self.board.submit(NewJob(job_id, b"order", [PartyKey("1" * 64)], 2, 1 << 40, "simulation"))
        self.carriers: list[FrameCarrier] = []

    def hub(self, *jobs: JobId) -> tuple[FrameHub, list[tuple[str, bytes]]]:
        taken: list[tuple[str, bytes]] = []
        hub = FrameHub(("127.0.0.1", 0), self.board, lambda key, frame: taken.append((key, frame)))
        self.carriers.append(hub)
        hub.start()
        for job_id in jobs:
            hub.listen(uplink_key(job_id))
        return hub, taken

    def line(self, job_id: JobId = JOB) -> tuple[FrameLine, list[tuple[str, bytes]]]:
        taken: list[tuple[str, bytes]] = []
        line = FrameLine(self.board, lambda key, frame: taken.append((key, frame)))
        self.carriers.append(line)
        line.listen(downlink_key(job_id))
        line.start()
        return line, taken


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    for carrier in made.carriers:
        carrier.stop()


def test_frames_keep_their_order_and_reach_the_jobs_trainers(scene: Scene) -> None:
    hub, up = scene.hub(JOB, OTHER)
    first, second, foreign = scene.line(), scene.line(), scene.line(OTHER)
    for line, _ in (first, second, foreign):
        assert line.connected.wait(SECONDS)
    wait_until(lambda: sum(map(len, hub._streams.values())) == 3)
    frames = [number.to_bytes(4, "big") * 1024 for number in range(300)]
    for frame in frames:
        hub.publish(downlink_key(JOB), frame)
        first[0].publish(uplink_key(JOB), frame)
    wait_until(lambda: len(up) == len(first[1]) == len(second[1]) == 300)
    assert up == [(uplink_key(JOB), frame) for frame in frames]
    assert first[1] == second[1] == [(downlink_key(JOB), frame) for frame in frames]
    assert foreign[1] == []
    assert hub.carried.total == 600 * 4096


def test_a_line_follows_its_job_to_another_parameter_server(scene: Scene) -> None:
    hub, _ = scene.hub(JOB)
    line, taken = scene.line()
    assert line.connected.wait(SECONDS)
    hub.stop()
    later, up = scene.hub(JOB)
    assert later.port != hub.port

    def heard() -> bool:
        later.publish(downlink_key(JOB), b"again")
        line.publish(uplink_key(JOB), b"here")
        return bool(taken and up)

    wait_until(heard)
    assert taken[0] == (downlink_key(JOB), b"again")
    assert up[0] == (uplink_key(JOB), b"here")


def test_a_trainer_may_be_there_first(scene: Scene) -> None:
    line, taken = scene.line()
    assert not line.connected.wait(0.5)
    line.publish(uplink_key(JOB), b"lost")
    hub, up = scene.hub(JOB)
    assert line.connected.wait(SECONDS)
    wait_until(lambda: bool(hub._streams.get(JOB)))
    hub.publish(downlink_key(JOB), b"first")
    wait_until(lambda: taken == [(downlink_key(JOB), b"first")])
    assert up == [], "what was said before is not said later"


def test_what_is_forgotten_no_longer_comes(scene: Scene) -> None:
    hub, up = scene.hub(JOB)
    line, _ = scene.line()
    assert line.connected.wait(SECONDS)
    hub.forget(uplink_key(JOB))
    assert scene.board.frame_route(JOB) is None
    wait_until(lambda: not line.connected.is_set())
    line.publish(uplink_key(JOB), b"frame")
    hub.publish(downlink_key(JOB), b"frame")
    assert up == []


def test_a_later_servers_route_is_not_closed_by_an_earlier_one(scene: Scene) -> None:
    earlier, _ = scene.hub(JOB)
    later, _ = scene.hub(JOB)
    earlier.forget(uplink_key(JOB))
    route = scene.board.frame_route(JOB)
    assert route is not None
    assert route.port == later.port


def closed(connection: socket.socket) -> bool:
    """Whether the other end lets go of it."""
    connection.settimeout(SECONDS)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("what", ["token", "job", "unknown job", "magic", "half"])
def test_strangers_are_let_go(scene: Scene, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.untrusted.frame_hub._GREETING_SECONDS", 0.3)
    hub, up = scene.hub(JOB, OTHER)
    route = scene.board.frame_route(JOB)
    assert route is not None
    with socket.create_connection(("127.0.0.1", hub.port)) as connection:
        match what:
            case "token":
                send_greeting(connection, JOB, bytes(TOKEN_BYTES))
            case "job":
                send_greeting(connection, OTHER, route.token)
            case "unknown job":
                send_greeting(connection, JobId.of(sha256(b"nobody's")), route.token)
            case "magic":
                connection.sendall(b"GET / HTTP/1.1\r\n" + bytes(80))
            case _:
                connection.sendall(b"CLFT\x01job_")
        assert closed(connection)
    assert up == []
    assert not any(hub._streams.values())


def test_silent_strangers_are_few(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.untrusted.frame_hub.MAX_STRANGERS", 2)
    monkeypatch.setattr("common.untrusted.frame_hub._GREETING_SECONDS", 1.0)
    hub, up = scene.hub(JOB)
    silent = [socket.create_connection(("127.0.0.1", hub.port)) for _ in range(2)]
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", hub.port)) as further:
        assert closed(further)
        assert time.monotonic() - begun < 0.9, "at once"
    assert all(map(closed, silent)), "those later"
    for one in silent:
        one.close()
    line, _ = scene.line()
    wait_until(line.connected.is_set)
    line.publish(uplink_key(JOB), b"frame")
    wait_until(lambda: up == [(uplink_key(JOB), b"frame")])


@pytest.mark.parametrize("length", [0, MAX_FRAME_BYTES + 1, (1 << 32) - 1])
def test_a_length_that_no_order_has_ends_the_connection(scene: Scene, length: int) -> None:
    hub, up = scene.hub(JOB)
    route = scene.board.frame_route(JOB)
    assert route is not None
    with socket.create_connection(("127.0.0.1", hub.port)) as connection:
        send_greeting(connection, JOB, route.token)
        connection.sendall((5).to_bytes(4, "big") + b"frame" + length.to_bytes(4, "big"))
        assert closed(connection)
    assert up == [(uplink_key(JOB), b"frame")]


def test_who_does_not_read_delays_nobody_and_takes_no_memory(scene: Scene) -> None:
    hub, _ = scene.hub(JOB)
    _, taken = scene.line()
    route = scene.board.frame_route(JOB)
    assert route is not None
    with socket.create_connection(("127.0.0.1", hub.port)) as deaf:
        send_greeting(deaf, JOB, route.token)
        wait_until(lambda: len(hub._streams.get(JOB, ())) == 2)
        frame, count = bytes(4096), 2 * OUTBOX_FRAMES
        for number in range(count):
            hub.publish(downlink_key(JOB), frame)
            if number % 64 == 0:
                wait_until(lambda seen=number: len(taken) >= seen - OUTBOX_FRAMES // 2)  # type: ignore[misc]
        wait_until(lambda: len(taken) == count)
        assert all(len(stream._outbox) <= OUTBOX_FRAMES for stream in hub._streams[JOB])


def test_the_board_hides_the_token() -> None:
    assert "ab" not in repr(FrameRoute("host", 1, b"ab"))
