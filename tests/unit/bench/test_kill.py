"""Victims and moments come from a seed; what is killed, and what outlives it, is named for good."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench.kill import victims_of
from bench.kill_driver import End, end_problems, told_problems
from bench.kill_strike import LAUNCH_SECONDS, SLOT_SHARE, draw
from bench.kill_victims import VICTIMS, ProcessGroup, unnamed
from deploy.embedded.status import StackStatus

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=sys.stdin)
print(child.pid, flush=True)
child.wait()
"""


def test_a_seed_draws_the_same_victims_and_moments_again() -> None:
    rounds = [victims_of(7, number) for number in range(50)]
    assert rounds == [victims_of(7, number) for number in range(50)]
    assert rounds != [victims_of(8, number) for number in range(50)]
    assert draw(rounds[0], 8.0, "7: 0") == draw(rounds[0], 8.0, "7: 0") != draw(rounds[0], 8.0, "7: 1")


def test_every_process_is_drawn_sooner_or_later() -> None:
    assert {name for number in range(200) for name in victims_of(1, number)} == set(VICTIMS)


def test_moments_lie_anywhere_in_the_life_of_a_job_or_of_a_slot() -> None:
    of_job = [draw(["ingest"], 8.0, str(number))[0].moment_seconds for number in range(200)]
    of_slot = [draw(["trainer enclave"], 8.0, str(number))[0].moment_seconds for number in range(200)]
    assert 0 <= min(of_job) < 1
    assert LAUNCH_SECONDS + 7 < max(of_job) <= LAUNCH_SECONDS + 8
    assert 0 <= min(of_slot) < 1
    assert SLOT_SHARE * 7 < max(of_slot) <= SLOT_SHARE * 8


@pytest.mark.parametrize(
    ("end", "died", "holds"),
    [
        (End("finished", None, "finished"), (), True),
        (End("finished", None, "failed", ("provider.raised",)), (), True),
        (End("finished", None, "failed"), ("ingest",), False),
        (End("finished"), ("paramserver worker",), True),
        (End("finished"), ("guardian",), True),
        (End("finished"), ("trainer enclave", "query front"), False),
        (End("failed", "policy.attempts"), ("trainer enclave",), True),
        (End("failed"), (), False),
        (End("running"), (), False),
    ],
    ids=str,
)
def test_a_job_that_taught_nothing_ends_with_a_reason(end: End, died: tuple[str, ...], holds: bool) -> None:
    assert (not [*end_problems(end), *told_problems(end, died)]) is holds


@pytest.fixture
def parent() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process with a child, and that child's number; both end with their input."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())


def test_a_process_below_the_guardian_that_is_no_victim_is_found(parent: tuple[subprocess.Popen[bytes], int]) -> None:
    process, child = parent
    status = StackStatus(state="ready", guardian_pid=process.pid)
    assert {pid for pid, _ in unnamed(status)} == {child}
    assert unnamed(status.model_copy(update={"supervisor_pid": child})) == set()


def test_what_outlives_a_killed_process_is_named(parent: tuple[subprocess.Popen[bytes], int]) -> None:
    process, child = parent
    group = ProcessGroup.of(process.pid)
    assert set(group.started) == {process.pid, child}
    assert group.kill()
    assert process.wait() == -signal.SIGKILL
    assert [line.split()[0] for line in group.left()] == [str(child)]
    assert not group.kill()
    ended = os.pidfd_open(child)
    os.kill(child, signal.SIGKILL)
    select.select([ended], [], [], 10)
    os.close(ended)
    assert group.left() == []
