"""common/sandboxed/engine_choice: an engine that is wrong, mixes rows or fails does not answer, however fast it is."""

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from common.sandboxed import engine_choice
from common.sandboxed.engine_choice import (
    TOLERANCES,
    checked_engine,
    choose_engine,
    difference,
    hostile_rows,
    is_independent,
    random_rows,
)
from common.sandboxed.engine_report import EngineKind, EngineReport, Precision, Reason, parse_report
from common.sandboxed.engines import EagerEngine, Engine, RowByRow
from common.sandboxed.graph_operations import OPERATIONS
from common.sandboxed.model_state import flatten_state
from tests.fakes.random_graphs import model_of, random_graph

FP32 = EngineKind.OPENVINO_FP32


def small() -> tuple[dict[str, Any], NDArray[np.float32]]:
    """A float graph with a linear map."""
    seed = next(
        seed for seed in range(1000)
        if (graph := random_graph(seed, 6)).input.dtype == "float32" and {"linear"} <= {one.op for one in graph.nodes}
    )  # fmt: skip
    graph = random_graph(seed, 6)
    return json.loads(graph.encode()), flatten_state(model_of(graph))


DOCUMENT, STATE_P = small()
ROWS = random_rows(DOCUMENT, 2)
KNOWN = (ROWS, RowByRow(EagerEngine(DOCUMENT, STATE_P)).answer(ROWS))


class Spoilt:
    """Eager torch's answers, and what `spoil` makes of them."""

    kind = FP32

    def __init__(self, spoil: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        self._eager, self._spoil = EagerEngine(DOCUMENT, STATE_P), spoil

    def answer(self, rows_NX: NDArray[Any]) -> NDArray[Any]:
        answers: NDArray[Any] = self._spoil(self._eager.answer(rows_NX))
        return answers


def neighbour_leaks(answers: NDArray[Any]) -> NDArray[Any]:
    leaked: NDArray[Any] = answers + 1e-3 * np.abs(answers).max() * (np.roll(answers, 1, axis=0) != answers)
    return leaked


def batch_mean(answers: NDArray[Any]) -> NDArray[Any]:
    return answers - answers.mean(axis=0, keepdims=True) if len(answers) > 1 else answers


def raising(answers: NDArray[Any]) -> NDArray[Any]:
    raise MemoryError


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda answers: answers * 1.01, Reason.DISAGREES),
        (lambda answers: np.where(True, np.nan, answers), Reason.DISAGREES),
        (neighbour_leaks, Reason.MIXES),
        (batch_mean, Reason.MIXES),
        (lambda answers: np.nan_to_num(answers) * len(answers), Reason.MIXES),
        (raising, Reason.FAILED),
    ],
)
def test_a_spoilt_engine_is_left_out(spoil: Callable[[NDArray[Any]], NDArray[Any]], found: Reason) -> None:
    assert checked_engine(FP32, DOCUMENT, KNOWN, 16, lambda _: Spoilt(spoil)) is found
    assert isinstance(checked_engine(FP32, DOCUMENT, KNOWN, 16, lambda _: Spoilt(lambda one: one)), Spoilt)


@pytest.mark.parametrize(("seconds", "chosen"), [(0.0, FP32), (0.004, EngineKind.EAGER)])
def test_the_fastest_answers_and_says_how_fast(
    seconds: float, chosen: EngineKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eager torch takes a millisecond more a batch, the other engine none or four."""
    answer = EagerEngine.answer

    def slowed(engine: EagerEngine, rows: NDArray[Any]) -> NDArray[Any]:
        time.sleep(0.001)
        return answer(engine, rows)

    class Other(Spoilt):
        def answer(self, rows_NX: NDArray[Any]) -> NDArray[Any]:
            time.sleep(seconds)
            return answer(self._eager, rows_NX)

    monkeypatch.setattr(EagerEngine, "answer", slowed)
    monkeypatch.setattr(engine_choice, "openvino_maker", lambda *_: lambda _: Other(lambda one: one))
    engine, report = choose_engine(DOCUMENT, STATE_P)
    assert (engine.kind, report.kind, report.reason) == (chosen, chosen, Reason.MEASURED)
    assert 0 < report.rows_per_second_1 < report.rows_per_second_16


def test_openvino_answers_or_the_report_says_why_not() -> None:
    engine, report = choose_engine(DOCUMENT, STATE_P)
    assert report.reason is Reason.MEASURED
    assert difference(engine.answer(ROWS), KNOWN[1]) <= TOLERANCES.get(engine.kind, 1e-6)


@pytest.mark.parametrize(
    ("precision", "compared"),
    [
        (Precision.FLOAT32, [FP32]),
        (Precision.BFLOAT16, [FP32, EngineKind.OPENVINO_BF16]),
        (Precision.INT8, [EngineKind.OPENVINO_INT8, FP32]),
    ],
)
def test_a_lower_precision_is_compared_only_if_it_is_allowed(
    precision: Precision, compared: list[EngineKind], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two launches of one model would answer differently, by what was faster at the time."""
    asked: list[EngineKind] = []

    def make(kind: EngineKind) -> Engine | Reason:
        asked.append(kind)
        return Reason.ABSENT

    monkeypatch.setattr(engine_choice, "openvino_maker", lambda *_: make)
    choose_engine(DOCUMENT, STATE_P, precision)
    assert asked == compared


def test_a_choice_that_takes_too_long_is_eager_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: EngineKind) -> Engine | Reason:
        time.sleep(1)
        return Reason.FAILED

    monkeypatch.setattr(engine_choice, "CHOICE_SECONDS", 0.05)
    monkeypatch.setattr(engine_choice, "openvino_maker", lambda *_: never)
    engine, report = choose_engine(DOCUMENT, STATE_P)
    assert isinstance(engine, EagerEngine)
    assert report == EngineReport(EngineKind.EAGER, Reason.LATE)


