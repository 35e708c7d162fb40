"""The runs of a check: what a job's classes do, and the same once more under watch (side: owner).

Equal seeds, equal rows, equal limits: what comes of both must be equal.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from client.checking import events as c
from client.checking.synthetic import Schema, synthetic_rows, taken
from client.checking.watched import WatchedPlace
from common.bundle import BundleContents
from common.sandbox.native import DEFAULT_LIMITS, NativeQuerySandbox, NativeTrainingSandbox, query_work, training_work
from common.sandbox.protocol import QueryOutcome, SandboxLimits, SandboxSeeds, StateP
from common.sandboxed.wire import Course

QUERY_SECONDS: Final = 5.0
"""services/query_enclave/answering: how long an answer may take in a job."""

SEEDS: Final = SandboxSeeds(initial=1, stream=2)
_ROWS_SEED: Final = 3
_QUERIES: Final = 2

Told = list[tuple[c.Step, dict[str, Any]]]


@dataclass(frozen=True)
class CheckWishes:
    """How much is run. `schema` is a file; `seconds` bounds the first state and each round."""

    rows: int | None = None
    rounds: int = 3
    steps: int = 4
    batch: int = 32
    seconds: float = 60.0
    schema: Path | None = None
    limits: SandboxLimits = DEFAULT_LIMITS


@dataclass
class Run:
    """What a run came to: states in order and the code that ended it, answers, and what its child told."""

    states: list[StateP] = field(default_factory=list)
    code: str | None = None
    answers: list[QueryOutcome] = field(default_factory=list)
    query_seconds: list[float] = field(default_factory=list)
    told: Told = field(default_factory=list)

    def take(self, place: WatchedPlace, step: c.Step) -> None:
        """Take what a watched child has told meanwhile."""
        self.told += [(step, line) for line in place.take_told()]


class RunsOfBoth(Protocol):
    """The plain run and the watched one of a bundle."""

    plain: Run
    watched: Run

    def train(self) -> None:
        """Both runs. Raises `ConfinementError`."""

    def ask(self) -> None:
        """Both runs ask the plain run's last state. Raises `ConfinementError`."""


class Runs:
    """`RunsOfBoth` in sandboxes."""

    def __init__(self, contents: BundleContents, schema: Schema, wishes: CheckWishes) -> None:
        self._contents, self._wishes = contents, wishes
        self._count = wishes.steps * wishes.batch
        self._rows = synthetic_rows(schema, wishes.rows or schema.rows, _ROWS_SEED)
        self.plain, self.watched = Run(), Run()

    def train(self) -> None:
        """As stated; torch is imported in both at once."""
        work = training_work(self._contents.manifest, self._count)
        with ThreadPoolExecutor(1) as executor:
            starting = executor.submit(self._start_trainer)
            place = WatchedPlace(self._contents, work, SEEDS, self._wishes.limits)
            try:
                plain = starting.result()
            except BaseException:
                place.close()
                raise
        try:
            self._train(plain, self.plain)
            place.require_ready()
            watched = NativeTrainingSandbox(self._contents, place, self._count)
            self._train(watched, self.watched, lambda step: self.watched.take(place, step))
        finally:
            plain.close()
            place.close()

    def ask(self) -> None:
        """As stated."""
        with ThreadPoolExecutor(1) as executor:
            starting = executor.submit(self._start_server)
            place = WatchedPlace(self._contents, query_work(self._contents.manifest), SEEDS, self._wishes.limits)
            try:
                server = starting.result()
            except BaseException:
                place.close()
                raise
        try:
            self._ask(server, self.plain)
            place.load_state(self.plain.states[-1])
            place.require_ready()
            self._ask(NativeQuerySandbox(self._contents, place), self.watched)
            self.watched.take(place, "answers")
        finally:
            server.close()
            place.close()

    def _start_trainer(self) -> NativeTrainingSandbox:
        return NativeTrainingSandbox.start(
            self._contents, rows_per_round=self._count, seeds=SEEDS, limits=self._wishes.limits
        )

    def _train(self, sandbox: NativeTrainingSandbox, run: Run, take: Callable[[c.Step], None] = lambda _: None) -> None:
        wishes = self._wishes
        outcome = sandbox.initial_state(wishes.seconds)
        take("imports")
        for number in range(wishes.rounds):
            if outcome.state_P is None:
                break
            run.states.append(outcome.state_P)
            rows = taken(self._rows, number * self._count, self._count)
            course = Course(number, bf16=0 < number == wishes.rounds - 1)  # jobs may train in bfloat16
            outcome = sandbox.run_round(outcome.state_P, rows, wishes.steps, wishes.batch, wishes.seconds, course)
            take("trains")
        if outcome.state_P is not None:
            run.states.append(outcome.state_P)
        run.code = outcome.code

    def _start_server(self) -> NativeQuerySandbox:
        state_P = self.plain.states[-1]
        return NativeQuerySandbox.start(self._contents, state_P, seed=SEEDS.initial, limits=self._wishes.limits)

    def _ask(self, server: NativeQuerySandbox, run: Run) -> None:
        manifest = self._contents.manifest
        rows_NX = taken(self._rows, 0, manifest.query_rows)[manifest.input.column]
        for _ in range(_QUERIES):
            begin = time.perf_counter()
            run.answers.append(server.answer(rows_NX, QUERY_SECONDS))
            run.query_seconds.append(time.perf_counter() - begin)
