"""`./cloister test [--json] [SUITE ...] [-- PYTEST ARGUMENT ...]`: linters and tests, with budgets (side: host).

All chosen suites run in one pytest session, whose tests that want a stack as it is share one: RabbitMQ and Redis alone
(integration; one in each of three processes), or the whole stack (e2e). Tests of how a stack starts, refuses to, or
ends start their own, kills too. What a budget means stands in tests/budgets.py. This process is a subreaper: what a
test leaves running is found, named, ended, and fails the run. With `--json` stdout has the figures alone.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.embedded.processes import become_subreaper, command_line, descendants_of, kill_descendants, start_times
from deploy.embedded.specification import CODE_ROOT

BUDGET_SECONDS: Final = {
    "unit": 120,
    "security": 180,
    "sandbox": 300,
    "integration": 180,
    "deploy": 120,
    "containers": 1800,
    "e2e": 400,
    "kills": 240,
}
"""Wall time of each suite, in the order in which they run."""

NESTED: Final = {"sandbox": ("security", "sandbox"), "containers": ("deploy", "containers"), "kills": ("e2e", "kills")}
"""Suites that lie in another's folder: the parts of their paths below `tests`."""

_SIDE_BY_SIDE: Final = ("--numprocesses=3", "--no-loadscope-reorder")
"""One more than cores: each waits for clocks, starts and deadlines much of its time. What runs beside what stands in
tests/side_by_side.py."""

_LINTERS: Final = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",), ("lint-imports",))
_ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""Of libraries for arithmetic: processes use all cores, and threads that wait for each other do it in loops."""

_LAST_GRACE_SECONDS: Final = 5.0


def main(arguments: Sequence[str]) -> int:
    """Run the named suites (all of them by default; `lint` is one more). Returns an exit status."""
    words = list(arguments)
    cut = words.index("--") if "--" in words else len(words)
    suites, extra = [word for word in words[:cut] if word != "--json"], words[cut + 1 :]
    if unknown := [name for name in suites if name not in (*BUDGET_SECONDS, "lint")]:
        print(f"no suite {', '.join(unknown)}: choose from {', '.join(BUDGET_SECONDS)}, lint", file=sys.stderr)
        return 2
    return _run_for_programs(suites, extra) if "--json" in words[:cut] else _run(suites, extra)


def _run(suites: Sequence[str], extra: Sequence[str]) -> int:
    lint_status = _lint() if "lint" in suites else 0
    chosen = [name for name in BUDGET_SECONDS if name in suites or not suites]
    return (_run_pytest([*pytest_arguments(chosen, CODE_ROOT), *extra]) if chosen else 0) or lint_status


def _run_for_programs(suites: Sequence[str], extra: Sequence[str]) -> int:
    """The same with all that people read on stderr; stdout gets one line of JSON."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as place, os.fdopen(os.dup(1), "w") as stdout:
        os.dup2(2, 1)
        figures, status = Path(place, "figures.json"), _run(suites, [f"--figures={place}/figures.json", *extra])
        told = json.loads(figures.read_bytes()) if figures.exists() else {}
        told |= {"type": "tests-run", "exit_status": status, "wall_seconds": round(time.monotonic() - begun, 1)}
        stdout.write(json.dumps(told) + "\n")
    return status


def pytest_arguments(suites: Sequence[str], root: Path) -> list[str]:
    """Folders in order, without those that are not there, and what pytest must know of the budgets."""
    folders = ["/".join(("tests", *NESTED.get(name, (name,)))) for name in suites]
    unwanted = [f"not {name}" for name, (outer, _) in NESTED.items() if outer in suites and name not in suites]
    marks = ["-m", " and ".join(unwanted)] if unwanted else []
    budgets = [f"--budget={name}={BUDGET_SECONDS[name]}" for name in suites]
    beside = _SIDE_BY_SIDE if set(suites) != {"kills"} else ()
    return [*(folder for folder in folders if (root / folder).is_dir()), *marks, *beside, *budgets]


def _lint() -> int:
    status = 0
    for linter in _LINTERS:
        print(f"== {' '.join(linter)}", flush=True)
        command = [Path(sys.executable).with_name(linter[0]), *linter[1:]]
        status = subprocess.run(command, cwd=CODE_ROOT, check=False).returncode or status
    return status


def _run_pytest(arguments: Sequence[str]) -> int:
    become_subreaper()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to pytest too, which ends in order
    pytest = subprocess.Popen(
        [sys.executable, "-P", "-m", "pytest", *arguments],
        cwd=CODE_ROOT,
        env=os.environ | _ONE_THREAD,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - this process has one thread
    )
    status = _reap_until(pytest.pid)
    left = _left_running()
    if not left:
        return status
    print(f"left running by the tests: {'; '.join(left)}", file=sys.stderr)
    kill_descendants()
    return status or 1


def _reap_until(pid: int) -> int:
    while True:  # orphans of the tests become ours, and are collected as init would
        ended, status = os.waitpid(-1, 0)
        if ended == pid:
            return os.waitstatus_to_exitcode(status)


def _left_running() -> list[str]:
    deadline = time.monotonic() + _LAST_GRACE_SECONDS
    while (left := start_times(descendants_of(os.getpid()))) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [f"{pid} {command_line(pid)}" for pid in left]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
