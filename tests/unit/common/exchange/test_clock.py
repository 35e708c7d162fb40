"""The clock: every tick at most once, never a burst, an end when it was to end."""

import os
import statistics
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.exchange.clock import (
    RELEASE_SECONDS,
    Release,
    TickClock,
    first,
    run_clock,
    scatter_seconds,
    settling_seconds,
)
from common.exchange.frames import FrameKind
from common.exchange.schedule import (
    part_count,
    patience_ticks,
    poll_ticks,
    question_ticks,
    round_deadline_ticks,
    rounds_per_answer,
    ticks_to_send,
)
from tests.fakes.in_memory_job import make_schedule

SCHEDULE = make_schedule()


class FakeTime:
    """Time that passes while one waits, plus some lateness."""

    def __init__(self, lateness: list[float]) -> None:
        self.at, self._lateness = 100.0, lateness

    def now(self) -> float:
        return self.at

    def wait(self, timeout: float) -> bool:
        self.at += timeout + (self._lateness.pop() if self._lateness else 0.0)
        return False


@given(st.lists(st.floats(0, 1.5), max_size=60))
def test_ticks_grow_and_the_end_is_kept(lateness: list[float]) -> None:
    time, taken = FakeTime(list(lateness)), list[tuple[int, float]]()
    clock = TickClock(SCHEDULE, time.at)

    def on_tick(tick: int) -> bool:
        taken.append((tick, time.at - clock.origin))
        return True

    assert run_clock(clock, time.now, time.wait, on_tick)
    ticks = [tick for tick, _ in taken]
    assert ticks == sorted(set(ticks))
    assert ticks[-1] == SCHEDULE.total_ticks - 1
    for tick, at in taken:
        assert at >= tick * SCHEDULE.tick_seconds - 1e-6
    if not lateness:
        assert ticks == list(range(SCHEDULE.total_ticks))


def test_a_late_wake_takes_the_newest_tick_once() -> None:
    clock = TickClock(SCHEDULE, 0.0)
    assert clock.take(0.0) == 0
    assert clock.take(0.05) is None
    assert clock.take(0.57) == 5
    assert clock.take(0.59) is None
    assert abs(clock.seconds_left(0.59) - 0.01) < 1e-9


def test_a_joiner_starts_with_the_next_tick() -> None:
    clock = TickClock.at_tick(SCHEDULE, 7, 50.0)
    assert clock.take(50.0) is None
    assert clock.take(50.11) == 8


def test_frames_leave_scattered_behind_their_tick() -> None:
    """Within the bound, and by far more than a busy core delays them."""
    clock, most = TickClock(SCHEDULE, 50.0), scatter_seconds(SCHEDULE)
    offsets = [clock.leaving(3) - clock.due(3) for _ in range(2000)]
    assert min(offsets) >= -1e-9
    assert max(offsets) <= most + 1e-9
    assert 0.9 < statistics.stdev(offsets) / (most / 24**0.5) < 1.1  # of a symmetric triangle
    assert scatter_seconds(SCHEDULE.model_copy(update={"tick_milliseconds": 10})) == 0.002


def test_it_ends_early_when_told() -> None:
    time = FakeTime([])
    assert not run_clock(TickClock(SCHEDULE, 0.0), time.now, time.wait, lambda tick: tick < 3)
    assert not run_clock(TickClock(SCHEDULE, 0.0), time.now, lambda _: True, lambda _: True)


def test_arithmetic_of_a_schedule() -> None:
    assert round_deadline_ticks(SCHEDULE) == 16
    assert SCHEDULE.total_ticks == 6 + 6 * 16
    assert part_count(FrameKind.STATE, SCHEDULE) == 2
    assert ticks_to_send(FrameKind.STATE, SCHEDULE) == 1
    assert part_count(FrameKind.NOTE, SCHEDULE) == 1
    assert poll_ticks(SCHEDULE) == 10
    assert question_ticks(SCHEDULE) == rounds_per_answer(SCHEDULE) == 1
    long_rounds = SCHEDULE.model_copy(update={"ticks_per_round": 40})
    endless = SCHEDULE.model_copy(update={"ticks_per_round": 4000})
    assert (question_ticks(long_rounds), rounds_per_answer(long_rounds)) == (5, 1)
    assert question_ticks(endless) == poll_ticks(endless) == 10
    fast = SCHEDULE.model_copy(update={"tick_milliseconds": 10, "ticks_per_round": 4})
    assert (question_ticks(fast), rounds_per_answer(fast)) == (10, 3)
    assert patience_ticks(SCHEDULE) == 20


@given(st.floats(0, 20))
def test_what_is_released_leaves_at_a_multiple_whatever_it_took(seconds: float) -> None:
    time = FakeTime([])
    release = Release(time.at, time.now, time.wait)
    time.at += seconds
    release()
    multiples = (time.at - 100.0) / RELEASE_SECONDS
    assert abs(multiples - round(multiples)) < 1e-6
    assert seconds <= time.at - 100.0 <= seconds + RELEASE_SECONDS + 1e-6


def test_what_is_released_on_time_waits_for_the_next_multiple() -> None:
    """Never nothing: an early one and one on time would differ."""
    time = FakeTime([])
    Release(time.at, time.now, time.wait)()
    assert time.at == 100.0 + RELEASE_SECONDS


def test_the_clock_runs_before_all_that_shares_time_where_it_may() -> None:
    """And ends as it began; what it starts is ordinary."""
    seen = list[int]()

    def policy() -> None:
        seen.append(os.sched_getscheduler(0))

    with first():
        policy()
        thread = threading.Thread(target=policy)
        thread.start()
        thread.join()
    policy()
    assert seen[1:] == [os.SCHED_OTHER, os.SCHED_OTHER]
    assert seen[0] & ~os.SCHED_RESET_ON_FORK == (os.SCHED_RR if may_come_first() else os.SCHED_OTHER)


def may_come_first() -> bool:
    """Asked of a process of its own."""
    code = "import os; os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))"
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_a_machine_that_grants_nothing_hinders_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "no")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    time = FakeTime([])
    assert run_clock(TickClock(SCHEDULE, time.at), time.now, time.wait, lambda _: True)


def test_what_a_tick_wakes_gets_a_fifth_of_it_at_most() -> None:
    assert settling_seconds(SCHEDULE) == 0.002
    assert settling_seconds(SCHEDULE.model_copy(update={"tick_milliseconds": 5})) == 0.001
