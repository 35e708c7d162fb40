"""A trainer's local work: the provider's code in its sandbox, and what is said of it (side: enclave).

P parameters of the bundle's layout, padded to the order's state_class on the way out.
Holds: the sandbox, the residual of rounding.  Reads: opened columns, states.  Sends: nothing; it returns sayings.

All of it runs on one thread of its own (the sandbox's child dies with the thread that started it), so the clock never
waits for provider code. Whatever provider code does ends in a saying: a delta, or, once it has failed, a note with the
code; after that there is nothing more to say, and the host sees frames as before. The work goes on all the same, over
parameters that are dropped (`waste`). A design that ends the training is no failure: rounds go on as before, and their
deltas count for nothing.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from common.errors import CloisterError, Refusal
from common.exchange.frames import FrameKind
from common.exchange.going_ahead import next_start
from common.exchange.payloads import STOPPED, DeltaEncoder, Figures, StateP, decode_state, encode_state, pad_state
from common.exchange.schedule import round_deadline_seconds
from common.exchange.toolchain import Toolchain
from common.messages.order import Schedule
from common.refused_calls import NONE_REFUSED, RefusedCalls
from common.sandbox.protocol import STARTUP_SECONDS, RoundMetrics, Rows, TrainingSandbox
from common.sandboxed.wire import Course
from services.trainer_enclave.designing import Heading, JobDesign
from services.trainer_enclave.exchange import RoundState, Saying

PATIENT_SECONDS: Final = 10.0
PATIENT_ROUNDS: Final = 4
"""A round that is late is left out; provider code is given up only after the longer of these (in units of D)."""

REMAINING_SHARE: Final = 0.75
"""Part of what is left of a schedule that provider code may take, so that its code is still reported."""

START_TIMES: Final = 2
"""So many times what the first sandbox took to start must be left for another one, which is not to outlive the job."""


def startup_seconds(schedule: Schedule) -> float:
    """Deadline of the initial state."""
    return min(STARTUP_SECONDS, REMAINING_SHARE * schedule.learning_ticks * schedule.tick_seconds)


def round_seconds(schedule: Schedule, tick: int) -> float | None:
    """Deadline of a round that starts at `tick`; None when what is left of the schedule is less than D."""
    left = (schedule.learning_ticks - tick) * schedule.tick_seconds
    usual = round_deadline_seconds(schedule)
    if left < usual:
        return None
    return min(max(PATIENT_SECONDS, PATIENT_ROUNDS * usual), REMAINING_SHARE * left)


@dataclass(frozen=True)
class TrainingParts:
    """What local training needs: functions that start the sandbox and give a round's rows.

    `design`: of a job that has one; then the sandbox can be started only when all data were read. `able`: the best
    toolchain of the processors here. `weight`: what this member's deltas count; None: as many rows as it trains on.
    `chunks`: how many of its data were asked for so far.
    """

    start_sandbox: Callable[[], TrainingSandbox]
    rows_of_round: Callable[[int], Rows]
    design: JobDesign | None = None
    able: Toolchain = Toolchain.FP32
    weight: Callable[[], int] | None = None
    chunks: Callable[[], int] = int


class LocalTraining:
    """The provider's code of one launch. Use it from one thread."""

    def __init__(self, schedule: Schedule, parts: TrainingParts) -> None:
        self._schedule, self._parts = schedule, parts
        self._sandbox: TrainingSandbox | None = None
        self._initial: Saying | None = None
        self._start_seconds = 0.0
        self._wasted_P: StateP | None = None
        self._state_count = 0
        self._encoder = DeltaEncoder(schedule.state_class)
        self._trained: tuple[StateP, StateP] | None = None  # where the last round was begun, and its change

    @property
    def waits_for_data(self) -> bool:
        """Whether the initial state hangs on the data."""
        return self._parts.design is not None

    def prepare(self) -> None:
        """Begin what needs no data. What is wrong with it is said by `initial`."""
        if self._parts.design is None:
            self.initial()
        else:
            self._parts.design.prepare(REMAINING_SHARE * self._schedule.learning_ticks * self._schedule.tick_seconds)

    def initial(self) -> Saying:
        """The state before round 0, the same at every trainer; later calls begin anew from it."""
        self._encoder = DeltaEncoder(self._schedule.state_class)
        if self._initial is None:
            self._initial = self._guarded(0, self._make_initial)
        return self._initial

    def round(self, state: RoundState, deadline_seconds: float, *, ahead: bool = False) -> Saying:
        """Train one round from `state`: its delta, or a note. `ahead`: that round was trained, so the next one."""
        return self._guarded(state.round + ahead, lambda: self._train(state, deadline_seconds, ahead=ahead))

    def waste(self, number: int, deadline_seconds: float) -> None:
        """A round for nobody, on the rows of round `number`, after a failure.

        A failed sandbox is dead: another one is started, on its initial state, and again by a later call when that one
        fails. Where none was ever started, or there are no rows, nothing can be done. A fault is nobody's any more.
        """
        with contextlib.suppress(CloisterError, OSError, ValueError, RuntimeError, MemoryError):
            self._waste(number, time.monotonic() + deadline_seconds)

    def _waste(self, number: int, deadline: float) -> None:
        if self._sandbox is None:
            return
        schedule, rows = self._schedule, self._parts.rows_of_round(number)
        if self._wasted_P is None:
            if deadline - time.monotonic() < START_TIMES * self._start_seconds:
                return
            self._sandbox.close()
            self._sandbox = self._parts.start_sandbox()
            self._wasted_P = self._sandbox.initial_state(deadline - time.monotonic()).state_P
        if self._wasted_P is not None:
            left = deadline - time.monotonic()
            outcome = self._sandbox.run_round(self._wasted_P, rows, schedule.steps_per_round, schedule.batch_rows, left)
            self._wasted_P = outcome.state_P

    def note(self, number: int, code: str | None) -> Saying:
        """What is said of a failure."""
        return Saying(FrameKind.NOTE, number, Figures(None, 0, 0, code or "provider.output", self._refused).encode())

    def close(self) -> None:
        """End the sandbox, and design code."""
        if self._sandbox is not None:
            self._sandbox.close()
        if self._parts.design is not None:
            self._parts.design.close()

    @property
    def _refused(self) -> RefusedCalls:
        return NONE_REFUSED if self._sandbox is None else self._sandbox.refused_calls

    def _guarded(self, number: int, work: Callable[[], Saying]) -> Saying:
        """Any fault, also one of ours, becomes a note: an early end would tell the host something."""
        try:
            return work()
        except Refusal as refusal:
            return self.note(number, refusal.code)
        except (CloisterError, OSError, ValueError, RuntimeError, MemoryError):
            return self.note(number, "unavailable.enclave")

    def _make_initial(self) -> Saying:
        began = time.monotonic()
        self._sandbox = self._parts.start_sandbox()
        outcome = self._sandbox.initial_state(startup_seconds(self._schedule))
        self._start_seconds = time.monotonic() - began
        if outcome.state_P is None:
            return self.note(0, outcome.code)
        self._state_count = outcome.state_P.size
        payload = encode_state(pad_state(outcome.state_P, self._schedule.state_class))
        return Saying(FrameKind.STATE, 0, payload, None if self._parts.design is None else self._parts.design.payload())

    def _train(self, state: RoundState, deadline_seconds: float, *, ahead: bool) -> Saying:
        number = state.round + ahead
        if self._sandbox is None:
            return self.note(number, "unavailable.enclave")
        if state.toolchain > self._parts.able:
            return self.note(number, "unavailable.toolchain")
        schedule, deadline = self._schedule, time.monotonic() + deadline_seconds
        heading = self._heading(state, deadline_seconds)
        start_P = decode_state(state.data, schedule.state_class)
        if ahead and self._trained is not None:
            start_P = next_start(start_P, *self._trained)
        outcome = self._sandbox.run_round(
            start_P[: self._state_count],
            self._parts.rows_of_round(number),
            schedule.steps_per_round,
            schedule.batch_rows,
            deadline - time.monotonic(),
            replace(heading.course, bf16=state.toolchain is Toolchain.BF16),
        )
        if outcome.state_P is None or outcome.metrics is None:
            return self.note(number, outcome.code)
        end_P = start_P if heading.stopped else pad_state(outcome.state_P, schedule.state_class)
        return self._delta(number, start_P, end_P, outcome.metrics, stopped=heading.stopped)

    def _heading(self, state: RoundState, deadline_seconds: float) -> Heading:
        if self._parts.design is None or state.steering is None:
            return Heading(Course(state.round))
        return self._parts.design.heading(state.round, state.steering, deadline_seconds)

    def _delta(self, number: int, start_P: StateP, end_P: StateP, metrics: RoundMetrics, *, stopped: bool) -> Saying:
        with np.errstate(over="ignore"):
            delta_P = end_P - start_P
        self._trained = start_P, delta_P
        schedule, weight = self._schedule, self._parts.weight
        rows = schedule.steps_per_round * schedule.batch_rows if weight is None else weight()
        code = STOPPED if stopped else None
        figures = Figures(
            metrics.loss_mean, self._schedule.steps_per_round, rows, code, self._refused, self._parts.chunks()
        )
        return Saying(FrameKind.DELTA, number, self._encoder.encode(delta_P, figures))
