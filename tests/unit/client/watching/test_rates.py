"""Rates come of two reports; forecast and fact stand side by side, and what nobody told is no number."""

import pytest

from client.forecasting import forecast
from client.watching.rates import WINDOW, Rates
from common.messages.order import TrainingOrder
from common.messages.service import JobProgress
from common.messages.signed import sign
from tests.unit.client.watching.desk import report
from tests.vectors.sample_documents import KEY, ORDER

SIGNED = sign(ORDER, KEY)
SCHEDULE = ORDER.schedule


def progress(begun: float | None = 10.0, ended: float | None = 25.0) -> JobProgress:
    return JobProgress(
        job_id=report(SIGNED, 1).job_id, state="finished", trainers=2, trust_level="simulation",
        schedule=SCHEDULE, accepted_at=9.0, begun_at=begun, ended_at=ended, now=30.0,
    )  # fmt: skip


def test_rows_and_frames_are_counted_between_reports() -> None:
    rates = Rates(ORDER)
    assert rates.take(report(SIGNED, 1)) is None
    measured = rates.take(report(SIGNED, 2))
    assert measured is not None
    seconds = 5 * SCHEDULE.tick_seconds
    assert measured.rows_per_second == pytest.approx(SCHEDULE.steps_per_round * SCHEDULE.batch_rows * 2 / seconds)
    assert measured.frames_per_second == pytest.approx(10 / seconds)
    assert measured.real_share == pytest.approx(0.4)


def test_a_rate_is_taken_over_some_reports() -> None:
    """A round that ends between two of five reports is no peak."""
    rates, rounds = Rates(ORDER), (0, 0, 1, 1, 1, 1, 1, 1)
    measured = [rates.take(report(SIGNED, number, round=done)) for number, done in enumerate(rounds, start=1)]
    rows = [one.rows_per_second for one in measured if one is not None]
    assert rows[1] > rows[2] > rows[3] > 0
    assert rows[-1] == 0
    assert WINDOW == 5


@pytest.mark.parametrize("later", [{"real_frames": 0}, {"round": 0}, {"tick": 5}])
def test_a_later_launch_or_an_end_at_the_same_tick_gives_no_rate(later: dict[str, int]) -> None:
    rates = Rates(ORDER)
    rates.take(report(SIGNED, 1))
    assert rates.take(report(SIGNED, 2, **later)) is None


def test_forecast_and_fact_stand_side_by_side() -> None:
    rates = Rates(ORDER)
    for number in range(1, SCHEDULE.rounds + 1):
        rates.take(report(SIGNED, number, round=number))
    rates.take(report(SIGNED, SCHEDULE.rounds + 1, round=SCHEDULE.rounds, tick=SCHEDULE.total_ticks))
    figures = {one.what: one for one in rates.held(progress()).figures}
    known = forecast(SCHEDULE, ORDER.trainers)
    time = figures["time, from the first slot taken"]
    assert (time.forecast, time.fact) == (known.seconds, 15.0)
    assert (figures["rounds"].forecast, figures["rounds"].fact) == (SCHEDULE.rounds, SCHEDULE.rounds)
    assert figures["ticks of a round"].fact == 5.0
    assert figures["ticks left when all rounds were done"].fact == SCHEDULE.total_ticks - 5 * SCHEDULE.rounds
    assert figures["ticks"].fact == SCHEDULE.total_ticks
    assert figures["frames at the parameter server"].fact == 10 * (SCHEDULE.rounds + 1)


def test_what_nobody_told_is_no_number() -> None:
    held = Rates(ORDER).held(progress(begun=None, ended=None))
    assert {one.fact for one in held.figures} == {None}
    assert TrainingOrder.decode(SIGNED.payload) == ORDER
