"""What the `native` sandbox costs: a step of training in it and without it, and how long its start takes (side: owner).

`native_overhead`: a round of ResNet-20 (examples/providers/resnet20_cifar, float32) asked of a sandbox, windows and the
copy of its state included, over the same round in a process of its own; the same rows, batch and threads, one after
the other in turn (A B A B), the median of the pairs' ratios. `native_start_ms`: from the first call to a sandbox that
is ready for provider code, without the import of torch (and of what its optimisers load), which is timed inside; in a
process that has confined something before, as every enclave has when it says that it is ready.
"""

import contextlib
import mmap
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from bench import cifar10
from common.bundle import BundleContents
from common.bundle_packing import pack_bundle
from common.sandbox.child import Pipes
from common.sandbox.interpreter import COMMAND
from common.sandbox.native import DEFAULT_LIMITS, NativeTrainingSandbox, training_work
from common.sandbox.probe import require_confinement
from common.sandbox.protocol import Rows, SandboxSeeds, StateP
from common.sandbox.tree import Tree
from common.sandbox.windows import Window
from common.sandbox.workplace import Workplace

EXAMPLE: Final = Path(__file__).resolve().parents[1] / "examples" / "providers" / "resnet20_cifar"
STEPS: Final = 8
BATCH: Final = 32
PAIRS: Final = 24
STARTS: Final = 7
SECONDS: Final = 300.0
SEEDS: Final = SandboxSeeds(initial=1, stream=2)


@dataclass(frozen=True)
class NativeFigures:
    """Medians; `native_overhead_low` and `_high` are the quartiles of the pairs' ratios. Times in milliseconds.

    `native_cpu_ratio` is the same ratio of processor time, which others on the machine move less.
    """

    native_overhead: float
    native_overhead_low: float
    native_overhead_high: float
    native_cpu_ratio: float
    native_step_ms: float
    bare_step_ms: float
    pairs: int
    native_start_ms: float
    native_start_lockdown_ms: float
    torch_import_ms: float
    real_images: bool


@dataclass(frozen=True)
class Cost:
    """Of a round: seconds that passed, and seconds that processors spent on it."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Start:
    """Seconds: stage, bubblewrap and Python until torch is imported; that import; limits and filter."""

    before: float
    importing: float
    lockdown: float


def measure(pairs: int = PAIRS, starts: int = STARTS) -> NativeFigures:
    """Both figures. Raises `ConfinementError` where this machine can't confine."""
    require_confinement()
    contents = pack_bundle(EXAMPLE)
    began = [timed_start(contents) for _ in range(starts)]
    costs = paired_rounds(contents, some_rows(STEPS * BATCH), pairs)
    low, middle, high = statistics.quantiles([inside.wall / bare.wall for inside, bare in costs], n=4)
    return NativeFigures(
        native_overhead=middle,
        native_overhead_low=low,
        native_overhead_high=high,
        native_cpu_ratio=statistics.median(inside.cpu / bare.cpu for inside, bare in costs),
        native_step_ms=1000 * statistics.median(inside.wall for inside, _ in costs) / STEPS,
        bare_step_ms=1000 * statistics.median(bare.wall for _, bare in costs) / STEPS,
        pairs=pairs,
        native_start_ms=1000 * statistics.median(one.before + one.lockdown for one in began),
        native_start_lockdown_ms=1000 * statistics.median(one.lockdown for one in began),
        torch_import_ms=1000 * statistics.median(one.importing for one in began),
        real_images=cifar10.missing() is None,
    )


def some_rows(count: int) -> Rows:
    """Real images where there are any, else noise: no figure depends on what is in them."""
    if cifar10.missing() is None:
        images, labels = cifar10.training_images(count)
        return {"image": images, "label": labels}
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    return {"image": images, "label": generator.integers(0, 10, count)}


def paired_rounds(contents: BundleContents, rows: Rows, pairs: int) -> list[tuple[Cost, Cost]]:
    """A round in the sandbox and one without, in turn; whichever begins changes with each pair."""
    sandbox = NativeTrainingSandbox.start(contents, rows_per_round=STEPS * BATCH, seeds=SEEDS)
    try:
        initial = sandbox.initial_state(SECONDS)
        if initial.state_P is None:
            raise RuntimeError(initial.code)
        inside = _Confined(sandbox, initial.state_P, rows)
        with bare_trainer(contents, rows) as process:
            outside, costs = _Bare(process), list[tuple[Cost, Cost]]()
            for number in range(-1, pairs):  # the first one warms up
                first, second = (inside, outside) if number % 2 == 0 else (outside, inside)
                pair = {id(first): first.round(), id(second): second.round()}
                costs.append((pair[id(inside)], pair[id(outside)]))
    finally:
        sandbox.close()
    return costs[1:]


