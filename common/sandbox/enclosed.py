"""Designs and graphs, trained and computed in the enclave's own process (side: enclave).

P parameters of the state, N rows of a unit of work, A shape of one answer row.

An enclave that contains no kernel (SGX) has no process to confine native code in, and no memory to share with one. So
provider code is refused there, and what its design code asks for (common/sandbox/wasm) trusted code does here: the very
code that does it inside a sandbox elsewhere (common/sandboxed), from a document that was checked, so results are the
same to the bit. It runs on one thread, for torch's generators are the process's.

torch is imported by name, when it is needed: no other enclave carries it (import contract (d)), and what is measured
holds all of common/sandboxed anyway.

Not done here: an engine other than torch; and work that does not end (a document's cost is bounded) can't be killed:
when its deadline is over, the sandbox has failed, and its thread goes on until its unit is done.
"""

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError
from typing import Any, Final, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from common.bundle import DESIGN_FILE, GRAPH_FILE, BundleContents
from common.design_bundle import require_design
from common.errors import ConfinementError
from common.exported_graph import require_graph
from common.json_text import read_json
from common.refused_calls import NONE_REFUSED
from common.sandbox.protocol import QueryOutcome, RoundMetrics, RoundOutcome, Rows, SandboxLimits, SandboxSeeds, StateP
from common.sandbox.workplace import is_finite
from common.sandboxed.wire import PLAIN_COURSE, Course

_PAIR: Final = "confinement.pair"
_TIMEOUT, _RAISED, _INPUT, _OUTPUT = "provider.timeout", "provider.raised", "provider.input", "provider.output"

R = TypeVar("R")

READY_SECONDS: Final = 90.0
"""To import torch in, and to choose how rows are asked about: half a minute under Gramine, on a busy machine."""


class _Work:
    """One thread for torch, and how its work failed, if it did."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "toolchain")
        self.failure: str | None = None

    def do(self, work: Callable[[], R], seconds: float) -> R | None:
        """What `work` returns; None where it failed or was late, now or before."""
        if self.failure is not None:
            return None
        try:
            return self._thread.submit(work).result(seconds)
        except LateError:
            self.failure = _TIMEOUT
        except Exception:  # what torch raises, out of memory above all
            self.failure = _RAISED
        return None

    def close(self) -> None:
        """No more work. Idempotent."""
        self.failure = self.failure or "provider.killed"
        self._thread.shutdown(wait=False)


def _toolchain(name: str) -> Any:
    return importlib.import_module(f"common.sandboxed.{name}")


class EnclosedTrainingSandbox:
    """A `TrainingSandbox` (common/sandbox/protocol) of a design. Not for two threads at once."""

    refused_calls = NONE_REFUSED

    def __init__(self, contents: BundleContents, rows_per_round: int, seeds: SandboxSeeds, threads: int) -> None:
        self._contents, self._rows_per_round = contents, rows_per_round
        self._work = _Work()
        self._training: Any = None
        self._seeds, self._threads = seeds, threads

    @classmethod
    def start(
        cls, contents: BundleContents, *, rows_per_round: int, seeds: SandboxSeeds, limits: SandboxLimits
    ) -> Self:
        """Raises `ConfinementError` (confinement.pair) for code, `FormatError` for a document that is none."""
        if not contents.has_design:
            raise ConfinementError(_PAIR, expected="a design", seen="code or a graph")
        require_design(contents)
        return cls(contents, rows_per_round, seeds, limits.compute_threads)

    def initial_state(self, deadline_seconds: float) -> RoundOutcome:
        """The state that the design's initialisers make under the initial seed; metrics are zero."""
        return self._outcome(self._work.do(self._initial, deadline_seconds), 0)

    def run_round(
        self,
        state_P: StateP,
        rows: Rows,
        steps: int,
        batch: int,
        deadline_seconds: float,
        course: Course = PLAIN_COURSE,
    ) -> RoundOutcome:
        """As `NativeTrainingSandbox.run_round`."""
        if steps < 1 or batch < 1 or steps * batch > self._rows_per_round:
            raise ValueError("more rows than the sandbox was started for")
        if not self._fits(rows, steps * batch):
            self._work.failure = self._work.failure or _INPUT
        done = self._work.do(lambda: self._round(state_P, rows, steps, batch, course), deadline_seconds)
        return self._outcome(done, steps)

    def close(self) -> None:
        """No more rounds. Idempotent."""
        self._work.close()

    def _fits(self, rows: Rows, count: int) -> bool:
        for spec in (self._contents.manifest.input, self._contents.manifest.label):
            values = rows.get(spec.column)
            if values is None or values.dtype != np.dtype(spec.dtype) or values.shape != (count, *spec.shape):
                return False
        return True

    def _made(self) -> Any:
        if self._training is None:
            _toolchain("eager_optimisers").spare_compiler()
            importlib.import_module("torch").set_num_threads(self._threads)
            training, manifest = _toolchain("design_training"), self._contents.manifest
            columns = training.Columns(manifest.input.column, manifest.label.column)
            design = read_json(self._contents.files[DESIGN_FILE])
            made = training.DesignTraining(design, columns, self._seeds.initial, self._seeds.stream)
            self._initial_P: StateP = _toolchain("model_state").flatten_state(made.model)
            self._training = made
        return self._training

    def _initial(self) -> tuple[StateP, float, float]:
        self._made()
        return self._initial_P.copy(), 0.0, 0.0

    def _round(
        self, state_P: StateP, rows: Rows, steps: int, batch: int, course: Course
    ) -> tuple[StateP, float, float]:
        training, states = self._made(), _toolchain("model_state")
        states.load_state(training.model, state_P)
        losses = training.train(rows, steps, batch, course)
        return states.flatten_state(training.model), losses.mean, losses.last

    def _outcome(self, done: tuple[StateP, float, float] | None, steps: int) -> RoundOutcome:
        if done is None:
            return RoundOutcome(code=self._work.failure)
        state_P, mean, last = done
        if not is_finite(state_P) or not is_finite(np.array([mean, last])):
            self._work.failure = _OUTPUT
            return RoundOutcome(code=_OUTPUT)
        return RoundOutcome(state_P, RoundMetrics(steps, mean, last))


