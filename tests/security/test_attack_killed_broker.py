"""Promise: however often the key broker is killed, no key is lost, none released beyond its policy, and its log is one.

`./cloister bench attest-kill` is the long loop; what must hold stands in bench/attest_kill_verdict.
"""

from pathlib import Path
from typing import Final

import pytest

from bench.attest_kill import endure
from bench.attest_kill_load import ENCLAVES
from tests.conftest import Say, require_brokers

KILLS: Final = 4
"""Each kind of process once."""

JOBS: Final = 40


@pytest.mark.timeout(240)
def test_kill_9_in_a_loop_while_fifty_enclaves_attest(tmp_path: Path, seed: int, say: Say) -> None:
    require_brokers()
    endured = endure(tmp_path, KILLS, seed, JOBS, say)
    assert endured.problems == ()
    assert set(endured.kills.values()) == {1}
    assert len(endured.kills) == KILLS
    assert endured.jobs == JOBS
    assert endured.launches >= ENCLAVES
    assert endured.heads_held_against > KILLS
