# mypy: ignore-errors
"""Hostile provider code: what it does, the first number of its input says (side: sandbox).

A bundle for tests. The state is 64 numbers, in which it reports; the answer to a query is 64 numbers as well.
"""

import os
import random
import secrets
import threading
import uuid
from typing import Any

import attempts
import memory_tricks
import numpy as np
import poison
import torch
from call_names import CALLS
from deed_names import NAMES
from endings import ENDINGS
from forgeries import FORGERIES
from torch import Tensor, nn

SLOTS = 64


class Hostile(nn.Module):
    """`x[0, 0]` is the name of a deed by its place in `DEEDS`, `x[0, 1]` its argument."""

    def __init__(self) -> None:
        super().__init__()
        self.report = nn.Parameter(torch.zeros(SLOTS))
        self.memory: list[Any] = []

    def forward(self, x: Tensor) -> Tensor:
        deed = DEEDS[int(x[0, 0])]
        return _padded(deed(self, int(x[0, 1]))).reshape(1, -1)

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        deed = DEEDS[int(batch["x"][0, 0])]
        seen = _padded(deed(self, int(batch["x"][0, 1])))
        with torch.no_grad():
            self.report[:SLOTS].copy_(seen)
        return self.report.sum() * 0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def _padded(values: list[float]) -> Tensor:
    return torch.tensor([*values, *[0.0] * (SLOTS - len(values))], dtype=torch.float32)


def attempt(model: Hostile, argument: int) -> list[float]:
    """How the attempts from this number on went, as many as a report holds."""
    return [attempts.attempt(name) for name in CALLS[argument : argument + SLOTS]]


def end(model: Hostile, argument: int) -> list[float]:
    ENDINGS[argument]()
    return [1.0]


def forge(model: Hostile, argument: int) -> list[float]:
    FORGERIES[argument](model)
    return [1.0]


def poisoned(model: Hostile, argument: int) -> list[float]:
    return poison.ran()


def entropy(model: Hostile, argument: int) -> list[float]:
    """Numbers that are not seeded, as far as plain Python, NumPy and torch know how to get them."""
    fresh = [*os.urandom(8), *secrets.token_bytes(8), *uuid.uuid4().bytes, *np.random.default_rng().bytes(8)]
    return [float(one) for one in fresh] + [float(hash("text") % 1000), random.random(), float(torch.rand(1))]


def eat_memory(model: Hostile, argument: int) -> list[float]:
    while True:
        model.memory.append(torch.ones(4 << 20))


def measure_memory(model: Hostile, argument: int) -> list[float]:
    """How many MiB it gets until it is refused more."""
    held = []
    try:
        while True:
            held.append(torch.ones(1 << 18))
    except (MemoryError, RuntimeError):
        return [float(len(held))]


def count_threads(model: Hostile, argument: int) -> list[float]:
    """How many threads it can start at once."""
    end, started = threading.Event(), []
    try:
        while len(started) < 1000:
            started.append(threading.Thread(target=end.wait))
            started[-1].start()
    except RuntimeError:
        started.pop()
    end.set()
    for thread in started:
        thread.join()
    return [float(len(started))]


def not_a_number(model: Hostile, argument: int) -> list[float]:
    return [float("nan")]


def infinite(model: Hostile, argument: int) -> list[float]:
    return [float("inf")]


def answer_of_other_size(model: Hostile, argument: int) -> list[float]:
    return [0.0] * 2 * SLOTS


def remember(model: Hostile, argument: int) -> list[float]:
    memory_tricks.remember_all(argument)
    return [1.0]


def recall(model: Hostile, argument: int) -> list[float]:
    return [float(number) for number in memory_tricks.recall_all()]


def process_number(model: Hostile, argument: int) -> list[float]:
    return [float(os.getpid())]


def echo(model: Hostile, argument: int) -> list[float]:
    return [float(argument)]


def fill_scratch(model: Hostile, argument: int) -> list[float]:
    """[bytes written in large files, empty files made] until the file system refuses."""
    written = files = 0
    folder = os.environ["TMPDIR"]
    try:
        while True:
            with open(f"{folder}/large{files}", "wb") as file:
                files += 1
                written += file.write(bytes(1 << 20))
    except OSError:
        pass
    for number in range(files):
        os.unlink(f"{folder}/large{number}")
    made = 0
    try:
        while made < 1_000_000:
            with open(f"{folder}/{made}", "wb"):
                made += 1
    except OSError:
        pass
    return [float(written), float(made)]


def environment(model: Hostile, argument: int) -> list[float]:
    """[uid, number of environment variables, process number, folders in /, whether PID 1's memory is near]."""
    return [float(os.getuid()), float(len(os.environ)), float(os.getpid()), float(len(os.listdir("/")))]


DEEDS = [globals()[name] for name in NAMES]
