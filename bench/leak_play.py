"""Plays the pairs of jobs of a leak meter, on one or more workers (side: owner).

Both jobs of a pair run one after the other on one worker, in an order that a coin decides, so that what changes slowly
on the machine falls on both sides alike.
"""

import contextlib
import queue
import random
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from bench.leak_enclaves import EnclaveSettings, serve_enclaves
from bench.leak_host import serve_jobs
from bench.leak_record import JobRecord
from bench.leak_secrets import Side
from bench.leak_world import serve_broker
from common.enclave.simulated_platform import SimulatedPlatform
from common.messages.order import Schedule
from common.sandbox.exporting import GraphExport

EXPORT_SECONDS: Final = 60.0
_END_SECONDS: Final = 10.0
_PRELOADED: Final = ("bench.leak_enclaves", "bench.leak_host", "bench.leak_world")

SCHEDULE: Final = Schedule(
    rounds=10, steps_per_round=2, batch_rows=16, tick_milliseconds=10, ticks_per_round=12, slack_percent=200,
    warmup_ticks=48, frames_per_tick=2, frame_bytes=4096, reads_per_tick=1, state_class=4096,
)  # fmt: skip
"""288 ticks in 2.9 s: the shortest tick that an order may have, so that a window of 32 ticks is soon over."""

QUICK_SCHEDULE: Final = Schedule.model_validate(
    SCHEDULE.model_dump() | {"rounds": 2, "warmup_ticks": 24, "reads_per_tick": 2}
)
"""72 ticks."""


@dataclass(frozen=True)
class Pair:
    """Two jobs of one build. `number` is its name among the records."""

    number: int
    plant: str | None = None


def exported(side: Side) -> bytes | None:
    """What the export of this side's code writes: the real one, once."""
    return GraphExport.start(side.bundle()).run(EXPORT_SECONDS)


@dataclass(frozen=True)
class Meeting:
    """What all jobs of one run have in common. `graphs`: what the export of each side writes."""

    sides: tuple[Side, Side]
    schedule: Schedule = SCHEDULE
    graphs: tuple[bytes | None, bytes | None] = (None, None)
    workers: int = 1
    seed: int = 2026

    def play(self, pairs: Sequence[Pair], on_pair: Callable[[int], None] = lambda _: None) -> list[JobRecord]:
        """All pairs; `on_pair` hears how many are done. Raises `RuntimeError` with what went wrong."""
        with tempfile.TemporaryDirectory(prefix="cloister-leak-") as directory:
            SimulatedPlatform.open_or_create(Path(directory) / "platform")
            settings = EnclaveSettings(Path(directory), self.sides, self.schedule, self.graphs)
            with _processes(settings, self.workers, self.seed) as workers:
                return _Played(self.seed, pairs, on_pair).by(workers)


@contextlib.contextmanager
def _processes(settings: EnclaveSettings, count: int, seed: int) -> Iterator[list[Connection]]:
    """The ends of `count` workers that will say `ready`; each has a broker's process, all have one of enclaves."""
    context = get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    controls = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(count)]
    enclaves = context.Process(target=serve_enclaves, args=(settings, [theirs for _, theirs in controls]), daemon=True)
    enclaves.start()
    started, ends = [enclaves], []
    for ours, theirs in controls:
        theirs.close()
        asks, asked = context.Pipe()
        end, work = context.Pipe()
        served = (asked, settings.directory, settings.sides, settings.schedule, seed)
        broker = context.Process(target=serve_broker, args=served, daemon=True)
        broker.start()
        worked = (work, settings.schedule, asks, ours, enclaves.pid)
        worker = context.Process(target=serve_jobs, args=worked, daemon=True)
        worker.start()
        for mine in (asks, asked, work, ours):
            mine.close()
        started += [broker, worker]
        ends.append(end)
    try:
        yield ends
    finally:
        for one in ends:
            one.close()
        for process in started:
            process.join(_END_SECONDS)
            process.kill()


class _Played:
    """Pairs on their way through the workers."""

    def __init__(self, seed: int, pairs: Sequence[Pair], on_pair: Callable[[int], None]) -> None:
        self._seed, self._on_pair = seed, on_pair
        self._waiting: queue.SimpleQueue[Pair] = queue.SimpleQueue()
        for pair in pairs:
            self._waiting.put(pair)
        self._records: list[JobRecord] = []
        self._faults: list[str] = []
        self._lock = threading.Lock()

    def by(self, workers: Sequence[Connection]) -> list[JobRecord]:
        """The records, by pair and side. Raises `RuntimeError`."""
        threads = [threading.Thread(target=self._work, args=(one,)) for one in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._faults:
            raise RuntimeError(f"jobs were not played: {self._faults}")
        return sorted(self._records, key=lambda one: (one.pair, one.secret))

    def _work(self, work: Connection) -> None:
        try:
            if (said := work.recv()) != "ready":
                raise RuntimeError(said)
            while (pair := self._next()) is not None:
                self._play(work, pair)
            work.send(None)
        except (RuntimeError, OSError, EOFError) as error:
            self._faults.append(f"{type(error).__name__}: {error}")

    def _next(self) -> Pair | None:
        with contextlib.suppress(queue.Empty):
            return self._waiting.get_nowait()
        return None

    def _play(self, work: Connection, pair: Pair) -> None:
        order = random.Random(f"{self._seed} {pair.number}").sample((0, 1), 2)
        played = []
        for secret in order:
            work.send((pair.number, secret, pair.plant))
            record = work.recv()
            if not isinstance(record, JobRecord):
                raise RuntimeError(record)  # noqa: TRY004 - what it is told in place of a record is an error's text
            played.append(record)
        with self._lock:
            self._records += played
            self._on_pair(len(self._records) // 2)
