"""Each suite has a budget of wall time: what it took stands in the summary, and a run that took far more fails.

A pytest plugin. `--budget SUITE=SECONDS` comes from `./cloister test`. A budget is for a quiet machine: a run fails at
`FAILS_AT` times that, or at as many times as there were processes for each processor, where that is more. Each test
begins only while its suite is below that, and the run fails even if the last test alone was too much. Of tests that run
side by side the time is counted once, by the process that the others report to; each of them counts its own.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from deploy.embedded.run_tests import NESTED

FAILS_AT: Final = 2.0

WITHOUT_BUDGET: Final = "tests/integration/test_gramine_"
"""Files that take most of an hour where Gramine is installed, and no time elsewhere."""


@dataclass
class Budget:
    """The time of one suite. `factor`: how many times `seconds` may be spent on a machine as busy as this one was."""

    suite: str
    seconds: float
    spent: float = 0.0
    factor: float = FAILS_AT
    counted_until: float = 0.0

    @property
    def is_overdrawn(self) -> bool:
        """Whether the run fails for it."""
        return self.spent > self.factor * self.seconds

    def count(self, start: float, stop: float) -> None:
        """A part of a test, in Unix seconds; parts come in the order of their ends."""
        self.spent += max(0.0, stop - max(start, self.counted_until))
        self.counted_until = max(stop, self.counted_until)

    def look_at_load(self) -> None:
        """Others may share the processors now and be gone in the end: the busiest moment counts."""
        self.factor = max(self.factor, os.getloadavg()[0] / (os.cpu_count() or 1))

    def __str__(self) -> str:
        """One line of the summary."""
        line = f"suite {self.suite}: {self.spent:.0f} s of a budget of {self.seconds:.0f} s"
        if self.is_overdrawn:
            return f"{line}: FAILED, more than {self.factor:.1f} times that"
        return f"{line}: EXCEEDED" if self.spent > self.seconds else line


class Budgets:
    """All budgets of a run, by suite."""

    def __init__(self, told: list[str]) -> None:
        pairs = (one.split("=", 1) for one in told)
        self.of = {suite: Budget(suite, float(seconds)) for suite, seconds in pairs}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if budget := self._budget_of(report.nodeid):
            budget.count(report.start, report.stop)
            budget.look_at_load()

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        budget = self._budget_of(item.nodeid)
        if budget and budget.is_overdrawn:
            pytest.fail(str(budget), pytrace=False)

    def _budget_of(self, nodeid: str) -> Budget | None:
        return None if nodeid.startswith(WITHOUT_BUDGET) else self.of.get(suite_of(nodeid))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if session.exitstatus == pytest.ExitCode.OK and any(budget.is_overdrawn for budget in self.of.values()):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for budget in self.of.values():
            terminalreporter.write_line(str(budget), bold=budget.spent > budget.seconds)
        if (file := terminalreporter.config.getoption("--figures")) is not None:
            counts = {one: len(terminalreporter.stats.get(one, ())) for one in ("passed", "failed", "error", "skipped")}
            spent = {suite: round(budget.spent, 1) for suite, budget in self.of.items()}
            file.write_text(json.dumps({**counts, "suite_seconds": spent}))


def suite_of(nodeid: str) -> str:
    """The folder below `tests`, or one in it that is a suite of its own."""
    parts = tuple(nodeid.split("/")[1:-1])
    return next((name for name, nested in NESTED.items() if parts[:2] == nested), parts[0])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--budget", action="append", default=[], metavar="SUITE=SECONDS", help="wall time of a suite")
    parser.addoption("--figures", type=Path, metavar="FILE", help="write there how many tests passed, and how long")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Budgets(config.getoption("--budget")), "budgets")
