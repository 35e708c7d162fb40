"""The `native` sandbox: any Python and PyTorch provider code, in a child process under bubblewrap (side: enclave).

Of a bundle that holds a design instead of code, trusted code runs in the child, in the same confinement.

P parameters of the state, N rows of a unit of work, A shape of one answer row.

Around provider code, from the outside in: an unprivileged uid and a private mount namespace (stage), all namespaces, no
capability, a read-only tree without /proc (bubblewrap), an allow-list of system calls (outer and inner filter), limits
(lockdown). Rows and state come in through read-only windows, numbers leave through one output buffer, which is copied
before it is validated. Sound where the TEE contains the kernel, and for development.

Not closed: CPU time, caches, page faults and the clock; who shares the machine may see how long a unit of work took.
"""

import contextlib
from dataclasses import replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from common.bundle import BundleContents, BundleManifest
from common.errors import ConfinementError, FormatError
from common.refused_calls import NONE_REFUSED, RefusedCalls
from common.sandbox.child import Arrival
from common.sandbox.probe import require_confinement
from common.sandbox.protocol import (
    STARTUP_SECONDS,
    QueryOutcome,
    RoundMetrics,
    RoundOutcome,
    Rows,
    SandboxLimits,
    SandboxSeeds,
    StateP,
)
from common.sandbox.seccomp import FilterKind
from common.sandbox.workplace import UnitResult, Work, Workplace, is_finite
from common.sandboxed.engine_report import Precision, parse_report
from common.sandboxed.wire import CPU, CUDA, PLAIN_COURSE, Course, Operation, Status

CODES: Final = {
    Status.NOTHING: "provider.output",
    Status.IMPORT: "provider.import",
    Status.RAISED: "provider.raised",
    Status.TIMEOUT: "provider.timeout",
    Status.KILLED: "provider.killed",
    Status.OUTPUT: "provider.output",
}
"""The code of common/refusals.py for each status but `DONE`."""

ENDING_SHARE: Final = 0.1
ENDING_SECONDS: Final = 0.5
"""A query's child is ended by its zygote this much before the deadline (the lesser of a share and a time), so that the
zygote, which took a second to import torch, is not lost with it."""

DEFAULT_LIMITS: Final = SandboxLimits()


def training_work(
    manifest: BundleManifest, rows_per_round: int, *, counts_refused: bool = False, device: str = CPU
) -> Work:
    """Rounds of at most so many rows; what comes back is the state."""
    columns, body_bytes = (manifest.input, manifest.label), 4 * manifest.state_count
    inner = FilterKind.GPU_TRAINING if device == CUDA else FilterKind.TRAINING
    return Work(
        "training_process", inner, columns, rows_per_round, body_bytes, counts_refused=counts_refused, device=device
    )


def query_work(manifest: BundleManifest, rows: int | None = None, *, engines: bool = False) -> Work:
    """Units of at most `rows` rows, `query_rows` unless said; what comes back are as many answers.

    `engines`: a graph's, computed by the fastest engine; its state has to be there from the start.
    """
    most = manifest.query_rows if rows is None else rows
    inner = FilterKind.GRAPH if engines else FilterKind.QUERY
    return Work("query_process", inner, (manifest.input,), most, most * manifest.answer.row_bytes)


