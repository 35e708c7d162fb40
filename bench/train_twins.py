"""Plain processes beside the stack: their pace on the same images, steps and cores (side: owner)."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client.measuring import CODE_ROOT
from common.bundle_packing import read_bundle_directory
from common.messages.order import ToolchainName

EXAMPLE: Final = CODE_ROOT / "examples" / "providers" / "resnet20_cifar"


@dataclass(frozen=True)
class Steps:
    """A round: `steps` steps on `batch` images each."""

    steps: int
    batch: int

    @property
    def images(self) -> int:
        """Of one round of one trainer."""
        return self.steps * self.batch


@dataclass(frozen=True)
class Twins:
    """What plain processes did: images a second of all together, and the most memory of one in bytes."""

    images_per_second: float
    peak_bytes: int


def plain_pace(
    rows: Path, work: Steps, toolchain: ToolchainName, cores: Sequence[int], rounds: int, rendezvous: Path | None = None
) -> Twins:
    """One process a core; with `rendezvous`, a file that is not there yet, they average gradients at every step.

    The first round warms up. Seconds are those of the slowest.
    """
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(_process(rows, work, toolchain, core, _rank(number, cores, rendezvous)))
            for number, core in enumerate(cores)
        ]
        for one in processes:
            if _answer(one) != "ready":
                raise RuntimeError("a plain process did not start")
        _round(processes)
        seconds, peak = 0.0, 0
        for _ in range(rounds):
            told = _round(processes)
            seconds += max(one[0] for one in told)
            peak = max(int(one[2]) for one in told)
    return Twins(rounds * work.images * len(cores) / seconds, peak)


def _rank(number: int, cores: Sequence[int], rendezvous: Path | None) -> list[str]:
    return [] if rendezvous is None else [str(number), str(len(cores)), str(rendezvous)]


@contextlib.contextmanager
def _process(rows: Path, work: Steps, toolchain: str, core: int, rank: list[str]) -> "Iterator[subprocess.Popen[str]]":
    description, _ = read_bundle_directory(EXAMPLE)
    command = [sys.executable, "-m", "bench.train_plain", str(EXAMPLE), description.entry, str(rows)]
    command += [str(work.steps), str(work.batch), toolchain, str(core), *rank]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | threads, cwd=CODE_ROOT
    ) as process:
        try:
            yield process
        finally:
            if process.stdin is not None:
                process.stdin.close()


def _round(processes: "Sequence[subprocess.Popen[str]]") -> list[tuple[float, ...]]:
    for one in processes:
        if one.stdin is not None:
            one.stdin.write("round\n")
            one.stdin.flush()
    return [tuple(map(float, _answer(one).split())) for one in processes]


def _answer(process: "subprocess.Popen[str]") -> str:
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise RuntimeError("a plain process has ended")
    return line.strip()
