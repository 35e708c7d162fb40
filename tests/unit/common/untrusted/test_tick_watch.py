"""Ticks as a host sees them: on time, late, missed, from the moments of frames alone."""

from collections import Counter
from collections.abc import Iterable

import pytest

from common.messages.order import Schedule
from common.untrusted.tick_watch import TickWatch


def watched(moments: Iterable[float], frames: int = 1) -> dict[str, int]:
    """Ticks of 100 ms whose frames leave at these moments, in ticks."""
    schedule = Schedule(
        rounds=10, steps_per_round=1, batch_rows=1, tick_milliseconds=100, ticks_per_round=1, frames_per_tick=frames,
        frame_bytes=1024, reads_per_tick=1, state_class=1,
    )  # fmt: skip
    watch, told = TickWatch(schedule), Counter[str]()
    for moment in moments:
        for number in range(frames):
            told.update(watch.frame(500 + 0.1 * moment + 1e-5 * number))
    return dict(told)


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_ticks_on_the_clock(frames: int) -> None:
    assert watched(range(50), frames) == {"on_time": 50}


def test_frames_scattered_behind_their_ticks_are_on_time() -> None:
    assert watched([n + 0.04 * (n % 5) for n in range(50)]) == {"on_time": 50}
    assert watched([n + 0.2 - 0.04 * (n % 5) for n in range(50)]) == {"on_time": 50}


def test_one_late_tick() -> None:
    assert watched([0, 1, 2, 3.7, 4, 5]) == {"on_time": 5, "late": 1}


def test_a_tick_that_skips_others() -> None:
    assert watched([0, 1, 4.2, 5, 6]) == {"on_time": 5, "missed": 2}
    assert watched([0, 1, 4.8, 5, 6]) == {"on_time": 4, "late": 1, "missed": 2}


def test_a_first_tick_that_was_late_is_found_out() -> None:
    assert watched([0.8, 1, 2, 3, 3.9, 5.8]) == {"on_time": 5, "late": 1}
