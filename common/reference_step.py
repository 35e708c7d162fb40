"""A fixed piece of arithmetic by which machines are compared (side: library).

One reference step is what a small dense model does for a batch: 64 rows forwards and backwards through 4 layers of
256 x 256 float32, and an update of all weights (0.1 GFLOP in products), on one thread like a trainer's sandbox. Its
time says how fast a machine is at such work, and nothing else of it. It is no secret and proves nothing.

`python -P common/reference_step.py` prints the least time of a step in microseconds. The least: what else runs on the
machine at that moment only ever makes it longer.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import numpy as np

ROWS: Final = 64
WIDTH: Final = 256
LAYERS: Final = 4

STANDARD_MICROSECONDS: Final = 1000
"""Costs are stated for a machine that takes so long (common/messages/objects, `StepCost`)."""

REPEATS: Final = 150
_SECONDS: Final = 30
_ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def reference_microseconds() -> int | None:
    """The least time of a step on this machine, taken in a process of its own; None where that does not work."""
    command = [sys.executable, "-P", str(Path(__file__).resolve())]
    try:
        done = subprocess.run(command, capture_output=True, env=os.environ | _ONE_THREAD, timeout=_SECONDS, check=True)
        return int(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def least_microseconds(repeats: int = REPEATS) -> int:
    """In this process, with the threads that it has."""
    generator = np.random.default_rng(0)
    weights = [generator.standard_normal((WIDTH, WIDTH), np.float32) / 16 for _ in range(LAYERS)]
    rows_BD = generator.standard_normal((ROWS, WIDTH), np.float32)
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter_ns()
        _step(weights, rows_BD)
        taken.append(time.perf_counter_ns() - begin)
    return max(1, min(taken) // 1000)


def _step(weights: "list[np.ndarray]", rows_BD: "np.ndarray") -> None:
    layers = [rows_BD]
    for weight_DD in weights:
        layers.append(np.maximum(layers[-1] @ weight_DD, 0))
    back_BD = layers[-1] / ROWS
    for number in reversed(range(LAYERS)):
        gradient_DD = layers[number].T @ back_BD
        back_BD = (back_BD @ weights[number].T) * (layers[number] > 0)
        weights[number] = weights[number] - 1e-6 * gradient_DD


if __name__ == "__main__":
    sys.stdout.write(f"{least_microseconds()}\n")
