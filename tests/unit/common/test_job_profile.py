"""What design code is told of data: right, and the same to the bit whatever machine adds it up."""

import numpy as np
import pytest

from common.errors import Refusal
from common.exchange.steering import MAX_DESIGN_BYTES
from common.job_design import design_bounds
from common.job_profile import MAX_CLASSES, JobRows, describe, profile_of_job
from common.messages.order import TrainingOrder
from tests.fakes.in_memory_job import InMemoryJob, make_schedule
from tests.fakes.plain_designs import FEATURES, MAX_PARAMETERS, designing_bundle

SCHEDULE = make_schedule()
DRAW = np.random.default_rng(7)


def order() -> TrainingOrder:
    return InMemoryJob(SCHEDULE, designers={})._order()


def columns(rows: int = 50) -> dict[str, np.ndarray]:
    return {"x": DRAW.normal(3, 2, (rows, FEATURES)).astype(np.float32), "y": np.zeros(rows, np.float32)}


def rows_of(table: dict[str, np.ndarray]) -> JobRows:
    return JobRows((table,), len(table["y"]))


@pytest.mark.parametrize(
    "values",
    [
        DRAW.normal(5, 3, 100_000).astype(np.float32), DRAW.integers(0, 255, (700, 8, 8)).astype(np.uint8),
        DRAW.integers(-(2**40), 2**40, 5000), DRAW.normal(0, 1e-30, 999), DRAW.normal(0, 1e200, 999),
        np.full(3, -7, np.int64), np.zeros(5, np.float32), DRAW.normal(1e6, 1e-1, 40_000),
    ],
)  # fmt: skip
def test_the_numbers_are_those_of_the_values(values: np.ndarray) -> None:
    low, high, mean, deviation = describe(values)
    wide = values.astype(np.float64)
    tolerance = max(abs(wide.min()), abs(wide.max())) * 2.0**-23
    assert (low, high) == (wide.min(), wide.max())
    assert mean == pytest.approx(wide.mean(), rel=1e-9, abs=tolerance)
    with np.errstate(over="ignore"):
        spread = (wide / max(1.0, tolerance)).std() * max(1.0, tolerance)
    assert deviation == pytest.approx(spread, rel=1e-5, abs=2 * tolerance)


def test_no_order_of_adding_changes_a_bit() -> None:
    values = DRAW.normal(5, 3, 60_000).astype(np.float32)
    assert describe(values) == describe(values[::-1].copy()) == describe(np.sort(values))


def test_no_cut_into_tables_changes_a_bit() -> None:
    values = DRAW.normal(5, 3, 60_000).astype(np.float32)
    assert describe(values) == describe(values[:7], values[7:50_000], values[50_000:])
    table, bundle = columns(), designing_bundle().manifest
    cut = JobRows(tuple({name: one[part] for name, one in table.items()} for part in (slice(9), slice(9, 50))), 50)
    told = [profile_of_job(rows, bundle, order().schedule, 2) for rows in (rows_of(table), cut)]
    assert told[0] == told[1]


def test_what_is_not_finite_is_left_out() -> None:
    values = np.array([1.0, np.nan, 3.0, np.inf, -np.inf], np.float32)
    assert describe(values) == (1.0, 3.0, 2.0, 1.0)
    assert describe(np.array([np.nan])) == (0.0, 0.0, 0.0, 0.0)


def test_a_profile_tells_data_and_order() -> None:
    table = columns()
    profile = profile_of_job(rows_of(table), designing_bundle().manifest, order().schedule, order().trainers)
    assert (profile.rows, profile.trainers, profile.rounds) == (50, 2, SCHEDULE.rounds)
    assert (profile.steps_per_round, profile.batch_rows) == (SCHEDULE.steps_per_round, SCHEDULE.batch_rows)
    assert (profile.max_parameters, profile.answer) == (MAX_PARAMETERS, ())
    (column,) = profile.columns
    assert (column.name, column.dtype, column.shape) == ("x", "float32", (FEATURES,))
    assert column.min == table["x"].min()
    assert profile.label.counts == ()


def test_classes_are_counted() -> None:
    bundle = designing_bundle().manifest
    label = bundle.label.model_copy(update={"dtype": "int64"})
    bundle = bundle.model_copy(update={"label": label})
    for labels, counts in (
        ([0, 2, 2, 1], (1, 1, 2)), ([5, 5], (0, 0, 0, 0, 0, 2)), ([-1, 0], ()), ([0, MAX_CLASSES], ()),
    ):  # fmt: skip
        table = {"x": columns(len(labels))["x"], "y": np.array(labels, np.int64)}
        halves = JobRows(({n: one[:1] for n, one in table.items()}, {n: one[1:] for n, one in table.items()}), 2)
        for rows in (rows_of(table), halves):
            assert profile_of_job(rows, bundle, order().schedule, order().trainers).label.counts == counts


@pytest.mark.parametrize(
    "changes",
    [{"x": np.zeros((50, FEATURES + 1), np.float32)}, {"x": np.zeros((50, FEATURES))}, {"y": np.zeros(50, np.int64)}],
)
def test_data_that_do_not_fit_the_bundle_are_refused(changes: dict[str, np.ndarray]) -> None:
    with pytest.raises(Refusal, match=r"provider\.input"):
        profile_of_job(rows_of(columns() | changes), designing_bundle().manifest, order().schedule, order().trainers)
    with pytest.raises(Refusal, match=r"provider\.input"):
        profile_of_job(rows_of({"y": columns()["y"]}), designing_bundle().manifest, order().schedule, order().trainers)


def test_bounds_follow_from_bundle_and_schedule() -> None:
    bundle = designing_bundle().manifest
    short, long = (design_bounds(bundle, make_schedule(ticks_per_round=ticks)) for ticks in (8, 80))
    assert short.state_values == MAX_PARAMETERS
    assert long.flops_per_row == pytest.approx(10 * short.flops_per_row, rel=1e-6)
    assert short.flops_per_row == (1 << 33) * 8 * 100 // 1000 // (3 * 8 * 16)
    assert design_bounds(bundle, make_schedule(batch_rows=1 << 31)).flops_per_row == 1
    assert MAX_DESIGN_BYTES < 1 << 17