def cpu_seconds(process: psutil.Process) -> float:
    """What all threads of a process have run so far; to the nanosecond (Documentation/scheduler/sched-stats)."""
    spent = (path.read_text().split()[0] for path in Path(f"/proc/{process.pid}/task").glob("*/schedstat"))
    return sum(map(int, spent)) / 1e9


class _Confined:
    """Rounds as an enclave sees them: rows and state in, state out; its own work for the windows is counted, too."""

    def __init__(self, sandbox: NativeTrainingSandbox, state_P: StateP, rows: Rows) -> None:
        self._sandbox, self._state_P, self._rows = sandbox, state_P, rows
        below = psutil.Process().children(recursive=True)
        self._process = next(one for one in below if one.name().startswith("python") and not one.children())

    def round(self) -> Cost:
        begin, spent = time.perf_counter(), self._spent()
        outcome = self._sandbox.run_round(self._state_P, self._rows, STEPS, BATCH, SECONDS)
        if outcome.code is not None:
            raise RuntimeError(outcome.code)
        return Cost(time.perf_counter() - begin, self._spent() - spent)

    def _spent(self) -> float:
        return cpu_seconds(self._process) + time.process_time()


class _Bare:
    """Rounds of the bare process, as it tells them."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process, self._known = process, psutil.Process(process.pid)

    def round(self) -> Cost:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the bare trainer has pipes")
        spent = cpu_seconds(self._known)
        self._process.stdin.write("round\n")
        self._process.stdin.flush()
        wall = float(self._process.stdout.readline().split()[0])
        return Cost(wall, cpu_seconds(self._known) - spent)


@contextlib.contextmanager
def bare_trainer(contents: BundleContents, rows: Rows) -> "Iterator[subprocess.Popen[str]]":
    """The bare process, ready."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "rows.npz")
        np.savez(file, image=rows["image"], label=rows["label"])
        command = [
            sys.executable, "-m", "bench.bare_trainer", str(EXAMPLE), contents.manifest.entry, str(file), str(STEPS),
            str(BATCH), str(DEFAULT_LIMITS.compute_threads),
        ]  # fmt: skip
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | threads,
            cwd=EXAMPLE.parents[2],
        ) as process:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise RuntimeError("the bare trainer did not start")
            yield process
            if process.stdin is not None:
                process.stdin.close()


_MOMENTS: Final = struct.Struct("<dd")
_TIMED: Final = (
    "import sys; sys.path[:0] = ['/code', '/packages']; import time, mmap, struct; began = time.monotonic(); "
    "import torch; torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1); ended = time.monotonic(); "
    "struct.pack_into('<dd', mmap.mmap(int(open('/moments').read()), 0), 0, began, ended); "
    "from common.sandboxed.training_process import main; main()"
)


class _TimedPlace(Workplace):
    """A job's workplace, whose child also notes when the import of torch began and ended."""

    def __init__(self, contents: BundleContents) -> None:
        self._moments = Window(mmap.PAGESIZE, writable_in_child=True)
        work = training_work(contents.manifest, STEPS * BATCH)
        super().__init__(contents, work, SEEDS, DEFAULT_LIMITS)

    def moments(self) -> tuple[float, float]:
        """When the import began and ended, in monotonic seconds, which all processes share."""
        began, ended = _MOMENTS.unpack_from(self._moments.copy(_MOMENTS.size))
        return float(began), float(ended)

    def close(self) -> None:
        super().close()
        self._moments.close()

    def _program(self) -> tuple[str, ...]:
        return (*COMMAND, _TIMED)

    def _window_fds(self) -> tuple[int, ...]:
        return (*super()._window_fds(), self._moments.child_fd)

    def _tree(self, pipes: Pipes) -> Tree:
        tree = super()._tree(pipes)
        return Tree(tree.binds, {**tree.files, "/moments": str(self._moments.child_fd).encode()}, tree.scratch_bytes)


def timed_start(contents: BundleContents) -> Start:
    """One start, until the child is ready for provider code."""
    begin = time.monotonic()
    place = _TimedPlace(contents)
    place.require_ready()
    ready = time.monotonic()
    began, ended = place.moments()
    place.close()
    return Start(began - begin, ended - began, ready - ended)
