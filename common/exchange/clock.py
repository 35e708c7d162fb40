"""Which tick is due: each is taken at most once, missed ones are skipped (side: library).

Tick n is due at `origin + n x tick_seconds` of a monotonic clock. A loop that wakes late takes the newest due tick and
leaves out the ones before it: a late tick is sent once, never in a burst, and the schedule ends when it was to end.
What leaves after it, leaves at a `Release`.

The frames of a tick are ready before it (common/exchange/ahead), so that sending is all that is left for the tick. What
else leaves on it gets `settling_seconds`, before the clock's thread looks at what came in: how long that takes hangs on
what a job has learned.
"""

import contextlib
import gc
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from common.messages.order import Schedule

_ROUNDING_TICKS: Final = 1e-6
"""A wait that ends exactly when a tick is due must not seem too early by the rounding of floats."""

RELEASE_SECONDS: Final = 0.5
"""Far above what adding deltas, checking a graph and ending a sandbox take, and little beside a job."""

SWITCH_SECONDS: Final = 0.00002
"""How long another thread's Python code may keep the interpreter from a tick; 5 ms by default. What such code does
hangs on what a job has learned."""

SETTLING_SECONDS: Final = 0.002
SETTLING_SHARE: Final = 0.2
"""Of a tick, if that is less: a question to the broker and requests for chunks are on their way by then."""

LEAD_SECONDS: Final = 0.001
LEAD_SHARE: Final = 0.1
"""Of a tick, if that is less."""

SCATTER_SECONDS: Final = 0.004
SCATTER_SHARE: Final = 0.2
"""Of a tick, if that is less. A core that was busy until a moment ago wakes some 10 microseconds later than one that
was not, and sends as much later, whatever its software does. Among offsets that differ by hundreds of microseconds it
takes thousands of ticks to see that (docs/traffic.md)."""

_DRAW: Final = random.SystemRandom()

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


def spare_imports() -> None:
    """Before anything is served: take what the imports made out of what is collected, for it is no garbage.

    Going through it takes tens of milliseconds, in which no thread keeps time, at moments that objects of a job decide.
    """
    gc.collect()
    gc.freeze()


def settling_seconds(schedule: Schedule) -> float:
    """From what a tick sends to work on what came in."""
    return min(SETTLING_SECONDS, SETTLING_SHARE * schedule.tick_seconds)


def scatter_seconds(schedule: Schedule) -> float:
    """How far behind a tick its frames may leave."""
    return min(SCATTER_SECONDS, SCATTER_SHARE * schedule.tick_seconds)


@contextlib.contextmanager
def first() -> Iterator[None]:
    """Run this thread before all that shares time, if the machine lets it (CAP_SYS_NICE, RLIMIT_RTPRIO; sched(7)).

    Provider code computes on the same cores; a thread that waits its turn tells how much. Threads and processes that
    this one starts are ordinary ones.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except OSError:
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@dataclass
class TickClock:
    """A job's clock at one member. `origin` is the monotonic time of tick 0.

    A tick is taken `lead_seconds` before it is due, so that what leaves on it is put together by then.
    """

    schedule: Schedule
    origin: float
    next_tick: int = 0
    lead_seconds: float = 0.0

    @classmethod
    def at_tick(cls, schedule: Schedule, tick: int, now: float) -> "TickClock":
        """The clock of a member that learns at `now` that tick `tick` is running; its own first tick is the next."""
        lead = min(LEAD_SECONDS, LEAD_SHARE * schedule.tick_seconds)
        return cls(schedule, now - tick * schedule.tick_seconds, tick + 1, lead)

    def due(self, tick: int) -> float:
        """When it is."""
        return self.origin + tick * self.schedule.tick_seconds

    def leaving(self, tick: int) -> float:
        """When its frames leave: drawn anew by each call, by a density without edges, at which little would show."""
        return self.due(tick) + _DRAW.triangular(0.0, scatter_seconds(self.schedule))

    @property
    def over(self) -> bool:
        """Whether every tick was taken or skipped."""
        return self.next_tick >= self.schedule.total_ticks

    @property
    def end(self) -> float:
        """When the tick after the last one would be due."""
        return self.origin + self.schedule.total_ticks * self.schedule.tick_seconds

    def seconds_left(self, now: float) -> float:
        """Until the next tick can be taken; 0 if it can."""
        return max(0.0, self.due(self.next_tick) - self.lead_seconds - now)

    def take(self, now: float) -> int | None:
        """The newest tick that can be taken and was not, or None."""
        ticks = (now + self.lead_seconds - self.origin) / self.schedule.tick_seconds + _ROUNDING_TICKS
        due = min(int(ticks), self.schedule.total_ticks - 1)
        if due < self.next_tick:
            return None
        self.next_tick = due + 1
        return due


def run_clock(clock: TickClock, now: Now, wait: Waiting, on_tick: Callable[[int], bool]) -> bool:
    """Call `on_tick` for every tick that is taken until the schedule is over; whether it got there.

    Ends early, with False, when `on_tick` returns False or the wait is ended.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    with first():
        while not clock.over:
            if wait(clock.seconds_left(now())):
                return False
            tick = clock.take(now())
            if tick is not None and not on_tick(tick):
                return False
    return True
