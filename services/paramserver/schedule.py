"""When a round is open and when it closes (side: enclave; ARCHITECTURE, decision 11).

Round r (0 to rounds - 1) is open from the tick at which its state is known until every member that is waited for has
delivered, or until D ticks are over and at least one has. D counts from the end of the warm-up at the earliest.
"""

from collections.abc import Collection

from common.exchange.schedule import round_deadline_ticks
from common.messages.order import Schedule


class RoundSchedule:
    """The rounds of one job. `rounds_done` counts the closed ones."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._opened_tick: int | None = None
        self.rounds_done = 0

    @property
    def open_round(self) -> int | None:
        """The round that is open, or None: before the first state, and when all are done."""
        return self.rounds_done if self._opened_tick is not None and not self.all_done else None

    @property
    def all_done(self) -> bool:
        """Whether every ordered round is closed."""
        return self.rounds_done >= self._schedule.rounds

    def begin(self, tick: int) -> None:
        """The initial state is known: round 0 is open."""
        self._open_at(tick)

    def resume(self, rounds_done: int, tick: int) -> None:
        """So many rounds were closed by an earlier launch; the next one, if any, is open."""
        self.rounds_done = rounds_done
        self._open_at(tick)

    def should_close(self, tick: int, waited_for: Collection[int], delivered: Collection[int]) -> bool:
        """Whether the open round closes at `tick`, given the slots of live members and of deliveries."""
        if self.open_round is None or self._opened_tick is None or not delivered:
            return False
        return set(waited_for) <= set(delivered) or tick - self._opened_tick >= round_deadline_ticks(self._schedule)

    def close(self, tick: int) -> None:
        """The open round is closed and the next one, if any, open."""
        self.rounds_done += 1
        self._open_at(tick)

    def _open_at(self, tick: int) -> None:
        self._opened_tick = max(tick, self._schedule.warmup_ticks)
