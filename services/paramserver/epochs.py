"""Passes over a job's data, by what its members say of their rows (side: enclave).

An epoch is over when all slots together have trained on as many rows as there are. The owner alone reads it: how many
rows there are follows from it. Of a job of several owners none is told, or each would learn how many the others have.
"""

import statistics
from collections.abc import Mapping

from common.messages.order import Schedule


class Epochs:
    """Counts them. `done`: those that are over; `loss`: the mean of the rounds that ended in the last of them.

    `rounds_delivered` of each slot is all that must outlive a launch: after another one `loss` is of its own rounds.
    """

    def __init__(self, schedule: Schedule, *, owners: int) -> None:
        self._rows_of_round, self._told = schedule.steps_per_round * schedule.batch_rows, owners <= 1
        self._rows: dict[int, int] = {}
        self._losses: list[float] = []
        self.done = 0
        self.loss: float | None = None

    def add(self, loss: float | None, rows: Mapping[int, int], rounds_delivered: Mapping[int, int]) -> None:
        """A round was closed; `rows`: how many each of its contributors has."""
        self._rows |= rows
        if loss is not None:
            self._losses.append(loss)
        done = self._rows_of_round * sum(rounds_delivered.values()) // sum(self._rows.values())
        if self._told and done > self.done:
            self.done, self.loss = done, statistics.fmean(self._losses) if self._losses else None
            self._losses.clear()
