import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.embedded.run_tests import BUDGET_SECONDS, main, pytest_arguments
from deploy.embedded.specification import CODE_ROOT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("unit", "security/sandbox", "e2e/kills"):
        (tmp_path / "tests" / name).mkdir(parents=True)
    return tmp_path


def test_all_suites_run_in_order_without_those_that_are_not_there(root: Path) -> None:
    arguments = pytest_arguments(list(BUDGET_SECONDS), root)
    folders = ["tests/unit", "tests/security", "tests/security/sandbox", "tests/e2e", "tests/e2e/kills"]
    assert arguments[:5] == folders
    assert "-m" not in arguments
    assert "--budget=unit=120" in arguments
    assert "--budget=kills=240" in arguments


def test_suites_in_the_folder_of_another_are_not_chosen_with_it(root: Path) -> None:
    assert pytest_arguments(["kills"], root) == ["tests/e2e/kills", "--budget=kills=240"]
    assert pytest_arguments(["e2e"], root)[:3] == ["tests/e2e", "-m", "not kills"]
    assert pytest_arguments(["security"], root)[:3] == ["tests/security", "-m", "not sandbox"]
    assert pytest_arguments(["security", "e2e"], root)[3] == "not sandbox and not kills"
    assert pytest_arguments(["e2e", "kills"], root)[:2] == ["tests/e2e", "tests/e2e/kills"]


def test_an_unknown_suite_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["units"]) == 2
    assert "choose from unit, security" in capsys.readouterr().err


def test_programs_get_the_figures_alone() -> None:
    """One test of this file alone, so that the others need not be collected; what people read goes to stderr."""
    program = (
        "import sys; from deploy.embedded import run_tests; run_tests.pytest_arguments = lambda *_: sys.argv[1:];"
        "sys.exit(run_tests.main(['unit', '--json', '--', '-k', 'test_an_unknown_suite_is_refused']))"
    )
    command, environment = (
        [sys.executable, "-P", "-c", program, __file__, "--budget=unit=120"],
        {"PYTHONPATH": str(CODE_ROOT)},
    )
    done = subprocess.run(command, cwd=CODE_ROOT, env=environment, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    assert (told["type"], told["exit_status"], done.returncode) == ("tests-run", 0, 0), done.stderr
    assert (told["passed"], told["failed"], told["error"], told["skipped"]) == (1, 0, 0, 0)
    assert told["suite_seconds"].keys() == {"unit"}
    assert "1 passed" in done.stderr
