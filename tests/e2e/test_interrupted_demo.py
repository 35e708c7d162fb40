"""A demo that is interrupted or killed leaves nothing. Each has a stack of its own."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.command_process import naming, start

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

END_SECONDS = 60.0


def await_true(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + END_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.01)


@pytest.mark.parametrize("options", [(), ("--keep",)])
@pytest.mark.parametrize("moment", ["supervisor", "status"])
def test_a_demo_that_is_interrupted_leaves_nothing(tmp_path: Path, options: tuple[str, ...], moment: str) -> None:
    """In its first second, and while services start."""
    state = tmp_path / "state"
    with start("demo", *options, "--state", state) as running:
        await_true(lambda: _has_come(moment, state, running.pid))
        running.send_signal(signal.SIGTERM)
        output, _ = running.communicate(timeout=END_SECONDS)
    assert running.returncode == 130
    assert "interrupted" in output
    if moment == "status":
        assert naming(state) == []
        assert not state.exists()
    await_true(lambda: naming(state) == [])  # who is interrupted while it starts another leaves it to the tie


def test_a_demo_that_is_killed_leaves_no_process_even_if_it_was_to_keep_them(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with start("demo", "--keep", "--state", state) as running:
        await_true(lambda: _has_come("status", state, running.pid))
        running.kill()
    await_true(lambda: naming(state) == [])


def _has_come(moment: str, state: Path, demo: int) -> bool:
    if moment == "status":
        return (state / "run" / "status.json").exists()
    return any(pid != demo for pid in naming(state))
