"""Which tests run beside others, where there are several processes.

A pytest plugin over pytest-xdist. First files of sandbox, security, integration and unit tests, each process with a
RabbitMQ and a Redis of its own: the shortest files come last, so that processes end together. Behind these, tests of
the whole stack, in two pieces: those that share the stack that a demo left follow one another in one process, and those
with stacks of their own, most of which die, in another. Both wait for clocks most of the time. Last, behind the
longer piece, what judges when things happen.
"""

from typing import Any, Final

import pytest
from xdist.scheduler import LoadScopeScheduling

_BY_FILES: Final = ("tests/security/sandbox/", "tests/security/", "tests/integration/", "tests/deploy/", "tests/unit/")
_OWN_STACKS: Final = (
    "tests/e2e/kills/",
    "tests/e2e/test_interrupted_demo.py",
    "tests/e2e/test_upgraded_stack.py",
    "tests/integration/test_direct_stack.py",
    "tests/integration/test_gramine_",
)
_LAST: Final = ("tests/security/sandbox/test_leak_meter.py", "tests/deploy/containers/")

_SHARED, _OWN, _BEHIND = len(_BY_FILES), len(_BY_FILES) + 1, len(_BY_FILES) + 2


class BySuite(LoadScopeScheduling):  # type: ignore[misc] # without types
    """Hands out whole files, and the rest in two pieces."""

    def _split_scope(self, nodeid: str) -> str:
        turn = _turn(nodeid)
        if turn < len(_BY_FILES):
            return nodeid.partition("::")[0]
        return "own stacks" if turn == _OWN else "shared stack"


def _turn(nodeid: str) -> int:
    """When a test's turn comes, among others."""
    if nodeid.startswith(_LAST):
        return _BEHIND
    if nodeid.startswith(_OWN_STACKS):
        return _OWN
    return next((turn for turn, folder in enumerate(_BY_FILES) if nodeid.startswith(folder)), _SHARED)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _turn(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> BySuite:
    """In place of pytest-xdist's own."""
    return BySuite(config, log)
