"""A schedule follows from wishes and the public state class alone, and the host's view follows from the schedule."""

from dataclasses import replace

import pytest

from client.scheduling import (
    LARGEST_FRAME,
    LATENCY_TICKS,
    MOST_READS,
    SMALLEST_FRAME,
    ScheduleWishes,
    host_view,
    plan_schedule,
)
from common.data_shares import WINDOW_UNITS, share_of
from common.dataset_units import UNIT_CHUNKS
from common.exchange.frames import FrameKind
from common.exchange.schedule import round_deadline_seconds, ticks_to_send
from common.leakage import attempt_bits
from common.sealed_object import CHUNK_BYTES


@pytest.mark.parametrize("state_class", [1, 1000, 40_000, 5_000_000])
@pytest.mark.parametrize("ahead", [False, True])
def test_a_round_has_time_for_its_work_and_both_transfers(state_class: int, ahead: bool) -> None:
    wishes = ScheduleWishes(rounds=3, steps=50, step_milliseconds=20, slack_percent=100, rounds_ahead=ahead)
    schedule = plan_schedule(wishes, state_class)
    work = 50 * 20 / schedule.tick_milliseconds
    transfer = ticks_to_send(FrameKind.STATE, schedule) + ticks_to_send(FrameKind.DELTA, schedule)
    assert schedule.ticks_per_round > (max(work, transfer) if ahead else work + transfer)
    assert round_deadline_seconds(schedule) > 1.0
    assert schedule.total_ticks == schedule.warmup_ticks + 3 * schedule.ticks_per_round
    assert SMALLEST_FRAME <= schedule.frame_bytes <= LARGEST_FRAME


def test_design_code_gets_time_to_start_and_for_its_design() -> None:
    native, design = (plan_schedule(ScheduleWishes(), 1000, chunks) for chunks in (0, 25))
    more = (design.warmup_ticks - native.warmup_ticks) * design.tick_seconds
    assert more >= 25 + ticks_to_send(FrameKind.DESIGN, design) * design.tick_seconds
    assert ticks_to_send(FrameKind.DESIGN, design) < 10
    assert design.ticks_per_round > native.ticks_per_round


@pytest.mark.parametrize("state_class", [1000, 40_000, 100_000, 272_474, 5_000_000])
def test_who_goes_ahead_sends_no_more_and_does_not_wait_for_an_exchange(state_class: int) -> None:
    ahead, lockstep = (plan_schedule(ScheduleWishes(steps=300, rounds_ahead=one), state_class) for one in (True, False))
    sent = ticks_to_send(FrameKind.STATE, ahead) + ticks_to_send(FrameKind.DELTA, ahead)
    work = 300 * 10 / ahead.tick_milliseconds
    assert sent + LATENCY_TICKS <= (0.7 if state_class < 300_000 else 1.0) * work
    rates = [one.frame_bytes * one.frames_per_tick for one in (ahead, lockstep)]
    assert rates == sorted(rates)


def test_large_states_do_not_take_forever_to_send() -> None:
    schedule = plan_schedule(ScheduleWishes(), 25_000_000)
    assert ticks_to_send(FrameKind.STATE, schedule) <= 10


@pytest.mark.parametrize("state_class", [1, 40_000, 5_000_000])
def test_the_end_of_an_attempt_tells_little_by_default(state_class: int) -> None:
    schedule = plan_schedule(ScheduleWishes(), state_class)
    view = host_view(schedule, trainers=2)
    assert 2 ** (view.schedule_bits - 1) <= schedule.total_ticks < 2**view.schedule_bits
    assert view.schedule_bits <= 10
    assert view.attempt_bits == attempt_bits(schedule)


MIB = 1
GIB = 1024


