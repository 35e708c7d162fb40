"""A forecast follows from the schedule alone, and accounts for all of its time and frames."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from client import events as e
from client.forecasting import forecast, forecast_event
from client.rendering import Terminal
from client.scheduling import ScheduleWishes, host_view, plan_schedule
from common.data_shares import share_of
from common.messages.order import SandboxName
from common.sealed_object import CHUNK_BYTES


@pytest.mark.parametrize("state_class", [1, 40_000, 5_000_000])
@pytest.mark.parametrize("sandbox", ["native", "wasm"])
def test_seconds_and_frames_add_up(state_class: int, sandbox: SandboxName) -> None:
    schedule = plan_schedule(ScheduleWishes(), state_class, 3 if sandbox == "wasm" else 0)
    known, view = forecast(schedule, 3, sandbox), host_view(schedule, 3)
    assert known.seconds == pytest.approx(view.seconds)
    assert (known.frames, known.traffic_bytes) == (view.frames, view.traffic_bytes)
    assert 0 < known.needed_frames < known.frames
    parts = (known.start_seconds, known.work_seconds, known.exchange_seconds, known.slack_seconds)
    assert min(parts) > 0


def test_int8_costs_its_time_on_top() -> None:
    plain, int8 = (plan_schedule(ScheduleWishes(quantising_seconds=one), 40_000) for one in (0, 20))
    known, without = forecast(int8, 2), forecast(plain, 2)
    assert known.quantising_seconds > 20.0
    assert known.seconds == pytest.approx(without.seconds + known.quantising_seconds)
    assert known.seconds == pytest.approx(host_view(int8, 2).seconds)
    costs = {one.protection: one.seconds for one in forecast_event(int8, 2).costs}
    assert costs["int8"] == known.quantising_seconds
    assert "int8" not in {one.protection for one in forecast_event(plain, 2).costs}


def test_work_is_what_the_wishes_asked_for() -> None:
    wishes = ScheduleWishes(rounds=7, steps=40, step_milliseconds=25, tick_milliseconds=100)
    assert forecast(plan_schedule(wishes, 40_000), 2).work_seconds == pytest.approx(7 * 40 * 0.025)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_job_of_one_round_without_slack_adds_up_too(ahead: bool) -> None:
    schedule = plan_schedule(ScheduleWishes(rounds=1, slack_percent=100, rounds_ahead=ahead), 40_000)
    known = forecast(schedule, 2)
    assert known.seconds == pytest.approx(host_view(schedule, 2).seconds)
    assert known.slack_seconds == 0


def test_more_slack_costs_its_time_and_nothing_else() -> None:
    wishes = ScheduleWishes(rounds_ahead=False)
    tight, loose = (forecast(plan_schedule(replace(wishes, slack_percent=slack), 1000), 2) for slack in (100, 300))
    assert tight.slack_seconds == 0
    assert loose.slack_seconds > 0
    assert loose.needed_frames == tight.needed_frames
    assert (loose.work_seconds, loose.exchange_seconds) == (tight.work_seconds, tight.exchange_seconds)


def test_who_goes_ahead_waits_for_one_exchange_alone() -> None:
    waits, ahead = (
        plan_schedule(ScheduleWishes(rounds_ahead=one, tick_milliseconds=100), 1000) for one in (False, True)
    )
    exchange = forecast(ahead, 2).exchange_seconds
    assert forecast(ahead, 2).work_seconds == pytest.approx(waits.rounds * exchange), "which takes longer than the work"
    assert forecast(waits, 2).exchange_seconds == pytest.approx(waits.rounds * forecast(ahead, 2).exchange_seconds)
    assert forecast(ahead, 2).seconds == pytest.approx(ahead.total_ticks * ahead.tick_seconds)


def test_long_rounds_hide_the_exchange() -> None:
    wishes = ScheduleWishes(rounds=5, steps=100, step_milliseconds=32)
    waits, ahead = (plan_schedule(replace(wishes, rounds_ahead=one), 300_000) for one in (False, True))
    assert forecast(ahead, 2).work_seconds == forecast(waits, 2).work_seconds == 5 * 3.2
    assert ahead.total_ticks * ahead.tick_seconds < waits.total_ticks * waits.tick_seconds


def test_a_schedule_of_ones_own_is_forecast_too() -> None:
    schedule = plan_schedule(ScheduleWishes(), 1000).model_copy(update={"ticks_per_round": 1})
    assert forecast(schedule, 2).work_seconds == 0


def test_a_share_that_is_kept_is_read_once() -> None:
    schedule = plan_schedule(ScheduleWishes(), 1000)
    kept, large = (forecast(schedule, 2, share=share_of([chunks], 0, 2)).read_bytes for chunks in (10, 100_000))
    assert kept == 2 * 10 * CHUNK_BYTES
    assert large == 2 * schedule.total_ticks * CHUNK_BYTES == forecast(schedule, 2).read_bytes


def test_a_person_reads_what_each_protection_costs() -> None:
    event = forecast_event(plan_schedule(ScheduleWishes(), 40_000), 2)
    sink = io.StringIO()
    terminal = Terminal(Console(file=sink, width=200, highlight=False))
    terminal.show(event)
    terminal.close()
    text = sink.getvalue()
    assert all(cost.protection in text for cost in event.costs)
    assert f"{event.traffic_bytes:,} of frames" in text
    assert e.JobForecast.decode(event.encode()) == event
