"""When a round is open and when it closes (side: enclave; ARCHITECTURE, decision 11).

Round r is open from the tick at which its state is known until every member that is waited for has delivered, or until
D ticks are over; and until as many have as the order demands. D counts from the end of the warm-up at the earliest,
and anew after a silence of all.
Behind the ordered rounds (0 to rounds - 1) others follow in the same way, so that members work on to the end of the
schedule; they count for nothing.
"""

from collections.abc import Collection

from common.exchange.schedule import round_deadline_ticks
from common.messages.order import Schedule


class RoundSchedule:
    """The rounds of one job, each closed with at least `minimal_trainers` deltas. `closed` counts all of them."""

    def __init__(self, schedule: Schedule, minimal_trainers: int = 1) -> None:
        self._schedule, self._minimal_trainers = schedule, minimal_trainers
        self._opened_tick: int | None = None
        self.closed = 0

    @property
    def rounds_done(self) -> int:
        """Ordered rounds that are closed."""
        return min(self.closed, self._schedule.rounds)

    @property
    def open_round(self) -> int | None:
        """The round that is open, or None: before the first state."""
        return None if self._opened_tick is None else self.closed

    @property
    def all_done(self) -> bool:
        """Whether every ordered round is closed."""
        return self.closed >= self._schedule.rounds

    def begin(self, tick: int) -> None:
        """The initial state is known: round 0 is open."""
        self._open_at(tick)

    def resume(self, rounds_done: int, tick: int) -> None:
        """So many rounds were closed by an earlier launch; the next one is open."""
        self.closed = rounds_done
        self._open_at(tick)

    def should_close(self, tick: int, waited_for: Collection[int], delivered: Collection[int], since: int = 0) -> bool:
        """Whether the open round closes at `tick`, given the slots of live members and of deliveries.

        `since`: D counts from there at the earliest, because nobody was heard before.
        """
        if self.open_round is None or self._opened_tick is None or len(delivered) < self._minimal_trainers:
            return False
        over = tick - max(self._opened_tick, since) >= round_deadline_ticks(self._schedule)
        return over or set(waited_for) <= set(delivered)

    def close(self, tick: int) -> None:
        """The open round is closed and the next one open."""
        self.closed += 1
        self._open_at(tick)

    def _open_at(self, tick: int) -> None:
        self._opened_tick = max(tick, self._schedule.warmup_ticks)
