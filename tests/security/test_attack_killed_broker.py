"""Promise: however often the key broker is killed, no key is lost, none released beyond its policy, and its log is one.

`./cloister bench attest-kill` is the long loop; what must hold stands in bench/attest_kill_verdict.
"""

import os
import secrets
import sys
from pathlib import Path
from typing import Final

import pytest

from bench.attest_kill import endure
from bench.attest_kill_load import ENCLAVES
from tests.conftest import require_brokers

KILLS: Final = 4
"""Each kind of process once."""

JOBS: Final = 40


@pytest.mark.timeout(240)
def test_kill_9_in_a_loop_while_fifty_enclaves_attest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`CLOISTER_KILL_SEED` repeats the victims and pauses of an earlier run."""
    require_brokers()
    seed = int(os.environ.get("CLOISTER_KILL_SEED") or secrets.randbits(32))

    def say(line: str) -> None:
        with capsys.disabled():  # a moment is wanted most when nothing else was left
            sys.stdout.write(f"\n  {line}")

    say(f"CLOISTER_KILL_SEED={seed}")
    endured = endure(tmp_path, KILLS, seed, JOBS, say)
    assert endured.problems == ()
    assert set(endured.kills.values()) == {1}
    assert len(endured.kills) == KILLS
    assert endured.jobs == JOBS
    assert endured.launches >= ENCLAVES
    assert endured.heads_held_against > KILLS
