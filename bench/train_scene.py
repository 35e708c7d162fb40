"""Training jobs on a private stack, and how fast their steady rounds go by (side: owner).

Enclave processes, native sandboxes, RabbitMQ, parameter server, data that are read sealed: all as in any job. Each
sandbox is bound to one core; everything else of the stack runs wherever the machine lets it.

Time is that of the parameter server's clock, in ticks: its reports name the tick and the rounds done. A round's end is
known to one interval between reports, about a round's time; the pace is the slope of a line through the ends of the
window's rounds that were told (least squares), so that it is known better than that: to 2 % over 20 rounds.
"""

import contextlib
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from bench import cifar10
from bench.kill_scene import enrolled
from bench.kill_victims import VICTIMS
from bench.train_twins import EXAMPLE, Steps
from client import events as e
from client import ordering, owner, provider
from client.context import Party
from client.policy_terms import PolicyTerms, ProviderTerms
from client.scheduling import ScheduleWishes, plan_schedule
from common.errors import UnavailableError
from common.messages.order import ToolchainWish
from common.messages.policy import JobReport
from deploy.embedded.stack import EmbeddedStack

WARM_ROUNDS: Final = 2
"""Left out: bytecode, allocations, the export of the model's graph beside the first round."""

SLACK_PERCENT: Final = 1000
MAX_JOBS: Final = 64

SANDBOX: Final = ("trainer sandbox",)
EXCHANGE: Final = (
    "trainer enclave", "trainer relay", "trainer launcher", "paramserver enclave", "paramserver launcher",
    "paramserver worker", "rabbitmq", "rabbitmq helper",
)  # fmt: skip
"""All that a job runs in but provider code: reads, frames, door, broker, aggregation."""


@dataclass(frozen=True)
class JobWork:
    """What a job does: trainers, one sandbox on each of `cores`, rounds of `work`.

    `step_milliseconds`: what a step takes, by which an owner's schedule has its tick.
    """

    cores: tuple[int, ...]
    work: Steps
    rounds: int
    toolchain: ToolchainWish = "auto"
    step_milliseconds: int = 0


@dataclass(frozen=True)
class Pace:
    """What its steady rounds came to. Processor seconds and peak resident bytes by name in bench/kill_victims."""

    images_per_second: float
    round_seconds: float
    tick_milliseconds: int
    rounds: int
    toolchain: str
    cpu_seconds: Mapping[str, float]
    peak_bytes: Mapping[str, int]

    @property
    def exchange_cpu_fraction(self) -> float:
        """Of all that the job ran."""
        return sum(self.cpu_seconds.get(name, 0.0) for name in EXCHANGE) / sum(self.cpu_seconds.values())


@dataclass(frozen=True)
class TrainScene:
    """A stack with an owner who may order `training` many times; `rows` has the same images for plain processes."""

    stack: EmbeddedStack
    owner: Party
    training: ordering.Training
    rows: Path

    def pace(self, job: JobWork) -> Pace:
        """Order a job, follow its rounds, and cancel it when they are done. Raises `UnavailableError`."""
        wishes = ScheduleWishes(
            rounds=4 * (job.rounds + WARM_ROUNDS), steps=job.work.steps, batch=job.work.batch,
            slack_percent=SLACK_PERCENT, step_milliseconds=job.step_milliseconds,
        )  # fmt: skip
        tick = plan_schedule(wishes, 1).tick_milliseconds
        training = replace(self.training, trainers=len(job.cores), wishes=wishes, toolchain=job.toolchain)
        job_id = e.outcome(ordering.train(self.owner, training), e.OrderAccepted).job_id
        window = _Window(job.rounds)
        meter = _Meter(self.stack, job.cores)
        for event in ordering.watch(self.owner, job_id):
            if isinstance(event, e.ReportOpened):
                _follow(window, meter, event.report)
            if window.complete:
                break
        meter.stop()
        e.outcome(ordering.cancel(self.owner, job_id), e.Ended)
        window.require_sound(len(job.cores))
        seconds = window.ticks_per_round * tick / 1000
        images = job.work.images * len(job.cores) / seconds
        return Pace(images, seconds, tick, window.rounds, window.toolchain, meter.cpu_seconds, meter.peak_bytes)


def _follow(window: "_Window", meter: "_Meter", report: JobReport) -> None:
    meter.bind()
    began = window.began
    window.take(report)
    if window.began and not began:
        meter.start()


