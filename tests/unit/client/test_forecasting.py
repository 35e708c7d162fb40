"""A forecast follows from the schedule alone, and accounts for all of its time and frames."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from client import events as e
from client.forecasting import forecast, forecast_event
from client.rendering import Terminal
from client.scheduling import ScheduleWishes, host_view, plan_schedule
from common.messages.order import SandboxName


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


def test_work_is_what_the_wishes_asked_for() -> None:
    wishes = ScheduleWishes(rounds=7, steps=40, step_milliseconds=25, tick_milliseconds=100)
    assert forecast(plan_schedule(wishes, 40_000), 2).work_seconds == pytest.approx(7 * 40 * 0.025)


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
    assert waits.total_ticks == ahead.total_ticks
    assert forecast(ahead, 2).work_seconds == forecast(waits, 2).work_seconds
    assert forecast(waits, 2).exchange_seconds == pytest.approx(waits.rounds * forecast(ahead, 2).exchange_seconds)
    assert forecast(ahead, 2).seconds == pytest.approx(ahead.total_ticks * ahead.tick_seconds)


def test_a_schedule_of_ones_own_is_forecast_too() -> None:
    schedule = plan_schedule(ScheduleWishes(), 1000).model_copy(update={"ticks_per_round": 1})
    assert forecast(schedule, 2).work_seconds == 0


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
