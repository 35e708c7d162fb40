"""A whole job in one process: real machines, real ciphers, an in-memory transport, a least-squares provider.

B batch, F features, P parameters. The clock is the loop below: one step is one tick everywhere, so runs are exact.
"""

import functools
import struct
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.crypto.digests import sha256
from common.crypto.keys import SecretKey
from common.crypto.signing import SigningKey
from common.exchange.frames import Endpoint, FrameHeader
from common.exchange.steering import pad_design
from common.exchange.toolchain import Toolchain
from common.identifiers import BundleId, DatasetId, JobId, MrEnclave, RoleName
from common.job_design import open_design
from common.job_profile import JobRows
from common.messages.jobs import Member, Members
from common.messages.order import Schedule, ToolchainWish, TrainingOrder
from common.refused_calls import NONE_REFUSED, RefusedCalls
from common.sandbox.protocol import RoundMetrics, RoundOutcome, Rows, StateP
from common.sandboxed.wire import PLAIN_COURSE, Course
from services.paramserver.checkpoint import JobProgress
from services.paramserver.job import ParameterServerJob
from services.paramserver.job_context import JobContext
from services.trainer_enclave.designing import JobDesign
from services.trainer_enclave.exchange import TrainerExchange
from services.trainer_enclave.exporting import JobGraph
from services.trainer_enclave.job import TrainerJob
from services.trainer_enclave.quantising import JobQuantising
from services.trainer_enclave.training import LocalTraining, TrainingParts
from tests.fakes.plain_designs import PlainDesigner, designing_bundle

FEATURES = 20
ORDER = sha256(b"an order")
MEASURED = MrEnclave("ab" * 32)


def make_schedule(**changes: Any) -> Schedule:
    """Small frames, so that a state takes two of them."""
    fields = {
        "rounds": 6,
        "steps_per_round": 8,
        "batch_rows": 16,
        "tick_milliseconds": 100,
        "ticks_per_round": 8,
        "warmup_ticks": 6,
        "frames_per_tick": 2,
        "frame_bytes": 1024,
        "reads_per_tick": 1,
        "state_class": 256,
    }
    return Schedule(**(fields | changes))


class InlineExecutor(Executor):
    """Runs work when it is submitted."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class DelayedExecutor(Executor):
    """Finishes work only when told to: a straggler."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: work(*args, **kwargs)))
        return future

    def finish(self) -> None:
        """Do all work that waits and was not taken back."""
        for future, work in self.waiting:
            if future.set_running_or_notify_cancel():
                future.set_result(work())
        self.waiting.clear()


def rows_for(slot: int, seed: int = 5) -> Callable[[int], Rows]:
    """Rows of y = x w + noise with one true w; every round another draw."""
    true_F = np.random.default_rng(seed).normal(size=FEATURES).astype(np.float32)

    def rows_of_round(number: int) -> Rows:
        draw = np.random.default_rng([seed, slot, number])
        x_BF = draw.normal(size=(128, FEATURES)).astype(np.float32)
        y_B = x_BF @ true_F + 0.01 * draw.normal(size=128).astype(np.float32)
        return {"x": x_BF, "y": y_B.astype(np.float32)}

    return rows_of_round


@dataclass
class LeastSquares:
    """The sandbox protocol over a linear model, which no deadline ends; fails by `code` from round `fails_in` on."""

    fails_in: int | None = None
    code: str = "provider.raised"
    rounds: int = 0
    closed: bool = False
    refused_calls: RefusedCalls = NONE_REFUSED
    courses: list[Course] = field(default_factory=list)

    def initial_state(self, deadline_seconds: float) -> RoundOutcome:  # noqa: ARG002 - of the protocol
        """Zeros and one constant."""
        return RoundOutcome(np.zeros(FEATURES, np.float32), RoundMetrics(0, 0.0, 0.0))

    def run_round(
        self,
        state_P: StateP,
        rows: Rows,
        steps: int,
        batch: int,
        deadline_seconds: float,  # noqa: ARG002 - of the protocol
        course: Course = PLAIN_COURSE,
    ) -> RoundOutcome:
        """Plain SGD."""
        if self.fails_in is not None and self.rounds >= self.fails_in:
            return RoundOutcome(code=self.code)
        self.rounds += 1
        self.courses.append(course)
        weights_F, losses = state_P.copy(), []
        for step in range(steps):
            x_BF, y_B = (rows[name][step * batch : (step + 1) * batch].astype(np.float32) for name in ("x", "y"))
            error_B = x_BF @ weights_F - y_B
            losses.append(float((error_B**2).mean()))
            weights_F -= np.float32(0.1 * course.learning_rate) * (x_BF.T @ error_B) / np.float32(batch)
        return RoundOutcome(weights_F, RoundMetrics(steps, float(np.mean(losses)), losses[-1]))

    def close(self) -> None:
        """Nothing to end."""
        self.closed = True


