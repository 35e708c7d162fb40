"""A training job around a real sandbox, with or without a GPU, in one process (side: owner).

Data are sealed, read by the clock, opened and gathered; frames are sealed and go to a parameter server and back: the
real trainer and the real server, each on threads of this process (tests/fakes/training_world), and the real sandbox.
What is not there: doors, relays, RabbitMQ, the key broker, and the export of the model's graph.

A round's end is taken when its state has come back from the sandbox, so a pace has all in it that rounds wait for:
rows, exchange, the turn of threads.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.train_twins import EXAMPLE, Steps
from client.measuring import CODE_ROOT
from client.scheduling import ScheduleWishes, plan_schedule
from common.bundle import BundleContents
from common.bundle_packing import pack_bundle, read_bundle_directory
from common.data_shares import share_of
from common.errors import UnavailableError
from common.messages.order import DeviceName, Schedule, ToolchainName, ToolchainWish
from common.messages.training_door import JobEnded
from common.refused_calls import RefusedCalls
from common.sandbox.protocol import RoundOutcome, Rows, StateP, TrainingSandbox
from common.sandboxed.wire import CUDA, PLAIN_COURSE, Course
from common.sealed_object import CHUNK_BYTES
from services.trainer_enclave.provider_work import SandboxStart, Starts
from tests.fakes.training_world import FixedExport, TrainingWorld

WARM_ROUNDS: Final = 2
SLACK_PERCENT: Final = 1000
JOB_SECONDS: Final = 300.0
END_SECONDS: Final = 30.0


@dataclass
class Timed:
    """A sandbox whose rounds are noted: when each came back and how long it took, or with what code."""

    inner: TrainingSandbox
    ends: list[float]
    seconds: list[float]
    codes: list[str]

    @property
    def refused_calls(self) -> RefusedCalls:
        """The sandbox's."""
        return self.inner.refused_calls

    @refused_calls.setter
    def refused_calls(self, told: RefusedCalls) -> None:
        self.inner.refused_calls = told

    def initial_state(self, deadline_seconds: float) -> RoundOutcome:
        """The sandbox's."""
        return self._noted(self.inner.initial_state(deadline_seconds))

    def run_round(
        self,
        state_P: StateP,
        rows: Rows,
        steps: int,
        batch: int,
        deadline_seconds: float,
        course: Course = PLAIN_COURSE,
    ) -> RoundOutcome:
        """The sandbox's."""
        begin = time.monotonic()
        outcome = self._noted(self.inner.run_round(state_P, rows, steps, batch, deadline_seconds, course))
        self.ends.append(time.monotonic())
        self.seconds.append(self.ends[-1] - begin)
        return outcome

    def close(self) -> None:
        """The sandbox's."""
        self.inner.close()

    def _noted(self, outcome: RoundOutcome) -> RoundOutcome:
        if outcome.code is not None:
            self.codes.append(outcome.code)
        return outcome


@dataclass
class TimedWorld(TrainingWorld):
    """A job whose sandboxes are real and timed."""

    ends: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def starts(self, slot: int) -> Starts:  # noqa: ARG002 - all slots alike
        """The enclave's own, but for the export."""
        own = Starts()
        return replace(
            own,
            sandbox=self._timed(own.sandbox),
            gpu_sandbox=self._timed(own.gpu_sandbox),
            export=lambda *_: FixedExport(None),
        )

    def _timed(self, start: SandboxStart) -> SandboxStart:
        return lambda *arguments: Timed(start(*arguments), self.ends, self.seconds, self.failed)


@dataclass(frozen=True)
class GpuJob:
    """What a job does: measured rounds of `work` on the device. Its schedule is planned by `step_milliseconds`."""

    device: DeviceName
    toolchain: ToolchainWish
    work: Steps
    rounds: int
    step_milliseconds: int


@dataclass(frozen=True)
class JobPace:
    """Images a second in steady rounds, by wall clock; `sandbox_share`: of that time, what rounds took in the sandbox,
    their rows' way into it included; the toolchain that the job resolved; rounds that the server took.
    """

    images_per_second: float
    sandbox_share: float
    toolchain: str
    delivered: int