class EnclosedQuerySandbox:
    """A `QuerySandbox` (common/sandbox/protocol) of a graph or design, by eager torch. Not for two threads at once."""

    def __init__(self, contents: BundleContents, state_P: StateP, rows: int) -> None:
        self._manifest, self._rows = contents.manifest, rows
        document = read_json(contents.files[DESIGN_FILE if contents.has_design else GRAPH_FILE])
        self._graph = document["graph"] if contents.has_design else document
        self._state_P = state_P
        self._engine: Any = None
        self._work = _Work()

    @classmethod
    def start(cls, contents: BundleContents, state_P: StateP, *, rows: int | None = None) -> Self:
        """Raises `ConfinementError` (confinement.pair) for code, `ValueError` as the native one.

        It is ready when this returns, for no question's deadline is as long as torch takes to be imported. Where it is
        not, after `READY_SECONDS`, questions find that out.
        """
        if contents.has_design:
            require_design(contents)
        elif contents.has_graph:
            require_graph(contents)
        else:
            raise ConfinementError(_PAIR, expected="a design or a graph", seen="code")
        if state_P.shape != (contents.manifest.state_count,) or state_P.dtype != np.float32:
            raise ValueError("the state is not float32[P] of the bundle's layout")
        sandbox = cls(contents, state_P, contents.manifest.query_rows if rows is None else rows)
        sandbox._work.do(sandbox._ready, READY_SECONDS)
        return sandbox

    def answer(self, input_NX: NDArray[np.generic], deadline_seconds: float) -> QueryOutcome:
        """As `NativeQuerySandbox.answer`; an outcome with a code is about this query alone."""
        rows_NX = self._checked(input_NX)
        each = self._manifest.query_rows
        padded = np.zeros((-(-len(rows_NX) // each) * each, *self._manifest.input.shape), rows_NX.dtype)
        padded[: len(rows_NX)] = rows_NX
        if self._work.failure != "provider.killed":
            self._work.failure = None
        answer_NA = self._work.do(lambda: self._answered(padded), deadline_seconds)
        if answer_NA is None:
            return QueryOutcome(code=self._work.failure)
        if answer_NA.shape != (len(padded), *self._manifest.answer.shape) or not is_finite(answer_NA):
            return QueryOutcome(code=_OUTPUT)
        return QueryOutcome(answer_NA[: len(rows_NX)])

    def close(self) -> None:
        """No more answers. Idempotent."""
        self._work.close()

    def _ready(self) -> Any:
        if self._engine is None:
            importlib.import_module("torch").set_num_threads(1)
            self._engine = self._made()
        return self._engine

    def _answered(self, rows_NX: NDArray[np.generic]) -> NDArray[np.generic]:
        answer_NA: NDArray[np.generic] = self._ready().answer(rows_NX)
        return np.ascontiguousarray(answer_NA.astype(self._manifest.answer.dtype, copy=False))

    def _made(self) -> Any:
        """Eager torch; asked about each row by itself where neighbours change an answer (engine_choice.py)."""
        engines, choice = _toolchain("engines"), _toolchain("engine_choice")
        eager = engines.EagerEngine(self._graph, self._state_P)
        rows, alone = choice.random_rows(self._graph, choice.CHECKED_ROWS), engines.RowByRow(eager)
        together = choice.is_independent(eager, self._graph, rows, alone.answer(rows), choice.BATCH)
        return eager if together else alone

    def _checked(self, input_NX: NDArray[np.generic]) -> NDArray[np.generic]:
        spec = self._manifest.input
        rows_NX = input_NX[np.newaxis] if input_NX.shape == spec.shape else input_NX
        if rows_NX.dtype != np.dtype(spec.dtype) or rows_NX.shape[1:] != spec.shape:
            raise ValueError("the query is not of the manifest's shape and dtype")
        if not 1 <= len(rows_NX) <= self._rows:
            raise ValueError("the query has too few or too many rows")
        return rows_NX
