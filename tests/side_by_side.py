"""Which tests run beside others, where there are two processes: files of unit, security and integration tests.

A pytest plugin over pytest-xdist. Each of the two has a RabbitMQ and a Redis of its own. All other tests follow one
another in one process: they share one stack, and some of them judge what happens when.
"""

from typing import Any, Final

import pytest
from xdist.scheduler import LoadScopeScheduling

SIDE_BY_SIDE: Final = ("tests/unit/", "tests/security/", "tests/integration/")


class BySuite(LoadScopeScheduling):  # type: ignore[misc] # without types
    """Hands out whole files, and the rest in one piece."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0] if nodeid.startswith(SIDE_BY_SIDE) else "services"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> BySuite:
    """In place of pytest-xdist's own."""
    return BySuite(config, log)
