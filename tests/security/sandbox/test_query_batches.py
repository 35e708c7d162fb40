"""Promise: one evaluation of a graph answers several queries as each alone; provider code sees one at a time."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from common.exported_graph import open_exported
from common.sandbox.native import NativeQuerySandbox
from tests.fakes.exported_graphs import linear_graph
from tests.fakes.in_memory_job import FEATURES
from tests.fakes.training_world import small_bundle

BUNDLE = small_bundle()
EACH = BUNDLE.manifest.query_rows
QUERIES = 8
SECONDS = 20.0
STATE_P = np.linspace(-1, 1, BUNDLE.manifest.state_count, dtype=np.float32)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[NativeQuerySandbox]:
    """A graph's, with room for so many queries."""
    graph = open_exported(json.dumps(linear_graph(BUNDLE.manifest)).encode(), BUNDLE.manifest)
    started = NativeQuerySandbox.start(graph.contents(), graph.state(STATE_P), seed=1, rows=QUERIES * EACH)
    yield started
    started.close()


def rows_of(count: int) -> NDArray[np.float32]:
    """So many different ones."""
    return np.random.default_rng(count).normal(size=(count, FEATURES)).astype(np.float32)


def answer(sandbox: NativeQuerySandbox, rows: NDArray[np.float32]) -> NDArray[np.generic]:
    """What comes out."""
    outcome = sandbox.answer(rows, SECONDS)
    assert outcome.answer_NA is not None
    return outcome.answer_NA


def test_rows_of_several_queries_are_answered_as_each_is_alone(sandbox: NativeQuerySandbox) -> None:
    rows = rows_of(QUERIES * EACH)
    together = answer(sandbox, rows)
    assert len(together) == QUERIES * EACH
    for begin in range(0, len(rows), EACH):
        alone = answer(sandbox, rows[begin : begin + EACH])
        np.testing.assert_allclose(together[begin : begin + EACH].astype(float), alone.astype(float), rtol=1e-5)


def test_nothing_of_a_large_unit_is_left_in_a_small_one(sandbox: NativeQuerySandbox) -> None:
    answer(sandbox, rows_of(QUERIES * EACH))
    place = sandbox._place
    assert not any(any(window.copy(window.size)) for window in (place._input, place._output))
    small = rows_of(1)
    expected = (small[:, : FEATURES - 2] * STATE_P[: FEATURES - 2]).sum(axis=1)
    np.testing.assert_allclose(answer(sandbox, small).astype(float), expected, rtol=1e-4)


def test_a_unit_that_fails_is_followed_by_one_that_does_not(sandbox: NativeQuerySandbox) -> None:
    spoiled = rows_of(QUERIES * EACH)
    spoiled[5] = np.nan
    assert sandbox.answer(spoiled, SECONDS).code == "provider.output"
    assert len(answer(sandbox, rows_of(3))) == 3


@pytest.mark.parametrize("count", [0, QUERIES * EACH + 1])
def test_no_rows_and_more_than_there_is_room_for_are_the_enclaves_mistake(
    sandbox: NativeQuerySandbox, count: int
) -> None:
    with pytest.raises(ValueError, match="rows"):
        sandbox.answer(rows_of(count), SECONDS)


def test_provider_code_is_never_started_for_several_queries() -> None:
    with pytest.raises(ValueError, match="one query at a time"):
        NativeQuerySandbox.start(BUNDLE, STATE_P, seed=1, rows=2 * EACH)
