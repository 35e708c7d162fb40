"""Were a job's ticks on time, as its host sees them? (side: host)

All that it looks at is when frames leave the parameter server, and the public schedule: nothing that the host would
not see without it. The frames of a tick leave in one piece, real and dummy ones alike, so every `frames_per_tick` of
them is a tick. Which one it is, and by how much it is late, follows from the clock that would make none of them early.
As at the enclave's own clock (common/exchange/clock) the newest tick that is due is the one that came, and those
between are missed.
"""

from typing import Final, Literal

from common.messages.order import Schedule

LATE_SHARE: Final = 0.5
"""Of a tick. On a machine that keeps up, frames leave some milliseconds behind their tick (docs/traffic.md)."""

_EARLY_SHARE: Final = 0.1
"""Frames that come a little before the moment that is thought to be theirs move that, and are not the tick before."""

Moment = Literal["on_time", "late", "missed"]


class TickWatch:
    """Of one job in one launch. `frame` is called for each frame that leaves, from one thread."""

    def __init__(self, schedule: Schedule) -> None:
        self._seconds, self._frames_per_tick = schedule.tick_seconds, schedule.frames_per_tick
        self._frames, self._tick, self._origin = 0, -1, 0.0

    def frame(self, at: float) -> dict[Moment, int]:
        """One more frame, at a moment (monotonic seconds): what is known of ticks by it, mostly nothing."""
        self._frames += 1
        if self._frames % self._frames_per_tick != 1 % self._frames_per_tick:
            return {}
        if self._tick < 0:
            self._tick, self._origin = 0, at
            return {"on_time": 1}
        passed = (at - self._origin) / self._seconds
        tick = max(self._tick + 1, int(passed + _EARLY_SHARE))
        missed, self._tick = tick - self._tick - 1, tick
        self._origin = min(self._origin, at - tick * self._seconds)
        moment: Moment = "late" if passed - tick > LATE_SHARE else "on_time"
        return {moment: 1} | ({"missed": missed} if missed else {})