class NativeTrainingSandbox:
    """A `TrainingSandbox` (common/sandbox/protocol). One round at a time: callers take turns.

    `refused_calls`: none, unless it was started to count them.
    """

    def __init__(self, contents: BundleContents, place: Workplace, rows_per_round: int) -> None:
        self.refused_calls = NONE_REFUSED
        self._count = contents.manifest.state_count
        self._place = place
        self._rows_per_round = rows_per_round
        self._failure: str | None = None

    @classmethod
    def start(
        cls,
        contents: BundleContents,
        *,
        rows_per_round: int,
        seeds: SandboxSeeds,
        limits: SandboxLimits = DEFAULT_LIMITS,
        counts_refused: bool = False,
        device: str = CPU,
    ) -> Self:
        """Start a child and wait until torch is imported. Raises `ConfinementError`; provider code can't cause one.

        `device`: with `cuda` it is confinement.gpu where there is no GPU, or torch can't open it. Raises `FormatError`
        (format.bundle) for a graph, which says nothing of training.
        """
        if contents.has_graph:
            raise FormatError("format.bundle", expected="code, or a design", seen="a graph")
        require_confinement()
        work = training_work(contents.manifest, rows_per_round, counts_refused=counts_refused, device=device)
        place = Workplace(contents, work, seeds, limits)
        place.require_ready()
        return cls(contents, place, rows_per_round)

    def initial_state(self, deadline_seconds: float) -> RoundOutcome:
        """The state that the provider's constructor makes under the initial seed; metrics are zero."""
        if self._failure is not None:
            return RoundOutcome(code=self._failure)
        return self._validated(self._run(Operation.INITIAL_STATE, 0, 0, deadline_seconds), 0)

    def run_round(
        self,
        state_P: StateP,
        rows: Rows,
        steps: int,
        batch: int,
        deadline_seconds: float,
        course: Course = PLAIN_COURSE,
    ) -> RoundOutcome:
        """Train `steps` steps from `state_P` on exactly steps x batch `rows`, taken in the order given.

        Raises `ValueError` only for the enclave's own mistakes: a state that is not float32[P], too many rows.
        """
        if steps < 1 or batch < 1 or steps * batch > self._rows_per_round:
            raise ValueError("more rows than the sandbox was started for")
        if self._failure is not None:
            return RoundOutcome(code=self._failure)
        self._place.load_state(state_P)
        if not self._place.load_rows(rows, steps * batch):
            return self._failed("provider.input")
        return self._validated(self._run(Operation.ROUND, steps, batch, deadline_seconds, course), steps)

    def close(self) -> None:
        """End all that runs in it and forget its windows. Idempotent."""
        self._failed(self._failure or "provider.killed")

    def _run(
        self, operation: Operation, steps: int, batch: int, deadline_seconds: float, course: Course = PLAIN_COURSE
    ) -> UnitResult:
        result = self._place.run(operation, steps, batch, deadline_seconds, deadline_seconds, course)
        if self._place.counts_refused:
            self.refused_calls = RefusedCalls.of_counts(self._place.unverified_counts())
        return result

    def _validated(self, result: UnitResult, steps: int) -> RoundOutcome:
        """The outcome of a unit of work: only a copy that is finite and of the right size counts."""
        if result.status is not Status.DONE:
            return self._failed(CODES[result.status])
        state_P = np.frombuffer(result.unverified_body, np.float32, self._count)
        losses = np.array([result.loss_mean, result.loss_last])
        if result.steps != steps or not is_finite(state_P) or not is_finite(losses):
            return self._failed("provider.output")
        return RoundOutcome(state_P, RoundMetrics(result.steps, result.loss_mean, result.loss_last))

    def _failed(self, code: str) -> RoundOutcome:
        """End the child; from now on every round has this outcome."""
        self._failure = code
        self._place.close()
        return RoundOutcome(code=code)


def _ready_place(contents: BundleContents, state_P: StateP, seed: int, limits: SandboxLimits, work: Work) -> Workplace:
    place = Workplace(contents, work, SandboxSeeds(seed, seed), limits, state_P)
    place.require_ready()
    return place


