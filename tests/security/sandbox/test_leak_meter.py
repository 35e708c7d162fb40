"""Promise: what the host sees of a job depends on the signed order's public part alone (docs/traffic.md).

`./cloister bench leak-meter --quick` in short: real enclaves' code, sandboxes and a broker's core, jobs in pairs that
differ in rows, labels, design and early stop; then builds that leak on purpose, each of which must be caught.
"""

from typing import Any, Final

import pytest

from bench.leak_figures import leaks
from bench.leak_meter import QUICK, QUICK_PAIRS, Wanted
from bench.leak_plants import PLANTS

pytestmark = pytest.mark.timeout(400)

TRIES: Final = 3
"""A machine that is busy with other things hides a delay of 4 ms; nothing that must be equal may differ in any try."""

Figures = dict[str, Any]


@pytest.fixture(scope="module")
def figures() -> Figures:
    shapes: list[str] = []
    for _ in range(TRIES):
        found = Wanted(2 * QUICK_PAIRS, workers=3, quick=True).play(lambda _: None)[0]
        shapes += found["leak_shapes"]
        if found["planted_leaks_caught"] == found["planted_leaks_total"]:
            break
    return found | {"leak_shapes": shapes}


def test_jobs_that_differ_in_secrets_have_equal_sizes_counts_and_requests(figures: Figures) -> None:
    assert figures["leak_jobs"] == 2 * QUICK_PAIRS
    assert figures["leak_shapes"] == []


def test_nothing_is_called_a_leak(figures: Figures) -> None:
    assert leaks(figures) == []


@pytest.mark.parametrize("name", QUICK)
def test_a_leak_on_purpose_is_caught(figures: Figures, name: str) -> None:
    assert figures["planted_leaks"][name], PLANTS[name].channel


def test_a_leak_that_is_not_caught_fails_the_command(figures: Figures) -> None:
    assert leaks(figures | {"planted_leaks_caught": len(QUICK) - 1}) == ["1 planted leaks were not caught"]
    assert leaks(figures | {"leak_advantage_jobs": 0.13}) == ["leak_advantage_jobs: 0.13, above 0.12"]
    assert leaks(figures | {"leak_dependence_p": 0.001})[0].endswith("p = 0.001")