@pytest.mark.parametrize("chunks", [1, 10 * MIB, 200 * MIB, 5 * GIB, 500 * GIB])
@pytest.mark.parametrize("trainers", [1, 2, 16])
@pytest.mark.parametrize("wishes", [ScheduleWishes(), ScheduleWishes(rounds=2000, steps=100), ScheduleWishes(rounds=1)])
def test_reads_keep_pace_with_training(chunks: int, trainers: int, wishes: ScheduleWishes) -> None:
    share = share_of([chunks], 0, trainers)
    schedule = plan_schedule(wishes, 40_000, share=share)
    a_second = schedule.reads_per_tick * 1000 / schedule.tick_milliseconds
    assert schedule.reads_per_tick >= 1
    assert a_second <= max(MOST_READS, 1000 / schedule.tick_milliseconds)
    before = schedule.reads_per_tick * (schedule.warmup_ticks - schedule.warmup_ticks // 4)
    if share.kept:
        assert before >= min(share.chunks, 0.7 * MOST_READS * schedule.warmup_ticks * schedule.tick_seconds * 0.75)
        return
    assert before >= WINDOW_UNITS * UNIT_CHUNKS, "the first window is there when the first round is due"
    a_round = schedule.reads_per_tick * schedule.ticks_per_round
    rows = schedule.steps_per_round * schedule.batch_rows * share.step * 4096 / CHUNK_BYTES
    assert a_round >= rows or a_second > 0.9 * MOST_READS
    assert a_round * schedule.rounds >= share.chunks or a_second > 0.9 * MOST_READS


def test_small_data_are_read_a_chunk_a_tick_and_who_knows_better_says_so() -> None:
    small, large = share_of([10], 0, 2), share_of([5 * GIB], 0, 2)
    assert plan_schedule(ScheduleWishes(), 1000, share=small).reads_per_tick == 1
    assert plan_schedule(ScheduleWishes(reads_per_tick=9), 1000, share=small).reads_per_tick == 9
    slow = plan_schedule(ScheduleWishes(rounds=5000, steps=2000, tick_milliseconds=100), 1000, share=large)
    fast = plan_schedule(ScheduleWishes(rounds=20, tick_milliseconds=100), 1000, share=large)
    assert slow.reads_per_tick < fast.reads_per_tick <= 6
    slow_ticks = plan_schedule(ScheduleWishes(rounds=1, tick_milliseconds=60_000), 1000, share=large)
    assert slow_ticks.reads_per_tick <= 1024


def test_the_hosts_view_counts_every_members_frames() -> None:
    schedule = plan_schedule(ScheduleWishes(rounds=2), 1000)
    view = host_view(schedule, trainers=2)
    assert view.frames == 3 * schedule.total_ticks * schedule.frames_per_tick
    assert view.traffic_bytes == view.frames * schedule.frame_bytes
    assert view.seconds == pytest.approx(schedule.total_ticks * schedule.tick_milliseconds / 1000)


@pytest.mark.parametrize(("step_milliseconds", "tick"), [(10, 100), (400, 300), (10_000, 1000)])
def test_a_tick_is_a_fraction_of_a_round_where_nobody_waits_for_the_exchange(step_milliseconds: int, tick: int) -> None:
    wishes = ScheduleWishes(steps=12, step_milliseconds=step_milliseconds)
    ahead = plan_schedule(wishes, 300_000)
    assert (ahead.tick_milliseconds, ahead.rounds_ahead) == (tick, 1)
    exchange = ticks_to_send(FrameKind.STATE, ahead) + ticks_to_send(FrameKind.DELTA, ahead) + LATENCY_TICKS
    assert tick == 100 or exchange * tick <= 12 * step_milliseconds
    for waiting in (plan_schedule(replace(wishes, rounds_ahead=False), 300_000), plan_schedule(wishes, 300_000, 25)):
        assert (waiting.tick_milliseconds, waiting.rounds_ahead) == (100, 0)
    assert plan_schedule(replace(wishes, tick_milliseconds=50), 300_000).tick_milliseconds == 50


def test_a_longer_tick_is_charged_fewer_bits() -> None:
    long_rounds = ScheduleWishes(steps=12, step_milliseconds=400)
    short_ticks = replace(long_rounds, tick_milliseconds=100)
    assert attempt_bits(plan_schedule(long_rounds, 1000)) < 0.5 * attempt_bits(plan_schedule(short_ticks, 1000))