def test_eager_torch_that_mixes_rows_is_asked_about_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rule of ours lets such an operation through; if one did, or a kernel of torch did, answers still would not."""
    linear = OPERATIONS["linear"]
    mixing = {**OPERATIONS, "linear": lambda *given: linear(*given) + given[2].sum()}
    monkeypatch.setattr("common.sandboxed.graph_model.OPERATIONS", mixing)
    monkeypatch.setattr(engine_choice, "openvino_maker", lambda *_: lambda _: Reason.ABSENT)
    engine, report = choose_engine(DOCUMENT, STATE_P)
    assert (report.kind, report.reason, report.apart) == (EngineKind.EAGER, Reason.ABSENT, True)
    many = np.concatenate([ROWS, hostile_rows(DOCUMENT, 6)])
    np.testing.assert_array_equal(engine.answer(many)[:2], engine.answer(ROWS))


def test_hostile_rows_are_hostile_and_are_looked_at() -> None:
    assert {str(row.flat[0]) for row in hostile_rows(DOCUMENT, 6)} >= {"nan", "inf", "-inf"}
    seen: list[NDArray[Any]] = []

    class Seeing(Spoilt):
        def answer(self, rows_NX: NDArray[Any]) -> NDArray[Any]:
            seen.append(rows_NX)
            return super().answer(rows_NX)

    engine = Seeing(lambda one: one)
    assert is_independent(engine, DOCUMENT, ROWS, KNOWN[1], 16)
    assert {len(one) for one in seen} == {16}
    assert all(np.isnan(one).any() and np.isinf(one).any() for one in seen)


def test_a_difference_of_what_is_finite_and_what_is_not_is_infinite() -> None:
    good, bad = np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)
    bad[1, 2] = np.nan
    assert difference(good, good) == 0.0
    assert difference(bad, good) == difference(good, bad) == np.inf
    assert difference(good * np.float32(1.5), good) == pytest.approx(0.5)


@pytest.mark.parametrize("apart", [False, True])
def test_reports_are_read_as_they_were_said(apart: bool) -> None:
    said = EngineReport(EngineKind.OPENVINO_BF16, Reason.MEASURED, 12.5, 100.0, apart)
    assert parse_report(said.code, 12.5, 100.0) == said
    assert parse_report(0, 0.0, 0.0) is None
    assert parse_report(0xFF, 0.0, 0.0) is None


class Int8(Spoilt):
    """Slower than any other."""

    kind = EngineKind.OPENVINO_INT8

    def answer(self, rows_NX: NDArray[Any]) -> NDArray[Any]:
        time.sleep(0.005)
        return super().answer(rows_NX)


@pytest.mark.parametrize(
    ("spoil", "passes"),
    [
        (lambda answers: answers * 1.1, True),
        (lambda answers: answers * np.nan, False),
        (neighbour_leaks, False),
        (lambda answers: -2 * answers, False),
    ],
)
def test_int8_that_was_judged_is_not_raced_for_but_must_pass(
    spoil: Callable[[NDArray[Any]], NDArray[Any]], *, passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two launches of one model answer alike, however fast either engine is at the time."""
    if spoil is neighbour_leaks:
        monkeypatch.setitem(engine_choice.APART_TOLERANCES, EngineKind.OPENVINO_INT8, 1e-4)

    def make(kind: EngineKind) -> Engine | Reason:
        return Int8(spoil) if kind is EngineKind.OPENVINO_INT8 else Spoilt(lambda one: one)

    monkeypatch.setattr(engine_choice, "openvino_maker", lambda *_: make)
    engine, report = choose_engine(DOCUMENT, STATE_P, Precision.INT8, ((0.0, 1.0),))
    assert engine.kind is report.kind
    assert (engine.kind is EngineKind.OPENVINO_INT8) is passes
    assert passes or engine.kind in {EngineKind.EAGER, FP32}


def test_ranges_of_another_graph_leave_float32() -> None:
    engine, report = choose_engine(DOCUMENT, STATE_P, Precision.INT8, ((0.0, 1.0),) * 99)
    assert engine.kind is report.kind
    assert engine.kind in {EngineKind.EAGER, FP32}


@pytest.mark.parametrize(
    ("dtype", "within", "least", "most"),
    [
        ("uint8", (0.0, 15.9), 0, 15),
        ("uint8", (0.0, 400.0), 0, 255),
        ("int32", (-3.5, 2.5), -3, 2),
        ("uint8", (0.0, 1e-6), 0, 0),
    ],
)
def test_rows_within_a_range_are_all_that_its_type_has_there(
    dtype: str, within: tuple[float, float], least: int, most: int
) -> None:
    rows = random_rows({"input": {"shape": [3, 32, 32], "dtype": dtype}}, 2, within)
    assert (rows.dtype.name, int(rows.min()), int(rows.max())) == (dtype, least, most)


def test_numbers_within_a_range_are_spread_over_it() -> None:
    rows = random_rows({"input": {"shape": [64], "dtype": "float32"}}, 16, (-2.0, 6.0))
    assert -2.0 <= rows.min() < -1.5
    assert 5.5 < rows.max() <= 6.0
    assert random_rows({"input": {"shape": [64], "dtype": "float32"}}, 16).std() == pytest.approx(1.0, abs=0.1)
