"""The statistics of a leak meter find what was put in, find nothing where nothing is, and say how sure they are."""

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from bench.leak_advantage import advantage, advantage_of_windows, advantages_of_jobs, folds_of
from bench.leak_dependence import dependence, differences
from bench.leak_drawing import draw_svg, draw_text, shares_of
from bench.leak_power import smallest_effects
from bench.leak_record import SERIES, JobRecord
from bench.leak_series import GAP_NAMES, Floats, Jobs, windows_of
from bench.leak_shape import unscheduled
from tests.fakes.in_memory_job import make_schedule

TICKS, TICK_MS = 96, 10.0
Change = Callable[[dict[str, Floats], np.random.Generator], None]


def nothing(_series: dict[str, Floats], _draw: np.random.Generator) -> None:
    """No leak."""


def late_chunks(series: dict[str, Floats], _draw: np.random.Generator) -> None:
    """Every chunk is asked for half a millisecond late."""
    series["chunk"] += 0.5


def late_at_times(series: dict[str, Floats], draw: np.random.Generator) -> None:
    """One tick in four leaves a millisecond late."""
    late = (draw.random(TICKS) < 0.25) * 1.0
    for name in ("up", "up second", "chunk"):
        series[name] += late


def job(pair: int, secret: int, change: Change) -> JobRecord:
    """Jitter around the ticks; each job has an offset of its own, as a trainer that starts listening anywhere has."""
    draw = np.random.default_rng([pair, secret])
    base = TICK_MS * np.arange(TICKS)
    down = base + draw.exponential(0.2, TICKS)
    up = base + draw.uniform(0, TICK_MS) + draw.exponential(0.2, TICKS)
    series = {
        "down": down, "down second": down + draw.exponential(0.1, TICKS), "up": up,
        "up second": up + draw.exponential(0.1, TICKS), "chunk": up + 0.3 + draw.exponential(0.1, TICKS),
        "question": np.where(np.arange(TICKS) % 10 == 0, down + draw.exponential(0.3, TICKS), np.nan),
        "report": np.where(np.arange(TICKS) % 12 == 0, down + 1 + draw.exponential(0.3, TICKS), np.nan),
    }  # fmt: skip
    assert tuple(series) == SERIES
    if secret:
        change(series, draw)
    durations = {"start": float(draw.exponential(20)), "ticks left out": float(draw.integers(3))}
    usage = {"sandbox_cpu_ms": 40.0 + 30 * secret + float(draw.exponential(5))}
    return JobRecord(pair, secret, TICK_MS, {"frames": [2]}, series, durations, usage, draw.exponential(1, 20))


def jobs(pairs: int, change: Change = nothing) -> list[JobRecord]:
    return [job(pair, secret, change) for pair in range(pairs) for secret in (0, 1)]


# dependence


def test_what_depends_on_the_secret_is_found_and_named() -> None:
    told = dependence(Jobs.of(jobs(13, late_chunks)))
    assert told.p <= 0.01
    assert told.most == "up to chunk request"
    assert dependence(Jobs.of(jobs(60, late_at_times))).p <= 0.01


def test_without_a_leak_small_p_values_are_rare() -> None:
    """At most one in ten is below 0.1: more than 7 of 30 would come once in a hundred."""
    told = [dependence(Jobs.of([job(1000 * run + pair, side, nothing) for pair in range(10) for side in (0, 1)])).p
            for run in range(30)]  # fmt: skip
    assert sum(p <= 0.1 for p in told) <= 7


def test_few_pairs_can_show_nothing() -> None:
    assert dependence(Jobs.of(jobs(4, late_chunks))).p > 0.01


# advantage


def test_an_advantage_is_twice_the_accuracy_less_one() -> None:
    secret = np.tile([0, 1], 200)
    correct = np.arange(400) % 4 != 0
    found = advantage(correct, secret, np.arange(400))
    assert found.estimate == pytest.approx(0.5)
    assert (found.low, found.high) == pytest.approx((0.5 - 0.085, 0.5 + 0.085), abs=0.02)  # 1.96 x 2 x sqrt(3/16/400)


def test_guessing_one_side_always_is_no_advantage() -> None:
    secret = np.tile([0, 1], 50)
    assert advantage(secret == 1, secret, np.arange(100)).estimate == pytest.approx(0.0)


