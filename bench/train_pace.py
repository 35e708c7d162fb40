"""What protection costs a training: one trainer, then two, beside plain processes on the same cores (side: owner).

A job on a private stack (bench/train_scene) and plain processes (bench/train_twins) take turns, A B A B, each through
the same number of rounds; figures are medians of the turns' ratios. ResNet-20, real images of CIFAR-10, rounds of 19
steps of 128 images: 20.6 exchanges in an epoch of 50,000 images, a few seconds apart.
"""

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from bench import cifar10
from bench.train_scene import JobWork, Pace, TrainScene, staged
from bench.train_twins import Steps, Twins, plain_pace
from common.exchange.toolchain import Toolchain, own_toolchain

WORK: Final = Steps(19, 128)
IMAGES: Final = 10_000
ALONE: Final = (1,)
TOGETHER: Final = (0, 1)
"""Cores: one trainer has the second, so that what it shares a machine with is on the first."""

EPOCH_IMAGES: Final = 50_000


@dataclass(frozen=True)
class Turns:
    """How long it is measured: turns, and rounds of each; plain processes make `plain_rounds`."""

    turns: int = 2
    rounds: int = 20
    plain_rounds: int = 5


def measure_pace(turns: Turns) -> dict[str, Any]:
    """`protected_ratio`, `vs_eager_fp32`, `memory_overhead`, `exchange_cpu_fraction`, and what they are made of."""
    told = _on_stage(lambda scene: _Paces(scene, turns).alone())
    return told | {"toolchain": own_toolchain().word}


def measure_scaling(turns: Turns) -> dict[str, Any]:
    """`scaling_2` and `vs_ddp`; `plain_scaling_2` is what the machine's second core brings to processes apart."""
    return _on_stage(lambda scene: _Paces(scene, turns).together())


def _on_stage(measured: Callable[[TrainScene], dict[str, Any]]) -> dict[str, Any]:
    if (reason := cifar10.missing()) is not None:
        return {"left_out": reason}
    with tempfile.TemporaryDirectory() as place, staged(Path(place), IMAGES) as scene:
        return measured(scene)


class _Paces:
    """Measures on one stage."""

    def __init__(self, scene: TrainScene, turns: Turns) -> None:
        self._scene, self._turns = scene, turns
        self._mode = own_toolchain()
        first = self._plain(self._mode, ALONE, 2)
        self._step_milliseconds = max(1, round(1000 * WORK.batch / first.images_per_second))

    def alone(self) -> dict[str, Any]:
        """One trainer, the same steps plainly, and plainly in eager float32."""
        jobs, plain, eager = list[Pace](), list[Twins](), list[Twins]()
        for turn in range(self._turns.turns):
            steps: list[Callable[[], None]] = [
                lambda: plain.append(self._plain(self._mode, ALONE)),
                lambda: jobs.append(self._job(ALONE)),
                lambda: eager.append(self._plain(Toolchain.FP32, ALONE)),
            ]
            for step in steps if turn % 2 == 0 else reversed(steps):
                step()
        sandbox, enclave = (
            max(one.peak_bytes[name] for one in jobs) for name in ("trainer sandbox", "trainer enclave")
        )
        most = max(one.peak_bytes for one in plain)
        return {
            "protected_ratio": _ratio(jobs, plain),
            "vs_eager_fp32": _ratio(jobs, eager),
            "memory_overhead": round((sandbox + enclave) / most, 3),
            "memory_overhead_sandbox": round(sandbox / most, 3),
            "memory_bytes": {"sandbox": sandbox, "enclave": enclave, "plain": most},
            "exchange_cpu_fraction": round(statistics.median(one.exchange_cpu_fraction for one in jobs), 4),
            "exchange_cpu_seconds": {name: round(spent, 2) for name, spent in jobs[-1].cpu_seconds.items()},
            "exchanges_per_epoch": round(EPOCH_IMAGES / WORK.images, 1),
            "exchange_seconds_apart": round(statistics.median(one.round_seconds for one in jobs), 2),
            "tick_milliseconds": jobs[-1].tick_milliseconds,
            "images_per_second_protected": [round(one.images_per_second, 1) for one in jobs],
            "images_per_second_plain": [round(one.images_per_second, 1) for one in plain],
            "images_per_second_eager_fp32": [round(one.images_per_second, 1) for one in eager],
        }

    def together(self) -> dict[str, Any]:
        """Two trainers, one; and plain processes: one, two by themselves, two that average gradients at every step."""
        one, two, ddp = list[Pace](), list[Pace](), list[Twins]()
        alone, apart = list[Twins](), list[Twins]()
        for turn in range(self._turns.turns):
            meeting = self._scene.rows.with_name(f"rendezvous-{turn}")
            alone.append(self._plain(self._mode, ALONE))
            apart.append(self._plain(self._mode, TOGETHER))
            one.append(self._job(ALONE))
            two.append(self._job(TOGETHER))
            ddp.append(plain_pace(self._scene.rows, WORK, self._mode.word, TOGETHER, self._turns.plain_rounds, meeting))
        return {
            "toolchain": self._mode.word,
            "scaling_2": _ratio(two, one),
            "plain_scaling_2": _ratio(apart, alone),
            "vs_ddp": _ratio(two, ddp),
            "images_per_second_one": [round(each.images_per_second, 1) for each in one],
            "images_per_second_two": [round(each.images_per_second, 1) for each in two],
            "images_per_second_plain_one": [round(each.images_per_second, 1) for each in alone],
            "images_per_second_plain_two": [round(each.images_per_second, 1) for each in apart],
            "images_per_second_ddp": [round(each.images_per_second, 1) for each in ddp],
            "exchange_cpu_fraction_2": round(statistics.median(each.exchange_cpu_fraction for each in two), 4),
        }

    def _job(self, cores: tuple[int, ...]) -> Pace:
        pace = self._scene.pace(JobWork(cores, WORK, self._turns.rounds, step_milliseconds=self._step_milliseconds))
        click.echo(f"{len(cores)} protected: {pace.images_per_second:.1f} images a second in {pace.toolchain}")
        return pace

    def _plain(self, mode: Toolchain, cores: tuple[int, ...], rounds: int | None = None) -> Twins:
        pace = plain_pace(self._scene.rows, WORK, mode.word, cores, rounds or self._turns.plain_rounds)
        click.echo(f"{len(cores)} plain: {pace.images_per_second:.1f} images a second in {mode.word}")
        return pace


def _ratio(these: Sequence[Pace | Twins], those: Sequence[Pace | Twins]) -> float:
    """The median of what the turns came to."""
    pairs = zip(these, those, strict=True)
    return round(statistics.median(a.images_per_second / b.images_per_second for a, b in pairs), 3)