def loss_of(state_P: NDArray[np.float32]) -> float:
    """Mean squared error on held-out rows."""
    rows = rows_for(slot=99)(0)
    return float(((rows["x"].astype(np.float32) @ state_P[:FEATURES] - rows["y"].astype(np.float32)) ** 2).mean())


Shape = tuple[str, int, int, int, int, int]


@dataclass
class InMemoryJob:
    """One parameter server, some trainers, and a host that carries (and traces) frames.

    `drop(sender, tick)` may lose a member's frames: sender -1 is the server's downlink. With `designers`, one for each
    start of design code at a slot, the job's bundle is design code; slots without an entry get a `PlainDesigner`.
    """

    schedule: Schedule
    trainers: int = 2
    sandboxes: dict[int, LeastSquares] = field(default_factory=dict)
    executors: dict[int, Executor] = field(default_factory=dict)
    learning_rate: float = 1.0
    momentum: float = 0.0
    drop: Callable[[int, int], bool] = lambda _sender, _tick: False
    trace: list[Shape] = field(default_factory=list)
    frames: list[tuple[int, bytes]] = field(default_factory=list)
    lists_kept_back: bool = False
    designers: dict[int, list[PlainDesigner]] | None = None
    ready: Callable[[int | None], bool] = lambda _: True
    """Whether the data of a round are there, or, for None, those of a design."""
    graphs: dict[int, bytes] = field(default_factory=dict)
    """What the bundle's code exports to at a slot, once the job has begun."""
    quantising: JobQuantising | None = None
    quantising_slot: int = 0
    """What judges int8, and where; the schedule has ticks for it."""
    able: dict[int, Toolchain] = field(default_factory=dict)
    """What a slot's processor can; FP32 where nothing is said."""
    toolchain: ToolchainWish = "auto"
    minimal_trainers: int = 1

    def __post_init__(self) -> None:
        self.job_key = SecretKey.generate()
        self.listed: dict[tuple[str, int], Member] = {}
        self.jobs: dict[int, TrainerJob] = {}
        self.started: list[tuple[int, PlainDesigner]] = []
        self.server = self.start_server(1)
        for slot in range(self.trainers):
            self.start_trainer(slot, 1)

    def _list(self, role: str, slot: int, attempt: int) -> Endpoint:
        key = SigningKey.generate().party
        self.listed[role, slot] = Member(
            role=RoleName(role), slot=slot, attempt=attempt, signing_public=key, mr_enclave=MEASURED
        )
        return Endpoint(slot, attempt, key)

    def start_server(self, attempt: int, progress: JobProgress | None = None) -> ParameterServerJob:
        """A launch of the parameter server, which the members' list names from now on; it goes on at `progress`."""
        own = self._list("paramserver", 0, attempt)
        bundle, check = designing_bundle().manifest, None
        if self.designers is not None:
            check = functools.partial(open_design, bundle=bundle, schedule=self.schedule)
        context = JobContext(
            JobId.of(ORDER), ORDER, self.schedule, own, self.learning_rate, self.momentum, check,
            self.trainers, self.toolchain, minimal_trainers=self.minimal_trainers,
        )  # fmt: skip
        self.server = ParameterServerJob(context, self.job_key, InlineExecutor(), progress)
        return self.server

    def start_trainer(self, slot: int, attempt: int) -> TrainerJob:
        """A launch of a trainer."""
        own = self._list("trainer", slot, attempt)
        sandbox = self.sandboxes.setdefault(slot, LeastSquares())
        design = None if self.designers is None else JobDesign(self._order(), lambda _: self._start_designer(slot))

        def start_sandbox() -> LeastSquares:
            if design is not None:
                assert (
                    design.make(JobRows((rows_for(0)(0),), 128), designing_bundle().manifest, 10.0).manifest.state_count
                    == FEATURES
                )
            return sandbox

        able = self.able.get(slot, Toolchain.FP32)
        parts = TrainingParts(start_sandbox, rows_for(slot), design, able)
        exchange = TrainerExchange(self.schedule, ORDER, self.job_key, own, steered=design is not None, able=able)
        executor = self.executors.get(slot, InlineExecutor())
        training = LocalTraining(self.schedule, parts)
        quantising = self.quantising if slot == self.quantising_slot else None
        self.jobs[slot] = TrainerJob(self.schedule, exchange, training, executor, self._graph_of(slot), quantising)
        return self.jobs[slot]

    def _graph_of(self, slot: int) -> JobGraph | None:
        if slot not in self.graphs:
            return None
        graph = JobGraph(_no_export, 1.0)
        graph.payload = pad_design(self.graphs[slot])
        return graph

    def _start_designer(self, slot: int) -> PlainDesigner:
        assert self.designers is not None
        waiting = self.designers.setdefault(slot, [])
        self.started.append((slot, waiting.pop(0) if waiting else PlainDesigner()))
        return self.started[-1][1]

    def _order(self) -> TrainingOrder:
        key = SigningKey.generate().party
        return TrainingOrder(
            nonce=bytes(16), owners=(key,), broker=key, release=ORDER, datasets=(DatasetId.of(ORDER),),
            bundle=BundleId.of(ORDER), sandbox="wasm", trainers=self.trainers, schedule=self.schedule, not_after=1,
            secret=b"",
        )  # fmt: skip

    def members(self) -> Members:
        """The broker's list."""
        return Members(job_id=JobId.of(ORDER), state="running", members=tuple(self.listed.values()))

    def publish_members(self) -> None:
        """Every member polls the list."""
        self.server.admit(self.members(), self.server.rounds.closed)
        server = self.listed["paramserver", 0]
        for job in self.jobs.values():
            job.follow(Endpoint(0, server.attempt, server.signing_public))

    def run(self, first: int = 0, last: int | None = None) -> None:
        """Ticks `first` to `last` (excluded; None: to the end), all members in step."""
        self.publish_members()
        for tick in range(first, self.schedule.total_ticks if last is None else last):
            self.step(tick)

    def step(self, tick: int) -> None:
        """One tick of every member; frames arrive within it."""
        wanted = self.server.has_heard_unlisted() or self.server.wants_list(tick)
        if wanted and not self.lists_kept_back:
            self.server.admit(self.members(), self.server.rounds.closed)
        listening = {slot: job for slot, job in self.jobs.items() if job.exchange.paramserver is not None}
        for frame in self.server.emit(tick):
            self._carry(-1, tick, frame, [job.exchange.receive for job in self.jobs.values()])
        for slot, job in listening.items():
            for frame in job.emit(tick):
                self._carry(slot, tick, frame, [self.server.receive])
        self.server.process(tick)
        for job in listening.values():
            job.process(tick, self.ready)

    def _carry(self, sender: int, tick: int, frame: bytes, to: list[Callable[[bytes], None]]) -> None:
        header = FrameHeader.parse(frame)
        self.trace.append(
            (header.frame_class.name, header.sender, header.attempt, header.tick, header.index, len(frame))
        )
        self.frames.append((sender, frame))
        if not self.drop(sender, tick):
            for receive in to:
                receive(frame)


def _no_export() -> Any:
    raise RuntimeError("the graph is there already")


def flip(frame: bytes, at: int) -> bytes:
    """The frame with one bit changed."""
    return frame[:at] + struct.pack("B", frame[at] ^ 1) + frame[at + 1 :]