def test_windows_of_a_job_that_go_the_same_way_count_once() -> None:
    draw = np.random.default_rng(1)
    secret, right = np.tile([0, 1], 100), draw.random(200) < 0.5
    job_of = np.repeat(np.arange(200), 9)
    alike = advantage(right[job_of], secret[job_of], job_of)
    apart = advantage(draw.random(1800) < 0.5, secret[job_of], job_of)
    single = advantage(right, secret, np.arange(200))
    assert alike.high - alike.low == pytest.approx(single.high - single.low, rel=0.1)
    assert apart.high - apart.low < 0.5 * (alike.high - alike.low)


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    draw = np.random.default_rng(2)
    secret, job_of = np.tile([0, 1], 100), np.arange(200)
    found = [advantage(draw.random(200) < 0.6, secret, job_of, seed) for seed in range(100)]
    assert 88 <= sum(one.low <= 0.2 <= one.high for one in found) <= 100


def test_pairs_stay_together() -> None:
    pairs = np.repeat(np.arange(23), 2)
    fold = folds_of(pairs)
    assert (fold[0::2] == fold[1::2]).all()
    assert set(fold) == {0, 1, 2, 3, 4}


def test_classifiers_tell_the_sides_apart_where_there_is_a_leak_and_nowhere_else() -> None:
    leaking, tight = Jobs.of(jobs(40, late_at_times)), Jobs.of(jobs(40))
    for found in advantages_of_jobs(leaking).values():
        assert found.low > 0.3
    for found in advantages_of_jobs(tight).values():
        assert found.low < 0 < found.high
    assert advantage_of_windows(leaking).low > 0.3
    windows = advantage_of_windows(tight)
    assert windows.low < 0.05
    assert (windows.units, windows.jobs) == (240, 80)


def test_windows_say_where_they_begin() -> None:
    inputs, owner = windows_of(Jobs.of(jobs(5)))
    assert owner.tolist() == np.repeat(np.arange(10), 3).tolist()
    assert inputs[:3, -1].tolist() == [0, 32, 64]


def test_what_was_never_seen_is_no_obstacle() -> None:
    records = jobs(8)
    for one in records:
        one.series["report"][:] = np.nan
        one.series["up"][5:20] = np.nan
    assert 0 < dependence(Jobs.of(records)).p <= 1
    assert np.isnan(Jobs.of(records).gaps_JST[:, GAP_NAMES.index("down to report")]).all()


def test_a_pair_of_which_one_job_is_missing_is_left_out() -> None:
    assert Jobs.of(jobs(5)[:-1]).secret_J.size == 8


def test_the_smallest_effect_is_the_first_that_is_seen_for_certain() -> None:
    power = smallest_effects(jobs(30), 0.12, 0.05)
    seen = power.jobs_ms["half of the ticks"]
    assert seen is not None
    assert seen <= 1.0
    assert (power.jobs_ms["one tick in ten"] or 9.0) >= seen


# sizes and counts


def test_what_differs_between_jobs_is_named() -> None:
    records = jobs(3)
    assert differences(records) == []
    records[4].shape["frames"] = [1, 2]
    assert differences(records) == ["frames: [2] and [1, 2]"]


def test_what_all_jobs_do_must_be_what_the_schedule_says() -> None:
    schedule = make_schedule()
    last = schedule.total_ticks - 1
    shape: dict[str, Any] = {
        "first tick down": 0, "chunk requests beyond those of the ticks": 0, "chunks in whole passes": True,
        "reports beyond those of the ticks": 0, "commits": 1,
    }  # fmt: skip
    for way in ("up", "down"):
        shape |= {
            f"frame sizes {way}": [1024], f"frames of a tick {way}": [2], f"order of frames {way}": True,
            f"last tick {way}": last,
        }  # fmt: skip
    assert unscheduled(shape, schedule) == []
    assert unscheduled(shape | {"last tick up": 3}, schedule) == [f"last tick up: 3, not {last}"]


# drawing


def test_a_drawing_has_both_sides_on_one_scale() -> None:
    values = np.array([0.0, 1.0, 1.0, np.nan]), np.array([2.0])
    edges, first, second = shares_of(values)
    assert (first.sum(), second.sum()) == (pytest.approx(1), pytest.approx(1))
    assert (edges[0] < 0.1, edges[-1] > 1.9) == (True, True)
    assert len(draw_text("gaps", values)) == 3
    picture = ET.fromstring(draw_svg({"gaps & more": values}))  # noqa: S314 - our own
    assert len(picture.findall("{http://www.w3.org/2000/svg}polyline")) == 2
