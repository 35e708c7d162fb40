"""An answer tells what the tightest terms let it tell, and no more than it is charged for."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.bundle import DType, TensorSpec
from common.leakage import FAILURES, RELEASE_TICKS, AnswerSize, answer_bits
from common.messages.answer_bounds import AnswerBounds
from common.messages.query import QueryProfile
from common.messages.query_tensors import Answer, decode_outcome, encode_answer
from services.query_enclave.telling import tell

ROWS = 4096
SCORES = np.array([[2.0, -1.0, 0.5, 0.25], [0.0, 3.0, 3.0, -4.0]], np.float32)


def profile(classes: int = 4, dtype: DType = "float32") -> QueryProfile:
    """Of a model with so many scores."""
    return QueryProfile(
        input=TensorSpec(shape=(1,), dtype="uint8"), answer=TensorSpec(shape=(classes,), dtype=dtype), max_rows=ROWS
    )


def told(scores: NDArray[np.generic], detail: str = "scores", **bounds: int) -> Answer:
    """What a user reads."""
    shape = profile(scores.shape[1], scores.dtype.name)  # type: ignore[arg-type]
    outcome = tell(scores, 7, detail, AnswerBounds(**bounds), shape)
    assert len(outcome) == shape.outcome_bytes
    return decode_outcome(outcome, shape)


def test_without_bounds_all_is_told() -> None:
    np.testing.assert_array_equal(told(SCORES).scores, SCORES)
    outcome = tell(SCORES, 7, "scores", AnswerBounds(queries_per_minute=1), profile())
    assert outcome == encode_answer(SCORES, 7, "scores", profile())


def test_the_largest_scores_are_told_and_no_others() -> None:
    answer = told(SCORES, top=2)
    least = -np.inf
    np.testing.assert_array_equal(answer.scores, [[2, least, 0.5, least], [least, 3, 3, least]])
    np.testing.assert_array_equal(answer.labels, [0, 1])
    np.testing.assert_array_equal(told(SCORES, top=9).scores, SCORES)


def test_scores_that_are_not_told_are_nowhere_in_the_outcome() -> None:
    outcome = tell(SCORES, 7, "scores", AnswerBounds(top=1), profile())
    assert np.float32(2).tobytes() in outcome
    assert [value for value in (-1, 0.5, 0.25, -4) if np.float32(value).tobytes() in outcome] == []


def test_scores_are_rounded_as_confidences() -> None:
    answer = told(SCORES, decimals=2)
    soft = np.exp(SCORES.astype(float)) / np.exp(SCORES.astype(float)).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answer.scores, np.round(soft, 2), atol=1e-6)  # type: ignore[arg-type]


def test_what_is_a_distribution_already_is_only_rounded() -> None:
    rows = np.array([[0.125, 0.625, 0.25], [1.0, 0.0, 0.0]], np.float64)
    np.testing.assert_allclose(told(rows, decimals=1).scores, [[0.1, 0.6, 0.2], [1, 0, 0]])  # type: ignore[arg-type]


def test_the_label_is_that_of_the_scores_before_rounding() -> None:
    rows = np.array([[0.3, 0.4, 0.3], [0.2, 0.3, 0.5]], np.float32)
    answer = told(rows, decimals=0)
    np.testing.assert_array_equal(answer.labels, [1, 2])
    np.testing.assert_array_equal(told(rows, decimals=0, top=1).labels, [1, 2])


def test_a_label_grant_tells_the_label_whatever_the_bounds() -> None:
    for bounds in ({}, {"top": 2}, {"decimals": 1}):
        answer = told(SCORES, "label", **bounds)
        assert answer.scores is None
        np.testing.assert_array_equal(answer.labels, [0, 1])


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8", "bool"])
def test_integers_are_cut_and_never_rounded(dtype: DType) -> None:
    rows = np.array([[0, 1, 1, 0]], dtype)
    assert told(rows, decimals=2).scores is None
    assert told(rows, decimals=2, top=1).labels.tolist() == [1]
    cut = told(rows, top=1).scores
    assert cut is not None
    assert (cut[0] == rows[0]).tolist()[1]
    assert len(set(cut[0, [0, 2, 3]].tolist())) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_carries_nothing_more(value: float) -> None:
    rows = np.array([[value, 1, 2, value], [value] * 4], np.float32)
    allowed = {round(step / 10, 1) for step in range(11)}
    rounded = told(rows, decimals=1).scores
    assert rounded is not None
    assert {round(float(one), 1) for one in rounded.ravel()} <= allowed
    assert not np.isnan(told(rows, top=2).scores).any()  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    rows=st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=1, max_size=3),
    top=st.integers(1, 3), decimals=st.integers(0, 3),
)  # fmt: skip
def test_tighter_terms_tell_a_function_of_what_wider_ones_told(
    rows: list[list[float]], top: int, decimals: int
) -> None:
    """Else answers that were charged under wider terms would tell more than they were charged for."""
    scores = np.array(rows, np.float32)
    wide = told(scores, decimals=decimals)
    both = told(scores, decimals=decimals, top=top)
    assert wide.scores is not None
    assert both.scores is not None
    np.testing.assert_array_equal(both.labels, wide.labels)
    for label, from_wide, cut in zip(wide.labels, wide.scores, both.scores, strict=True):
        ranked = sorted((place != label, -float(one), place) for place, one in enumerate(from_wide))
        kept = {place for _, _, place in ranked[:top]}
        np.testing.assert_array_equal(cut, [one if place in kept else 0 for place, one in enumerate(from_wide)])


@pytest.mark.parametrize("bounds", [{"top": 1}, {"top": 2}, {"decimals": 0}, {"decimals": 0, "top": 1},
                                    {"decimals": 0, "top": 2}, {"decimals": 1, "top": 2}, {"decimals": 1}])  # fmt: skip
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_there_are_no_more_outcomes_than_are_charged(bounds: dict[str, Any], classes: int) -> None:
    """Provider code tries all that it can say, over scores that reach every outcome of these few classes."""
    values = [np.nan, -np.inf, *np.linspace(0, 1, 21)]
    every = np.array(list(itertools.product(values, repeat=classes)), np.float32)
    every = np.concatenate([every, 40 * every, every / np.maximum(np.nansum(every, axis=1, keepdims=True), 1e-9)])
    seen = set()
    for at in range(0, len(every), ROWS):
        answer = told(every[at : at + ROWS], **bounds)
        assert answer.scores is not None
        seen |= {(int(label), one.tobytes()) for label, one in zip(answer.labels, answer.scores, strict=True)}
    bits = answer_bits(AnswerSize(classes, 4 * classes), "scores", AnswerBounds(**bounds))
    assert len(seen) + FAILURES <= 2 ** (bits - math.log2(RELEASE_TICKS))
