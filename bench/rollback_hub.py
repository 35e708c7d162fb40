"""Frames, greetings and tokens from earlier, at the TCP hub of a parameter server and its lines (side: owner)."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from bench.rollback_exchange import ROUNDS, TICKS, refused_frames, require_same_model
from bench.rollback_tally import Tally
from common.identifiers import JobId, PartyKey
from common.untrusted.database import Database
from common.untrusted.frame_hub import FrameHub
from common.untrusted.frame_line import FrameLine
from common.untrusted.frame_stream import send_greeting
from common.untrusted.frame_transport import downlink_key, uplink_key
from common.untrusted.job_board import JobBoard, NewJob
from tests.fakes.in_memory_job import ORDER, InMemoryJob, make_schedule

_JOB: Final = JobId.of(ORDER)
_SECONDS: Final = 20.0
_FOREVER: Final = 1 << 40


def hub_frames(directory: Path, length: int) -> Tally:
    """Every frame of the job so far, up and down the wire, `length` times, each time at a route that was opened anew;
    and connections that greet with the token of an earlier route. The model is that of an undisturbed job.
    """
    tally, schedule = Tally(), make_schedule(rounds=ROUNDS)
    job, undisturbed = InMemoryJob(schedule), InMemoryJob(schedule)
    undisturbed.run()
    job.run(last=TICKS)
    board = JobBoard(Database(f"sqlite:///{directory}/board.sqlite"))
    board.submit(NewJob(_JOB, b"order", [PartyKey("1" * 64)], job.trainers, _FOREVER, "simulation"))
    tokens = list[bytes]()
    for number in range(1, length + 1):
        with _opened(board) as wire:
            for late, token in enumerate(tokens):
                tally.unmoved(f"token {late} at route {number}", wire.heard, wire.knock, token, job.frames[0][1])
            tokens.append(wire.token)
            before = refused_frames(job)
            shown = [frame for _, frame in job.frames]
            for frame in wire.carried_up(shown):
                job.server.receive(frame)
            for frame in wire.carried_down(shown):
                for trainer in job.jobs.values():
                    trainer.exchange.receive(frame)
            job.server.process(0)
            for trainer in job.jobs.values():
                trainer.exchange.listen()
            tally.counted(f"frames at route {number}", len(shown) * (1 + len(job.jobs)), refused_frames(job) - before)
        job.run(number * TICKS, (number + 1) * TICKS)
    job.run((length + 1) * TICKS)
    require_same_model(job, undisturbed)
    return tally


class _Wire:
    """A hub with the job's route open, and one trainer's line to it."""

    def __init__(self, board: JobBoard) -> None:
        self._up, self._down = list[bytes](), list[bytes]()
        self._hub = FrameHub(("127.0.0.1", 0), board, lambda _, frame: self._up.append(frame))
        self._hub.start()
        self._hub.listen(uplink_key(_JOB))
        self._line = FrameLine(board, lambda _, frame: self._down.append(frame))
        self._line.listen(downlink_key(_JOB))
        self._line.start()
        route = board.frame_route(_JOB)
        if route is None or not self._line.connected.wait(_SECONDS):
            raise RuntimeError("the line did not come to the hub")
        self.token = route.token

    def heard(self) -> int:
        """How many frames came."""
        return len(self._up)

    def knock(self, token: bytes, frame: bytes) -> None:
        """Greet with this token, say a frame, and wait until the hub has closed."""
        connection = socket.create_connection(("127.0.0.1", self._hub.port), timeout=_SECONDS)
        with connection, contextlib.suppress(ConnectionError):
            send_greeting(connection, _JOB, token)
            connection.sendall(len(frame).to_bytes(4, "big") + frame)
            if connection.recv(1):
                raise RuntimeError("the hub answered")

    def carried_up(self, frames: list[bytes]) -> list[bytes]:
        """These frames, as they come out of the hub."""
        return _through(lambda frame: self._line.publish(uplink_key(_JOB), frame), frames, self._up)

    def carried_down(self, frames: list[bytes]) -> list[bytes]:
        """These frames, as they come out of the line."""
        return _through(lambda frame: self._hub.publish(downlink_key(_JOB), frame), frames, self._down)

    def close(self) -> None:
        """End both."""
        self._line.stop()
        self._hub.stop()


def _through(send: Callable[[bytes], None], frames: list[bytes], out: list[bytes]) -> list[bytes]:
    first, give_up = len(out), time.monotonic() + _SECONDS
    while len(out) == first:  # until the other end has greeted, what is sent is lost
        send(frames[0])
        time.sleep(0.01)
        if time.monotonic() > give_up:
            raise RuntimeError("no frame came through")
    time.sleep(0.05)
    first = len(out)
    for frame in frames:
        send(frame)
    while len(out) < first + len(frames):
        if time.monotonic() > give_up:
            raise RuntimeError("frames were lost on the wire")
        time.sleep(0.01)
    return out[first:]


@contextlib.contextmanager
def _opened(board: JobBoard) -> Iterator[_Wire]:
    wire = _Wire(board)
    try:
        yield wire
    finally:
        wire.close()