class NativeQuerySandbox:
    """A `QuerySandbox` (common/sandbox/protocol) of units of at most `rows` rows, `query_rows` unless said.

    One unit at a time: callers take turns. `engine`: what computes a graph, for this enclave alone to know; None for
    provider code.
    """

    def __init__(self, contents: BundleContents, place: Workplace, rows: int | None = None) -> None:
        self._manifest = contents.manifest
        self._rows = contents.manifest.query_rows if rows is None else rows
        self._place = place
        self.engine = parse_report(*place.unverified_opening())

    @classmethod
    def start(
        cls,
        contents: BundleContents,
        state_P: StateP,
        *,
        seed: int,
        limits: SandboxLimits = DEFAULT_LIMITS,
        rows: int | None = None,
        precision: Precision = Precision.FLOAT32,
        ranges: tuple[tuple[float, float], ...] = (),
    ) -> Self:
        """Start a zygote that serves the model with this state, and wait until torch is imported and the engine chosen.

        `rows`: most rows of a unit; more than `query_rows` only where trusted code computes a graph or design, which
        then serves several queries at once, in no lower `precision`, with `ranges` of int8.
        Raises `ConfinementError`, and `ValueError` for a state that is not float32[P] of the bundle's layout, or for
        provider code that is to see rows of several queries.
        """
        by_graph = contents.has_graph or contents.has_design
        most = contents.manifest.query_rows if rows is None else rows
        if most != contents.manifest.query_rows and not by_graph:
            raise ValueError("provider code sees the rows of one query at a time")
        require_confinement()
        if by_graph:
            work = replace(query_work(contents.manifest, most, engines=True), precision=precision, ranges=ranges)
            with contextlib.suppress(ConfinementError):  # a library that ends its process leaves torch to answer
                return cls(contents, _ready_place(contents, state_P, seed, limits, work), most)
        return cls(contents, _ready_place(contents, state_P, seed, limits, query_work(contents.manifest, most)), most)

    def answer(self, input_NX: NDArray[np.generic], deadline_seconds: float) -> QueryOutcome:
        """Answer 1 to `rows` rows of the manifest's input (a single row may come without its batch axis).

        The model gets a multiple of `query_rows` rows, those that are not asked about zeros. If the zygote dies under
        the query, another one gets the same rows, once. Raises `ValueError` for a query of the wrong shape or dtype,
        which the enclave refuses before it asks.
        """
        rows_NX = self._checked(input_NX)
        each = self._manifest.query_rows
        padded = np.zeros((-(-len(rows_NX) // each) * each, *self._manifest.input.shape), rows_NX.dtype)
        padded[: len(rows_NX)] = rows_NX
        outcome = self._attempt(padded, len(rows_NX), deadline_seconds)
        if outcome is None:
            outcome = self._attempt(padded, len(rows_NX), deadline_seconds)
        return outcome or QueryOutcome(code="provider.killed")

    def _attempt(self, padded: NDArray[np.generic], asked: int, deadline_seconds: float) -> QueryOutcome | None:
        """One evaluation; None when the zygote died. Provider code never runs in it: somebody outside killed it."""
        arrival = self._place.await_ready(STARTUP_SECONDS)
        if arrival is Arrival.GONE:
            self._place.restart()
            arrival = self._place.await_ready(STARTUP_SECONDS)
        if arrival is not Arrival.BYTE:
            return QueryOutcome(code="provider.timeout")
        self._place.load_rows({self._manifest.input.column: padded}, len(padded))
        ending = min(ENDING_SHARE * deadline_seconds, ENDING_SECONDS)
        result = self._place.run(Operation.QUERY, 0, len(padded), deadline_seconds, deadline_seconds - ending)
        outcome = self._validated(result, len(padded), asked)
        if result.child_lost:
            self._place.restart()
        self._place.wipe()
        return None if result.child_lost and result.status is Status.KILLED else outcome

    def close(self) -> None:
        """End all that runs in it and forget its windows. Idempotent."""
        self._place.close()

    def _checked(self, input_NX: NDArray[np.generic]) -> NDArray[np.generic]:
        spec = self._manifest.input
        rows_NX = input_NX[np.newaxis] if input_NX.shape == spec.shape else input_NX
        if rows_NX.dtype != np.dtype(spec.dtype) or rows_NX.shape[1:] != spec.shape:
            raise ValueError("the query is not of the manifest's shape and dtype")
        if not 1 <= len(rows_NX) <= self._rows:
            raise ValueError("the query has too few or too many rows")
        return rows_NX

    def _validated(self, result: UnitResult, computed: int, asked: int) -> QueryOutcome:
        if result.status is not Status.DONE:
            return QueryOutcome(code=CODES[result.status])
        answer = self._manifest.answer
        count = computed * int(np.prod(answer.shape, dtype=np.int64))
        answer_NA = np.frombuffer(result.unverified_body, answer.dtype, count).reshape(-1, *answer.shape)
        if not is_finite(answer_NA):
            return QueryOutcome(code="provider.output")
        return QueryOutcome(answer_NA[:asked])