def protected_pace(columns: dict[str, Any], job: GpuJob) -> JobPace:
    """Play a job until its rounds are done. Raises `UnavailableError` where one failed, or the server took none."""
    contents = pack_bundle(EXAMPLE)
    with tempfile.TemporaryDirectory(prefix="cloister-gpu-") as place:
        world = TimedWorld(
            Path(place), _schedule(columns, contents, job), trainers=1, columns=(columns,), bundle=contents,
            chunk_bytes=CHUNK_BYTES, device=job.device, toolchain=job.toolchain,
        )  # fmt: skip
        world.start_trainer(0)
        ended = world.in_background(world.start_server())
        try:
            _await_rounds(world, ended, WARM_ROUNDS + job.rounds)
        finally:
            world.state = "cancelled"
            world.threads[0].join(END_SECONDS)
        with contextlib.suppress(TimeoutError):
            ended.result(END_SECONDS)
    report = world.read_reports()[-1]
    steady = slice(WARM_ROUNDS, WARM_ROUNDS + job.rounds)
    seconds = world.ends[steady][-1] - world.ends[WARM_ROUNDS - 1]
    delivered = max(report.rounds_delivered, default=0)
    if delivered < WARM_ROUNDS:
        raise UnavailableError("unavailable.rounds", expected="rounds that the server took", seen=delivered)
    share = sum(world.seconds[steady]) / seconds
    return JobPace(job.rounds * job.work.images / seconds, share, report.toolchain or "", delivered)


def _schedule(columns: dict[str, Any], contents: BundleContents, job: GpuJob) -> Schedule:
    total = sum(values.nbytes for values in columns.values())
    wishes = ScheduleWishes(
        rounds=job.rounds + 2 * WARM_ROUNDS, steps=job.work.steps, batch=job.work.batch, slack_percent=SLACK_PERCENT,
        step_milliseconds=job.step_milliseconds,
    )  # fmt: skip
    return plan_schedule(wishes, contents.manifest.state_count, share=share_of([total // CHUNK_BYTES + 1], 0, 1))


def _await_rounds(world: TimedWorld, ended: "Future[JobEnded]", rounds: int) -> None:
    give_up = time.monotonic() + JOB_SECONDS
    while len(world.ends) < rounds:
        if world.failed or world.codes or ended.done() or time.monotonic() > give_up:
            seen: object = world.failed or [*world.codes.values()] or len(world.ends)
            raise UnavailableError("unavailable.rounds", expected=f"{rounds} rounds", seen=seen)
        time.sleep(0.05)


def plain_pace(rows: Path, work: Steps, toolchain: ToolchainName, rounds: int) -> float:
    """Images a second of a plain process on the GPU; as many rounds as in a job warm it up."""
    with _plain(rows, work, toolchain) as process:
        _ask(process, None)
        seconds = [float(_ask(process, "round").split()[0]) for _ in range(WARM_ROUNDS + rounds)]
    return rounds * work.images / sum(seconds[WARM_ROUNDS:])


@contextlib.contextmanager
def _plain(rows: Path, work: Steps, toolchain: ToolchainName) -> "Iterator[subprocess.Popen[str]]":
    description, _ = read_bundle_directory(EXAMPLE)
    command: Sequence[str] = (
        sys.executable, "-m", "bench.gpu_plain", str(EXAMPLE), description.entry, str(rows), str(work.steps),
        str(work.batch), toolchain,
    )  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=CODE_ROOT
    ) as process:
        try:
            yield process
        finally:
            if process.stdin is not None:
                process.stdin.close()


def _ask(process: "subprocess.Popen[str]", line: str | None) -> str:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a plain process without pipes")
    if line is not None:
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise RuntimeError("a plain process has ended")
    return answer


def on_gpu(work: Steps, rounds: int, step_milliseconds: int) -> GpuJob:
    """A job on the GPU, in what its members can."""
    return GpuJob(CUDA, "auto", work, rounds, step_milliseconds)


def rows_file(directory: Path, columns: dict[str, Any]) -> Path:
    """The same rows for a plain process."""
    path = directory / "images.npz"
    np.savez(path, **columns)
    return path
