"""Which tick is due: each is taken at most once, missed ones are skipped (side: library).

Tick n is due at `origin + n x tick_seconds` of a monotonic clock. A loop that wakes late takes the newest due tick and
leaves out the ones before it: a late tick is sent once, never in a burst, and the schedule ends when it was to end.
What leaves after it, leaves at a `Release`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from common.messages.order import Schedule

_ROUNDING_TICKS: Final = 1e-6
"""A wait that ends exactly when a tick is due must not seem too early by the rounding of floats."""

RELEASE_SECONDS: Final = 0.5
"""Far above what adding deltas, checking a graph and ending a sandbox take, and little beside a job."""

Now = Callable[[], float]
"""Monotonic seconds."""


class Waiting(Protocol):
    """Something to wait on that can be ended early: `threading.Event.wait`."""

    def __call__(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds; whether the wait was ended."""
        ...


@dataclass(frozen=True)
class Release:
    """Waits for the next multiple of `RELEASE_SECONDS` after `since`: how long the work before took does not show.

    Not closed: work that takes that much longer shows in which multiple it is.
    """

    since: float
    now: Now
    wait: Waiting

    def __call__(self) -> None:
        """Wait, or return when the wait is ended."""
        passed = self.now() - self.since
        self.wait((int(passed / RELEASE_SECONDS) + 1) * RELEASE_SECONDS - passed)


@dataclass
class TickClock:
    """A job's clock at one member. `origin` is the monotonic time of tick 0."""

    schedule: Schedule
    origin: float
    next_tick: int = 0

    @classmethod
    def at_tick(cls, schedule: Schedule, tick: int, now: float) -> "TickClock":
        """The clock of a member that learns at `now` that tick `tick` is running; its own first tick is the next."""
        return cls(schedule, now - tick * schedule.tick_seconds, tick + 1)

    @property
    def over(self) -> bool:
        """Whether every tick was taken or skipped."""
        return self.next_tick >= self.schedule.total_ticks

    @property
    def end(self) -> float:
        """When the tick after the last one would be due."""
        return self.origin + self.schedule.total_ticks * self.schedule.tick_seconds

    def seconds_left(self, now: float) -> float:
        """Until the next tick is due; 0 if it is."""
        return max(0.0, self.origin + self.next_tick * self.schedule.tick_seconds - now)

    def take(self, now: float) -> int | None:
        """The newest due tick that was not taken, or None."""
        ticks = (now - self.origin) / self.schedule.tick_seconds + _ROUNDING_TICKS
        due = min(int(ticks), self.schedule.total_ticks - 1)
        if due < self.next_tick:
            return None
        self.next_tick = due + 1
        return due


def run_clock(clock: TickClock, now: Now, wait: Waiting, on_tick: Callable[[int], bool]) -> bool:
    """Call `on_tick` for every tick that is taken until the schedule is over; whether it got there.

    Ends early, with False, when `on_tick` returns False or the wait is ended.
    """
    while not clock.over:
        if wait(clock.seconds_left(now())):
            return False
        tick = clock.take(now())
        if tick is not None and not on_tick(tick):
            return False
    return True
