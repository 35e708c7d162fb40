"""A job of design code in one process, for what it learns: one trainer, rounds, steering, answers (side: owner).

N rows, P parameters of the order's state class, A shape of an answer row.

All that numbers pass through is the product's own code: profile, WebAssembly engine, checks of the design, sandbox,
course, deltas in bf16 with error feedback, outer optimiser, and the losses that design code steers by, as payloads.
Left out is what carries those bytes and changes none: sealing, doors, frames and their clock, the broker.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.bundle import BundleContents
from common.crypto.digests import sha256
from common.crypto.keys import SecretKey
from common.crypto.labels import SEED_INITIAL, SEED_STREAM
from common.crypto.signing import SigningKey
from common.exchange.frames import FrameKind
from common.exchange.payloads import Figures, StateP, decode_state, encode_state
from common.exchange.steering import EpochLosses, Steering, unpad_design
from common.identifiers import BundleId, DatasetId
from common.job_profile import JobRows
from common.messages.order import Schedule, TrainingOrder
from common.sandbox.native import NativeQuerySandbox, NativeTrainingSandbox
from common.sandbox.protocol import SandboxSeeds, TrainingSandbox
from common.sandbox.wasm.compiled import CompiledDesign
from common.sandbox.wasm.designer import DesignOutcome, SteeringOutcome, WasmDesigner
from common.sandbox.wasm.interface import Metrics, Profile
from services.paramserver.aggregation import OuterOptimiser
from services.trainer_enclave.dataset import Columns, RoundRows
from services.trainer_enclave.designing import JobDesign
from services.trainer_enclave.exchange import RoundState, Saying
from services.trainer_enclave.training import LocalTraining, TrainingParts

SECONDS: Final = 600.0
"""Deadline of each unit of work: whether it is kept is not what is measured."""

_SLOT: Final = (0).to_bytes(8, "big")


@dataclass(frozen=True)
class Taught:
    """What a job leaves: the bundle that is served, its state, each round's mean loss, rounds with changed factors."""

    contents: BundleContents
    state_P: StateP
    losses: tuple[float, ...]
    adjusted_rounds: int


class _Watched:
    """Design code, and how often it wanted something changed."""

    def __init__(self, designer: WasmDesigner) -> None:
        self._designer = designer
        self.changes = 0

    def design(self, profile: Profile, deadline_seconds: float) -> DesignOutcome:
        return self._designer.design(profile, deadline_seconds)

    def after_epoch(self, metrics: Metrics, deadline_seconds: float) -> SteeringOutcome:
        outcome = self._designer.after_epoch(metrics, deadline_seconds)
        self.changes += outcome.change is not None and outcome.change.adjustment is not None
        return outcome

    def close(self) -> None:
        self._designer.close()


class DesignedJob:
    """One job with one trainer. `begin`, then `teach`, on the same thread."""

    def __init__(
        self,
        bundle: BundleContents,
        columns: Columns,
        schedule: Schedule,
        seed: SecretKey,
        compiled: CompiledDesign | None = None,
    ) -> None:
        self._bundle, self._schedule, self._compiled = bundle, schedule, compiled
        self._rows_per_round = schedule.steps_per_round * schedule.batch_rows
        self._rows = RoundRows([columns], seed, 0, 1, self._rows_per_round)
        self._seeds = SandboxSeeds(seed.derive_number(SEED_INITIAL), seed.derive_number(SEED_STREAM, _SLOT))
        self._design = JobDesign(_order(schedule), self._start_designer)
        parts = TrainingParts(self._start_sandbox, self._rows.of_round, self._design)
        self._training = LocalTraining(schedule, parts)
        self._watched: _Watched | None = None
        self._served: BundleContents | None = None
        self._first: Saying | None = None

    @property
    def served(self) -> BundleContents:
        """The bundle of what design code wrote for these columns."""
        if self._served is None:
            raise RuntimeError("a job begins before it has a design")
        return self._served

    def begin(self) -> None:
        """Have the model designed, and its first state made. Raises `RuntimeError` with the code of what is wrong."""
        self._first = _required(self._training.initial(), FrameKind.STATE)

    def teach(self) -> Taught:
        """Train all rounds. Raises `RuntimeError` with the code of what is wrong."""
        if self._first is None or self._watched is None:
            raise RuntimeError("a job begins before it trains")
        digest = sha256(unpad_design(self._first.design or b""))
        size, losses, adjusted = self._schedule.state_class, list[float](), 0
        state_P = decode_state(self._first.payload, size)
        outer, epochs = OuterOptimiser(size, learning_rate=1.0, momentum=0.0), EpochLosses(self._schedule)
        for number in range(self._schedule.rounds):
            steering = Steering.parse(Steering(digest, epochs.told).encode())
            state = RoundState(number, bytearray(encode_state(state_P)), steering)
            delta = _required(self._training.round(state, SECONDS), FrameKind.DELTA)
            result = outer.close_round(state_P, {0: delta.payload})
            if result.contributors != (0,) or result.loss is None or result.stopped:
                raise RuntimeError(f"round {number}: no delta that counts")
            state_P = result.state_P
            epochs.add(result.loss)
            losses.append(result.loss)
            adjusted += self._watched.changes > 0
        return Taught(self.served, state_P[: self.served.manifest.state_count], tuple(losses), adjusted)

    def close(self) -> None:
        """End sandbox and design code."""
        self._training.close()

    def _start_designer(self, seconds: float) -> _Watched:
        started = WasmDesigner.start(self._bundle, self._seeds, compiled=self._compiled, deadline_seconds=seconds)
        self._watched = _Watched(started)
        return self._watched

    def _start_sandbox(self) -> TrainingSandbox:
        self._served = served = self._design.make(
            JobRows(self._rows.tables, self._rows.count), self._bundle.manifest, SECONDS
        )
        return NativeTrainingSandbox.start(served, rows_per_round=self._rows_per_round, seeds=self._seeds)


@contextlib.contextmanager
def begun(job: DesignedJob) -> Iterator[DesignedJob]:
    """The job after `begin`, closed at the end."""
    try:
        job.begin()
        yield job
    finally:
        job.close()


def answers(taught: Taught, input_NX: NDArray[np.generic]) -> NDArray[np.generic]:
    """Answers [N, A] of the query sandbox, `query_rows` a query. Raises `RuntimeError` with the code of a failure."""
    told, at_once = [], taught.contents.manifest.query_rows
    server = NativeQuerySandbox.start(taught.contents, taught.state_P, seed=1)
    try:
        for begin in range(0, len(input_NX), at_once):
            outcome = server.answer(input_NX[begin : begin + at_once], SECONDS)
            if outcome.answer_NA is None:
                raise RuntimeError(outcome.code)
            told.append(outcome.answer_NA)
    finally:
        server.close()
    return np.concatenate(told)


def _required(saying: Saying, kind: FrameKind) -> Saying:
    if saying.kind is not kind:
        raise RuntimeError(f"round {saying.round}: {Figures.parse(saying.payload).code}")
    return saying


def _order(schedule: Schedule) -> TrainingOrder:
    """Of its fields a design depends on the public ones alone."""
    party, digest = SigningKey.generate().party, sha256(b"")
    return TrainingOrder(
        nonce=bytes(16), owners=(party,), broker=party, release=digest, datasets=(DatasetId.of(digest),),
        bundle=BundleId.of(digest), sandbox="wasm", trainers=1, schedule=schedule, not_after=1, secret=b"",
    )  # fmt: skip
