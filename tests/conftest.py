"""What all tests share: markers by folder, the private brokers, and moments that can be repeated.

When a session ends, it looks for processes that were left behind.
"""

import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.embedded.installation import missing_packages
from deploy.embedded.processes import command_line, descendants_of, start_times
from deploy.embedded.run_tests import NESTED
from deploy.embedded.stack import EmbeddedStack

pytest_plugins = ["tests.budgets", "tests.side_by_side"]

_TESTS = Path(__file__).parent
_SUITES = ("unit", "security", "integration", "deploy", "e2e")
_END_SECONDS = 5.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        parts = item.path.relative_to(_TESTS).parts
        if parts[0] in _SUITES:
            item.add_marker(parts[0])
        for name in (name for name, nested in NESTED.items() if parts[:2] == nested):
            item.add_marker(name)


@pytest.fixture(scope="session", autouse=True)
def no_process_left() -> Iterator[None]:
    """Set up first, torn down last: by then everything that the tests started must have ended."""
    before = start_times(descendants_of(os.getpid()))
    yield
    deadline = time.monotonic() + _END_SECONDS
    while (left := _started_since(before)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, "left running: " + "; ".join(left)


def _started_since(before: dict[int, int]) -> list[str]:
    now = start_times(descendants_of(os.getpid()))
    commands = {pid: command_line(pid) for pid in now.keys() - before.keys()}
    return [
        f"{pid} {line}" for pid, line in commands.items() if line and "multiprocessing.resource_tracker" not in line
    ]


Say = Callable[[str], None]


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Say:
    """Print past pytest's capture: a moment is wanted most when the test that died at it left nothing else."""
    capturing = request.config.pluginmanager.getplugin("capturemanager")

    def print_line(line: str) -> None:
        with capturing.global_and_fixture_disabled():  # of a process beside others, stdout is not the terminal
            (sys.stderr if "PYTEST_XDIST_WORKER" in os.environ else sys.stdout).write(f"\n  {line}\n")

    return print_line


@pytest.fixture(scope="session")
def seed(say: Say) -> int:
    """Of all moments at which something is killed: `CLOISTER_KILL_SEED` repeats those of an earlier run."""
    chosen = int(os.environ.get("CLOISTER_KILL_SEED") or secrets.randbits(32))
    say(f"CLOISTER_KILL_SEED={chosen}")
    return chosen


def require_brokers() -> None:
    """Skip on a laptop without RabbitMQ and Redis, fail in CI."""
    if missing := missing_packages():
        text = f"not installed: {', '.join(missing)}"
        if os.environ.get("CI"):
            pytest.fail(text, pytrace=False)
        pytest.skip(text)


@dataclass(frozen=True)
class Broker:
    """One of the private brokers: its address, with credentials."""

    url: str


@pytest.fixture(scope="session")
def broker_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """A private RabbitMQ and Redis for the whole session."""
    require_brokers()
    stack = EmbeddedStack(tmp_path_factory.mktemp("brokers") / "state", "deploy.embedded.table:brokers")
    stack.start(tied=True)
    try:
        stack.wait_ready()
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="session")
def rabbitmq(broker_stack: EmbeddedStack) -> Broker:
    """The private RabbitMQ."""
    return Broker(broker_stack.amqp_url)


@pytest.fixture(scope="session")
def redis_server(broker_stack: EmbeddedStack) -> Broker:
    """The private Redis."""
    return Broker(broker_stack.redis_url)
