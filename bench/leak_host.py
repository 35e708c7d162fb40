"""The host of a leak meter: it carries between enclaves, broker and store, and keeps the time of all that it carries
(side: host).

Times are taken by the thread that reads a door, before anything is done with what came. The broker's core and the
enclaves are other processes, so what this one measures is not its own work. Where it may, that thread runs before all
that shares the processors: how busy they are is known from other figures (the open channels), and a host that keeps
time has it no worse.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import BinaryIO, Final, Self

from bench.leak_raw import Asked, Heard, Raw
from bench.leak_record import JobRecord, record_of
from bench.leak_usage import UsageWatch, children_of, innermost
from bench.leak_world import AWAIT_SECONDS, Leaves, OpenedOrder
from common.door import Door, Handler, Kind
from common.errors import NotFoundError, PeerClosedError
from common.exchange.clock import SWITCH_SECONDS, first
from common.identifiers import Digest
from common.messages.broker_exchange import BrokerRequest
from common.messages.jobs import AwaitEnd
from common.messages.order import Schedule
from common.messages.training_door import OpenJob, StartTrainer, encode_job_frame, parse_job_frame
from common.untrusted.relay import common_handlers
from tests.fakes.training_world import prove_header

_READY_SECONDS: Final = 120.0
_JOB_SECONDS: Final = 60.0
"""Beyond its schedule; a job that takes longer is a fault of the meter."""


class LeafMemory:
    """The object store."""

    def __init__(self, leaves: Leaves) -> None:
        self._leaves = leaves

    def read_leaf(self, root: Digest, leaf: int) -> bytes:
        """One leaf of what was there before the job."""
        try:
            return self._leaves[root, leaf]
        except KeyError:
            raise NotFoundError("not_found.object") from None

    def header_proof(self, root: Digest) -> bytes:
        """Of such an object."""
        count = sum(1 for of, _ in self._leaves if of == root)
        return prove_header([self.read_leaf(root, leaf) for leaf in range(count)])

    def write_leaf(self, root: Digest, leaf: int, data: bytes) -> None:
        """The model; nobody reads it."""

    def commit(self, root: Digest, leaf_count: int) -> None:
        """It is not looked at either."""


class _WatchedDoor(Door):
    """Keeps what comes, with its time."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO, handlers: dict[str, Handler]) -> None:
        super().__init__(reader, writer, handlers, workers=8)
        self.heard: list[tuple[int, int, bytes]] = []

    def serve(self) -> None:
        with first():
            super().serve()

    def _dispatch(self, kind: int, number: int, body: bytearray) -> None:
        self.heard.append((time.perf_counter_ns(), kind, bytes(body)))
        super()._dispatch(kind, number, body)


@dataclass
class Stage:
    """A worker's surroundings: its own broker's process, and the process that forks enclaves for all workers."""

    schedule: Schedule
    broker: Connection
    enclaves: socket.socket
    enclaves_pid: int
    leaves: Leaves
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def enter(cls, schedule: Schedule, broker: Connection, enclaves: socket.socket, enclaves_pid: int) -> Self:
        """Wait until both processes are ready. Raises `RuntimeError`, `EOFError`."""
        leaves = broker.recv()
        enclaves.settimeout(_READY_SECONDS)
        if enclaves.recv(16) != b"ready":
            raise RuntimeError("the enclaves' process ended")
        return cls(schedule, broker, enclaves, enclaves_pid, leaves)

    def play(self, pair: int, secret: int, plant: str | None) -> JobRecord:
        """One job from its order to its end."""
        with self._lock:
            self.broker.send(secret)
            opened = self.broker.recv()
        return record_of(_Job(self, opened, secret, plant).run(), pair, secret)

    def ask(self, raw: bytes) -> bytes:
        """Carry a request to the broker. It answers one after the other, so who waits for a job's end waits here."""
        if isinstance(BrokerRequest.decode(raw).body, AwaitEnd):
            time.sleep(AWAIT_SECONDS)
        with self._lock:
            self.broker.send(raw)
            return bytes(self.broker.recv())

    def fork(self, role: str, side: int, plant: str | None) -> "_Forked":
        """An enclave. Raises `RuntimeError`."""
        their_in, our_out = os.pipe2(os.O_CLOEXEC)
        our_in, their_out = os.pipe2(os.O_CLOEXEC)
        request = json.dumps({"role": role, "side": side, "plant": plant}).encode()
        socket.send_fds(self.enclaves, [request], [their_in, their_out])
        told = self.enclaves.recv(64)
        os.close(their_in)
        os.close(their_out)
        if not told:
            raise RuntimeError("the enclaves' process ended")
        answer = json.loads(told)
        return _Forked(answer["pid"], answer["sandbox"], os.fdopen(our_in, "rb"), os.fdopen(our_out, "wb"))


