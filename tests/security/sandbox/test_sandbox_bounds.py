"""Promise: provider code uses up no more than an owner allows, and the least that can be allowed is enough to train."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from common.messages.sandbox_bounds import LEAST_MEMORY_BYTES, LEAST_THREADS, SandboxBounds
from common.sandbox.native import DEFAULT_LIMITS
from tests.security.sandbox.sandbox_parts import TIGHT, HostileTrainer, ending, hostile_trainer

LEAST = SandboxBounds(memory_bytes=LEAST_MEMORY_BYTES, threads=LEAST_THREADS, file_bytes=1 << 20, cpu_seconds=60)


@pytest.fixture(scope="module")
def bounded() -> Iterator[HostileTrainer]:
    with hostile_trainer(DEFAULT_LIMITS.within(LEAST)) as trainer:
        yield trainer


def report(trainer: HostileTrainer, deed: str) -> list[float]:
    outcome = trainer.round(deed)
    assert outcome.state_P is not None, outcome.code
    return [float(number) for number in outcome.state_P]


@TIGHT
def test_it_trains(bounded: HostileTrainer) -> None:
    assert report(bounded, "echo")[0] == 0.0


@TIGHT
def test_scratch_space_ends_where_the_owner_says(bounded: HostileTrainer) -> None:
    assert 0 < report(bounded, "fill_scratch")[0] <= 1 << 20


@TIGHT
def test_memory_ends_where_the_owner_says(bounded: HostileTrainer) -> None:
    assert 0 < report(bounded, "measure_memory")[0] * (1 << 20) < LEAST_MEMORY_BYTES


@TIGHT
def test_threads_end_where_the_owner_says(bounded: HostileTrainer) -> None:
    assert 0 <= report(bounded, "count_threads")[0] < LEAST_THREADS


def test_cpu_time_ends_too() -> None:
    """Bounds name a minute or more; a second more than torch takes to start shows the same."""
    with hostile_trainer(replace(DEFAULT_LIMITS, cpu_seconds=4)) as trainer:
        assert trainer.round("end", ending("loop"), seconds=60.0).code == "provider.killed"
