"""Plays the pairs of jobs of a leak meter, on one or more workers (side: owner).

Both jobs of a pair run one after the other on one worker, so that what changes slowly on the machine falls on both
sides alike; each side is first in half of the pairs, and a coin decides in which.
"""

import contextlib
import os
import queue
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from bench.leak_enclaves import EnclaveSettings
from bench.leak_record import JobRecord
from bench.leak_secrets import Side
from common.enclave.simulated_platform import SimulatedPlatform
from common.exchange.clock import RELEASE_SECONDS
from common.messages.order import Schedule
from common.sandbox.exporting import GraphExport

TRIES: Final = 2
"""A pair of which the meter's own machinery lost a job is played again, once. A leak that ended jobs would fail it."""

EXPORT_SECONDS: Final = 60.0
_END_SECONDS: Final = 10.0

SCHEDULE: Final = Schedule(
    rounds=10, steps_per_round=2, batch_rows=16, tick_milliseconds=10, ticks_per_round=12, slack_percent=200,
    warmup_ticks=48, frames_per_tick=2, frame_bytes=4096, reads_per_tick=1, state_class=4096, checkpoint_ticks=24,
)  # fmt: skip
"""288 ticks in 2.9 s: the shortest tick that an order may have, so that a window of 32 ticks is soon over."""

QUICK_SCHEDULE: Final = Schedule.model_validate(
    SCHEDULE.model_dump() | {"rounds": 3, "warmup_ticks": 8, "reads_per_tick": 2}
)
"""80 ticks."""

QUICK_RELEASE_SECONDS: Final = 0.1


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
    """What all jobs of one run have in common. `graphs`: what the export of each side writes; `small`: a trainer keeps
    its data, and reads them once.
    """

    sides: tuple[Side, Side]
    schedule: Schedule = SCHEDULE
    graphs: tuple[bytes | None, bytes | None] = (None, None)
    workers: int = 1
    release_seconds: float = RELEASE_SECONDS
    seed: int = 2026
    small: bool = False

    def play(self, pairs: Sequence[Pair], on_pair: Callable[[int], None] = lambda _: None) -> list[JobRecord]:
        """All pairs; `on_pair` hears how many are done. Raises `RuntimeError` with what went wrong."""
        with tempfile.TemporaryDirectory(prefix="cloister-leak-") as directory:
            SimulatedPlatform.open_or_create(Path(directory) / "platform")
            settings = EnclaveSettings(
                Path(directory), self.sides, self.schedule, self.graphs, self.release_seconds, self.small
            )
            with _processes(settings, self.workers, self.seed) as workers:
                return _Played(self.seed, pairs, on_pair).by(workers)


def order_of(seed: int, number: int) -> tuple[int, int]:
    """Which side of a pair is first: of two pairs one and the other, and a coin decides which."""
    first = random.Random(f"{seed} {number // 2}").randrange(2) ^ number % 2
    return first, 1 - first


@contextlib.contextmanager
def _processes(settings: EnclaveSettings, count: int, seed: int) -> Iterator[list[Connection]]:
    """The ends of `count` workers that will say `ready`."""
    pipes = [Pipe() for _ in range(1 + count)]
    theirs = [other.fileno() for _, other in pipes]
    command = [sys.executable, "-P", "-m", "bench.leak_root", *map(str, theirs)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    root = subprocess.Popen(command, pass_fds=theirs, env=environment)
    for _, other in pipes:
        other.close()
    (wire, _), *workers = pipes
    try:
        wire.send((settings, seed))
        yield [ours for ours, _ in workers]
    finally:
        for ours, _ in pipes:
            ours.close()
        try:
            root.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            root.kill()
            root.wait()


class _Played:
    """Pairs on their way through the workers."""

    def __init__(self, seed: int, pairs: Sequence[Pair], on_pair: Callable[[int], None]) -> None:
        self._seed, self._on_pair = seed, on_pair
        self._waiting: queue.SimpleQueue[Pair] = queue.SimpleQueue()
        for pair in pairs:
            self._waiting.put(pair)
        self._records: list[JobRecord] = []
        self._faults: list[str] = []
        self._told: object = None
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
                if any(self._play(work, pair) for _ in range(TRIES)):
                    continue
                raise RuntimeError(f"pair {pair.number}: {self._told}")
            work.send(None)
        except (RuntimeError, OSError, EOFError) as error:
            self._faults.append(f"{type(error).__name__}: {error}")

    def _next(self) -> Pair | None:
        with contextlib.suppress(queue.Empty):
            return self._waiting.get_nowait()
        return None

    def _play(self, work: Connection, pair: Pair) -> bool:
        """Whether both jobs came to an end."""
        played = []
        for secret in order_of(self._seed, pair.number):
            work.send((pair.number, secret, pair.plant))
            record = work.recv()
            if not isinstance(record, JobRecord):
                self._told = record
                return False
            played.append(record)
        with self._lock:
            self._records += played
            self._on_pair(len(self._records) // 2)
        return True
