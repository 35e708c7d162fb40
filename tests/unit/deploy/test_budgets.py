"""A suite that takes too long is seen, and fails the run, whichever test took the time."""

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.embedded.specification import CODE_ROOT
from tests.budgets import FAILS_AT, Budget


def run(root: Path, budget: str, tests: int) -> subprocess.CompletedProcess[str]:
    """A run of so many tests that take no time to speak of."""
    (root / "tests" / "unit").mkdir(parents=True)
    source = "".join(f"def test_{number}():\n    pass\n" for number in range(tests))
    (root / "tests" / "unit" / "test_quick.py").write_text(source)
    environment = {"PYTHONPATH": str(CODE_ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "tests.budgets", "--rootdir", str(root), f"--budget={budget}"]
    return subprocess.run(
        [*command, "tests/unit"], cwd=root, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("budget", "tests", "told"),
    [
        ("unit=60", 2, ["2 passed", "0 s of a budget of 60 s\n"]),
        ("unit=0", 2, ["1 passed", "1 error", "FAILED, more than"]),
        ("unit=0", 1, ["1 passed", "FAILED, more than"]),
    ],
    ids=["within", "before the last test", "in the last test"],
)
def test_a_run_fails_by_the_time_it_took(tmp_path: Path, budget: str, tests: int, told: list[str]) -> None:
    done = run(tmp_path, budget, tests)
    assert done.returncode == (0 if budget == "unit=60" else 1), done.stdout
    assert [text for text in told if text not in done.stdout] == []


def test_more_than_the_budget_is_seen_and_a_multiple_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = Budget("unit", 10, spent=9)
    assert not str(budget).endswith("EXCEEDED")
    budget.spent = 10 * FAILS_AT
    assert str(budget).endswith("EXCEEDED")
    assert not budget.is_overdrawn
    budget.spent += 1
    assert budget.is_overdrawn
    monkeypatch.setattr("os.getloadavg", lambda: (100.0, 0.0, 0.0))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    budget.look_at_load()
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    budget.look_at_load()
    assert (budget.factor, budget.is_overdrawn) == (50.0, False)
