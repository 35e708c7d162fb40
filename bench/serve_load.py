"""The load generator: users who ask one server, in a process of its own (side: owner).

`python -m bench.serve_load` reads a `Target` as its first line of JSON and a `Run` from each line after it, and answers
each with a line of JSON. Closed: each user asks again as soon as it is answered. Paced: questions come at a rate, with
exponentially distributed gaps, whatever the answers do, and latency counts from when a question was due (so a server
that stalls is not asked less for it); one that is due while all users wait is late, and counts so.
"""

import asyncio
import dataclasses
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol, Self

import uvloop

from bench.serve_figures import Told, percentile
from client.measuring import CODE_ROOT
from common.memory import keep_freed_memory

START_SECONDS: Final = 120.0
REFUSED_PAUSE_SECONDS: Final = 0.01
"""After a 429 or 503; the servers ask for a second, which would hide what refusing costs."""


class Caller(Protocol):
    """One user."""

    async def call(self) -> bool:
        """Ask once; whether it was answered, or else refused for want of room. Raises for any other answer."""
        ...


@dataclass(frozen=True)
class Run:
    """So many users for so long; `rate` in questions a second, None: closed."""

    users: int
    seconds: float
    rate: float | None = None
    seed: int = 0


@dataclass
class _Count:
    answered: int = 0
    refused: int = 0
    failed: int = 0
    milliseconds: list[float] = dataclasses.field(default_factory=list)

    async def one(self, caller: Caller, due: float) -> None:
        try:
            if await caller.call():
                self.answered += 1
                self.milliseconds.append(1000 * (time.perf_counter() - due))
                return
            self.refused += 1
        except Exception:  # whatever a server under load does wrong
            self.failed += 1
        await asyncio.sleep(REFUSED_PAUSE_SECONDS)


async def load(callers: Sequence[Caller], run: Run) -> Told:
    """Let the first `run.users` of them ask."""
    count, begun, spent = _Count(), time.perf_counter(), time.process_time()
    users, end = callers[: run.users], time.perf_counter() + run.seconds
    dues = arrivals(run.rate, run.seed, begun, end) if run.rate is not None else None
    await asyncio.gather(*(_ask(count, one, end, dues) for one in users))
    seconds = time.perf_counter() - begun
    p50, p99 = percentile(count.milliseconds, 50), percentile(count.milliseconds, 99)
    return Told(seconds, count.answered, count.refused, count.failed, p50, p99, time.process_time() - spent)


def arrivals(rate: float, seed: int, begun: float, end: float) -> Iterator[float]:
    """When questions are due: a Poisson process of `rate` a second from `begun` to `end`."""
    draw, at = random.Random(seed), begun
    while (at := at + draw.expovariate(rate)) < end:
        yield at


async def _ask(count: _Count, caller: Caller, end: float, dues: Iterator[float] | None) -> None:
    if dues is None:
        while (now := time.perf_counter()) < end:
            await count.one(caller, now)
        return
    for due in dues:  # shared: whoever is free takes the next one
        await asyncio.sleep(due - time.perf_counter())
        await count.one(caller, due)
        if time.perf_counter() > end:
            return


class LoadGenerator:
    """The process, as its owner sees it."""

    def __init__(self, target: dict[str, Any]) -> None:
        """Start it on a target (bench/serve_callers). Raises `RuntimeError` when it does not start."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.serve_load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=CODE_ROOT,
            text=True,
        )
        self.facts: dict[str, Any] = self._exchange(target)

    def run(self, run: Run) -> Told:
        """Let the users ask. Raises `RuntimeError` when the process has ended."""
        return Told(**self._exchange(asdict(run)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(START_SECONDS)

    def _exchange(self, said: dict[str, Any]) -> dict[str, Any]:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the load generator has pipes")
        self._process.stdin.write(json.dumps(said) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the load generator has ended")
        told: dict[str, Any] = json.loads(line)
        return told


def main() -> None:
    """Serve the owner's lines until there are no more."""
    from bench.serve_callers import make_callers

    keep_freed_memory()
    callers, facts = make_callers(json.loads(sys.stdin.readline()))
    _say(facts)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin:
            _say(asdict(runner.run(load(callers, Run(**json.loads(line))))))


def _say(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