@dataclass
class _Window:
    """The ends of rounds, by the first report that names them."""

    wanted: int
    ends: dict[int, int] = field(default_factory=dict)
    toolchain: str = ""
    last: JobReport | None = None

    @property
    def began(self) -> bool:
        return bool(self.ends)

    @property
    def rounds(self) -> int:
        return max(self.ends) - min(self.ends) if self.ends else 0

    @property
    def complete(self) -> bool:
        return self.rounds >= self.wanted

    @property
    def ticks_per_round(self) -> float:
        return statistics.linear_regression(list(self.ends), list(self.ends.values())).slope

    def take(self, report: JobReport) -> None:
        self.last, self.toolchain = report, report.toolchain or ""
        if report.round >= WARM_ROUNDS:
            self.ends.setdefault(report.round, report.tick)

    def require_sound(self, trainers: int) -> None:
        """Every trainer took part in every round: a pace without one of them means nothing."""
        seen = None if self.last is None else (self.last.codes, self.last.rounds_delivered, self.last.round)
        if not self.complete or self.last is None or self.last.codes:
            raise UnavailableError("unavailable.rounds", expected=f"{self.wanted} rounds", seen=seen)
        if self.last.rounds_delivered != (self.last.round,) * trainers:
            raise UnavailableError("unavailable.rounds", expected="all trainers in all rounds", seen=seen)


class _Meter:
    """Processors and memory of the stack's processes over a window of time."""

    def __init__(self, stack: EmbeddedStack, cores: Sequence[int]) -> None:
        self._stack, self._cores = stack, cores
        self._bound: dict[int, int] = {}
        self._began: dict[str, dict[int, float]] = {}
        self.cpu_seconds: dict[str, float] = {}
        self.peak_bytes: dict[str, int] = {}

    def bind(self) -> None:
        """Each sandbox of provider code to a core of its own."""
        for pid in self._find("trainer sandbox"):
            if pid not in self._bound and len(self._bound) < len(self._cores):
                self._bound[pid] = self._cores[len(self._bound)]
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    os.sched_setaffinity(int(thread.name), {self._bound[pid]})

    def start(self) -> None:
        """The window begins."""
        self._began = self._spent()

    def stop(self) -> None:
        """The window ends."""
        for name, spent in self._spent().items():
            before = self._began.get(name, {})
            self.cpu_seconds[name] = sum(seconds - before.get(pid, 0.0) for pid, seconds in spent.items())
            self.peak_bytes[name] = max(map(_peak_bytes, spent), default=0)

    def _spent(self) -> dict[str, dict[int, float]]:
        return {name: {pid: _cpu_seconds(pid) for pid in self._find(name)} for name in (*SANDBOX, *EXCHANGE)}

    def _find(self, name: str) -> list[int]:
        return VICTIMS[name].find(self._stack.status())


def _cpu_seconds(pid: int) -> float:
    with contextlib.suppress(psutil.Error):
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    return 0.0


def _peak_bytes(pid: int) -> int:
    """VmHWM (proc_pid_status(5))."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0


@contextlib.contextmanager
def staged(directory: Path, images: int) -> Iterator[TrainScene]:
    """A stack in `directory` with so many training images of CIFAR-10, sealed and allowed. It is stopped at the end."""
    rows = directory / "images.npz"
    values, labels = cifar10.training_images(images)
    np.savez(rows, image=values, label=labels)
    stack = EmbeddedStack(directory / "state")
    stack.start(tied=True)
    try:
        stack.wait_ready()
        parties = enrolled(stack, directory)
        yield TrainScene(stack, parties["owner"], _allowed(parties, directory, rows), rows)
    finally:
        stack.stop()


def _allowed(parties: Mapping[str, Party], directory: Path, rows: Path) -> ordering.Training:
    maker, holder = parties["provider"], parties["owner"]
    e.outcome(provider.pack(maker, EXAMPLE, directory / "bundle"), e.Sealed)
    published = provider.publish(maker, directory / "bundle", ProviderTerms())
    bundle = e.outcome(published, e.BundleRegistered)
    e.outcome(owner.seal(holder, rows, directory / "data"), e.Sealed)
    dataset = e.outcome(owner.upload(holder, directory / "data"), e.DatasetRegistered)
    terms = PolicyTerms(providers=(maker.identity.signing_key.party,), max_jobs=MAX_JOBS)
    e.outcome(owner.set_policy(holder, dataset.dataset_id, terms), e.PolicySigned)
    return ordering.Training(dataset.dataset_id, bundle.bundle_id)
