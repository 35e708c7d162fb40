"""A sandboxed process with its windows: one unit of work after the other (side: enclave).

What training and query sandboxes have in common. A unit of work: send a record, await the byte, copy the output, and
only then look at the copy. Whatever goes wrong is a status, and nothing waits longer than the deadline.

P parameters of the state, N rows of a unit of work.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from common.bundle import DESIGN_FILE, GRAPH_FILE, BundleContents, ColumnSpec
from common.design_bundle import require_design
from common.errors import ConfinementError
from common.exported_graph import require_graph
from common.sandbox.call_classes import call_classes
from common.sandbox.child import Arrival, Pipes, SandboxChild
from common.sandbox.gpu import with_gpu
from common.sandbox.interpreter import program
from common.sandbox.protocol import STARTUP_SECONDS, Rows, SandboxLimits, SandboxSeeds, StateP
from common.sandbox.seccomp import FilterKind, compile_filter
from common.sandbox.tree import Tree, provider_tree, random_device
from common.sandbox.windows import Window, parse_output, plan_columns
from common.sandboxed.engine_report import Precision
from common.sandboxed.wire import (
    CPU,
    CUDA,
    HEADER,
    PLAIN_COURSE,
    VERDICT,
    Configuration,
    Course,
    Operation,
    Record,
    Status,
)

_WITH_SCRATCH = frozenset({FilterKind.TRAINING, FilterKind.GPU_TRAINING})

LOOK_SECONDS = 0.2
"""How often it is looked whether work was given up."""


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Work:
    """A kind of work: the child's main function, its inner filter, its columns, and the sizes of its windows.

    `niceness`: 0 to 19, of all that runs in it. `counts_refused`: its filter tells the child, which counts by class.
    `precision`: the lowest that a graph may be answered in; `ranges` of int8. `device`: what a training computes with.
    """

    program: str
    inner_filter: FilterKind
    columns: tuple[ColumnSpec, ...]
    rows: int
    body_bytes: int
    niceness: int = 0
    counts_refused: bool = False
    precision: Precision = Precision.FLOAT32
    ranges: tuple[tuple[float, float], ...] = ()
    device: str = CPU


@dataclass(frozen=True)
class UnitResult:
    """How a unit of work ended; `unverified_body` is a copy of the output behind its header.

    `child_lost`: no byte came, so the child is dead or deaf, and must not be given more work.
    """

    status: Status
    child_lost: bool = False
    steps: int = 0
    loss_mean: float = 0.0
    loss_last: float = 0.0
    unverified_body: bytes | memoryview = b""


class Workplace:
    """A child and its windows. Raises `ConfinementError` when this machine can't make them.

    A bundle's design or graph is checked before anything is allocated for it; raises `FormatError` (format.design).
    `state_P`: what the child sees from its start, as `load_state` shows it.
    """

    def __init__(
        self,
        contents: BundleContents,
        work: Work,
        seeds: SandboxSeeds,
        limits: SandboxLimits,
        state_P: StateP | None = None,
    ) -> None:
        self._require_document(contents)
        self._contents, self._work, self._seeds, self._limits = contents, work, seeds, limits
        self._columns, input_bytes = plan_columns(work.columns, work.rows)
        try:
            self._input = Window(input_bytes, writable_in_child=False)
            self._state = Window(4 * contents.manifest.state_count, writable_in_child=False)
            self._output = Window(HEADER.size + work.body_bytes, writable_in_child=True)
        except OSError as cause:
            raise ConfinementError("confinement.failed", expected="sealed memory files (Linux 5.1)") from cause
        if state_P is not None:
            try:
                self.load_state(state_P)
            except ValueError:
                self._close_windows()
                raise
        self._sequence = 0
        self._ready = False
        self._child = self._start()

    def _require_document(self, contents: BundleContents) -> None:
        if contents.has_design:
            require_design(contents)
        if contents.has_graph:
            require_graph(contents)

    def await_ready(self, seconds: float, given_up: Callable[[], bool] = _never) -> Arrival:
        """Wait until the child is ready for provider code."""
        if not self._ready:
            arrival = self._await(time.monotonic() + seconds, given_up)
            self._ready = arrival is Arrival.BYTE
            return arrival
        return Arrival.BYTE

    def require_ready(self) -> None:
        """Wait for the child. Raises `ConfinementError` when it does not come up; then everything is closed."""
        if self.await_ready(STARTUP_SECONDS) is not Arrival.BYTE:
            self.close()
            code = "confinement.gpu" if self._work.device == CUDA else "confinement.failed"
            raise ConfinementError(code, seen="the sandbox did not start")

    def load_state(self, state_P: StateP) -> None:
        """Show the child this state. Raises `ValueError` for a state that is not float32[P]."""
        if state_P.shape != (self._contents.manifest.state_count,) or state_P.dtype != np.float32:
            raise ValueError("the state is not float32[P] of the bundle's layout")
        self._state.write(0, state_P)

    def load_rows(self, rows: Rows, count: int) -> bool:
        """Show the child `count` rows. False when they are not of the columns that the bundle declares."""
        for spec, column in zip(self._work.columns, self._columns, strict=True):
            values = rows.get(spec.column)
            if values is None or values.dtype != np.dtype(spec.dtype) or values.shape != (count, *spec.shape):
                return False
            self._input.write(column.offset, values)
        return True

    def run(
        self,
        operation: Operation,
        steps: int,
        batch: int,
        deadline_seconds: float,
        own_seconds: float,
        course: Course = PLAIN_COURSE,
        given_up: Callable[[], bool] = _never,
    ) -> UnitResult:
        """Do one unit of work; the child is told to end it itself after `own_seconds`, if it can."""
        deadline = time.monotonic() + deadline_seconds
        self._sequence += 1
        record = Record(self._sequence, operation, steps, batch, own_seconds, course)
        if not self._child.pipes.send(record.encode()):
            return UnitResult(Status.KILLED, child_lost=True)
        arrival = self._await(deadline, given_up)
        if arrival is not Arrival.BYTE:
            return UnitResult(Status.TIMEOUT if arrival is Arrival.LATE else Status.KILLED, child_lost=True)
        copied = self._output.copy(HEADER.size + self._work.body_bytes)
        status, steps_done, mean, last = parse_output(copied, self._sequence)
        return UnitResult(status, False, steps_done, mean, last, copied[HEADER.size :])

    def unverified_opening(self) -> tuple[int, float, float]:
        """The three numbers that the child may have said before its first unit of work; zeros else."""
        return parse_output(self._output.copy(HEADER.size), 0)[1:]

    @property
    def counts_refused(self) -> bool:
        """Whether its child counts refused calls."""
        return self._work.counts_refused

    def unverified_counts(self) -> bytes:
        """How often calls of each class were refused so far, as the child says."""
        return bytes(self._output.copy(HEADER.size)[VERDICT.size :])

    def _await(self, deadline: float, given_up: Callable[[], bool]) -> Arrival:
        """A byte, the child's end, or LATE: the deadline is over, or somebody gave the work up."""
        while True:
            now = time.monotonic()
            until = deadline if given_up is _never else min(deadline, now + LOOK_SECONDS)
            arrival = self._child.pipes.await_byte(until)
            if arrival is not Arrival.LATE or until >= deadline or given_up():
                return arrival

    def wipe(self) -> None:
        """Forget the unit of work: zero the input and the output, which a child could write to."""
        self._input.wipe()
        self._output.wipe()

    def restart(self) -> None:
        """Kill the child and start another; it is not awaited."""
        self._child.kill()
        self._ready = False
        self._child = self._start()

    def close(self) -> None:
        """Kill the child and forget the windows. Idempotent."""
        self._child.kill()
        self._close_windows()

    def _close_windows(self) -> None:
        for window in (self._input, self._state, self._output):
            window.close()

    def _start(self) -> SandboxChild:
        pipes = Pipes()
        fds, niceness = self._window_fds(), self._work.niceness
        return SandboxChild(self._tree(pipes), self._program(), pipes, window_fds=fds, niceness=niceness)

    def _program(self) -> tuple[str, ...]:
        return program(self._work.program)

    def _window_fds(self) -> tuple[int, ...]:
        return self._input.child_fd, self._state.child_fd, self._output.child_fd

    def _tree(self, pipes: Pipes) -> Tree:
        tree = provider_tree(
            self._contents.files,
            self._configuration(pipes).encode(),
            compile_filter(self._work.inner_filter, tells=self._work.counts_refused),
            randomness=random_device(self._seeds),
            scratch_bytes=self._limits.file_bytes if self._work.inner_filter in _WITH_SCRATCH else 0,
            engines=self._work.inner_filter is FilterKind.GRAPH,
        )
        return with_gpu(tree) if self._work.device == CUDA else tree

    def _document(self) -> str | None:
        if self._contents.has_design:
            return DESIGN_FILE
        return GRAPH_FILE if self._contents.has_graph else None

    def _configuration(self, pipes: Pipes) -> Configuration:
        manifest = self._contents.manifest
        return Configuration(
            entry=manifest.entry,
            design=self._document(),
            layout=tuple((tensor.name, tensor.shape) for tensor in manifest.layout),
            columns=self._columns,
            rows=self._work.rows,
            answer_shape=manifest.answer.shape,
            answer_dtype=manifest.answer.dtype,
            seed_initial=self._seeds.initial,
            seed_stream=self._seeds.stream,
            control_fd=pipes.control_fd,
            completion_fd=pipes.completion_fd,
            input_fd=self._input.child_fd,
            state_fd=self._state.child_fd,
            output_fd=self._output.child_fd,
            call_classes=call_classes() if self._work.counts_refused else (),
            engines=self._work.inner_filter is FilterKind.GRAPH,
            precision=self._work.precision,
            ranges=self._work.ranges,
            device=self._work.device,
            **asdict(self._limits),
        )


def is_finite(values: NDArray[np.generic]) -> bool:
    """Whether no value is NaN or infinite; integers always are."""
    return bool(np.isfinite(values).all())