@dataclass(frozen=True)
class _Forked:
    """Process number, the name of its sandbox's process, and the host's ends of its door."""

    pid: int
    sandbox: str
    reader: BinaryIO
    writer: BinaryIO


class _Job:
    """One job on its way."""

    def __init__(self, stage: Stage, opened: OpenedOrder, side: int, plant: str | None) -> None:
        self._stage, self._opened = stage, opened
        self._asked: dict[str, list[Asked]] = {"trainer": [], "server": []}
        self._ended = {"trainer": threading.Event(), "server": threading.Event()}
        zygotes = set().union(*map(innermost, children_of(stage.enclaves_pid)))
        self._forked = {"server": stage.fork("paramserver", side, plant), "trainer": stage.fork("trainer", side, plant)}
        pids = {who: one.pid for who, one in self._forked.items()}
        self._watch = UsageWatch(pids, zygotes, self._forked["trainer"].sandbox)
        self.server = self._door("server", {
            "frame": self._down, "report": lambda _: b"", "job_ended": self._end("server")})  # fmt: skip
        self.trainer = self._door("trainer", {"frame": self._up, "ended": self._end("trainer")})
        self._threads = [threading.Thread(target=door.serve, daemon=True) for door in (self.server, self.trainer)]

    def _door(self, who: str, handlers: dict[str, Handler]) -> _WatchedDoor:
        common = common_handlers(LeafMemory(self._stage.leaves), _Route(self._stage.ask, self._asked[who]))
        return _WatchedDoor(self._forked[who].reader, self._forked[who].writer, common | handlers)

    def run(self) -> Raw:
        """Play it; what was seen. Raises `RuntimeError` when it does not end."""
        for thread in self._threads:
            thread.start()
        job_id, order = self._opened.job_id, self._opened.order
        began = time.perf_counter_ns()
        self.trainer.call("start", StartTrainer(job_id=job_id, slot=0, order=order).encode())
        self._await_admission()
        self.server.call("open_job", OpenJob(job_id=job_id, order=order).encode())
        schedule = self._stage.schedule
        deadline = time.monotonic() + _JOB_SECONDS + schedule.total_ticks * schedule.tick_seconds
        over = all(one.wait(max(0.0, deadline - time.monotonic())) for one in self._ended.values())
        self._close()
        if not over:
            raise RuntimeError("a job did not end")
        heard = {door: [Heard.of(*one) for one in door.heard] for door in (self.trainer, self.server)}
        return Raw(
            job_id, schedule, self._stage.leaves, began, heard[self.trainer], heard[self.server], self._asked,
            self._watch.used, self._watch.sandbox_cpu,
        )  # fmt: skip

    def _await_admission(self) -> None:
        """A server that finds no trainer looks again after a second: not what a short job is for."""
        give_up = time.monotonic() + _JOB_SECONDS
        while not any(b"member_admitted" in body for _, kind, body in self.trainer.heard if kind == Kind.LOG):
            if time.monotonic() > give_up or self.trainer.closed.is_set():
                raise RuntimeError("a trainer was not admitted")
            time.sleep(0.005)

    def _close(self) -> None:
        self._watch.stop()
        for one in self._forked.values():
            with contextlib.suppress(OSError):
                one.writer.close()
        for thread in self._threads:
            thread.join(10)
        for one in self._forked.values():
            one.reader.close()

    def _up(self, frame: bytes) -> bytes:
        with contextlib.suppress(PeerClosedError):
            self.server.notify("frame", encode_job_frame(self._opened.job_id, frame))
        return b""

    def _down(self, body: bytes) -> bytes:
        with contextlib.suppress(PeerClosedError):
            self.trainer.notify("frame", parse_job_frame(body)[1])
        return b""

    def _end(self, who: str) -> Handler:
        def end(_: bytes) -> bytes:
            self._watch.look(who)
            self._ended[who].set()
            return b""

        return end


@dataclass(frozen=True)
class _Route:
    """The way to the broker, which keeps what was asked."""

    carry: Callable[[bytes], bytes]
    asked: list[Asked]

    def ask(self, raw: bytes) -> bytes:
        """Carry one request."""
        answer = self.carry(raw)
        self.asked.append(Asked(raw, len(answer)))
        return answer


def serve_jobs(
    work: Connection, schedule: Schedule, broker: Connection, enclaves: socket.socket, enclaves_pid: int
) -> None:
    """Entry of a worker: (pair, secret, plant) comes in, a `JobRecord` or an error's text goes out."""
    sys.setswitchinterval(SWITCH_SECONDS)
    with contextlib.suppress(EOFError):
        stage = Stage.enter(schedule, broker, enclaves, enclaves_pid)
        work.send("ready")
        while (asked := work.recv()) is not None:
            work.send(_played(stage, *asked))


def _played(stage: Stage, pair: int, secret: int, plant: str | None) -> JobRecord | str:
    try:
        return stage.play(pair, secret, plant)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
