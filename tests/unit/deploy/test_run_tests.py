from pathlib import Path

import pytest

from deploy.embedded.run_tests import BUDGET_SECONDS, main, pytest_arguments


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("unit", "security", "e2e"):
        (tmp_path / "tests" / name).mkdir(parents=True)
    return tmp_path


def test_all_suites_run_in_order_without_those_that_are_not_there(root: Path) -> None:
    arguments = pytest_arguments(list(BUDGET_SECONDS), root)
    assert arguments[:3] == ["tests/unit", "tests/security", "tests/e2e"]
    assert "-m" not in arguments
    assert "--budget=unit=120" in arguments
    assert "--budget=kills=240" in arguments


def test_kills_are_chosen_by_their_mark(root: Path) -> None:
    assert pytest_arguments(["kills"], root) == ["tests/e2e", "-m", "kills or not e2e", "--budget=kills=240"]
    assert pytest_arguments(["e2e"], root)[:3] == ["tests/e2e", "-m", "not kills"]


def test_an_unknown_suite_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["units"]) == 2
    assert "choose from unit, security" in capsys.readouterr().err
