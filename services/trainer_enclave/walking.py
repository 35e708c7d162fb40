"""The endless walk over a slot's share, and which of what it read a round trains on (side: enclave).

Public numbers and the job's seed determine all of it: nothing here knows what was read, or how far training is.

A *position* counts chunks of the walk, from 0; a *place* counts units. Pass after pass, units come in a fresh order,
the chunks of each one after another. Where a share is larger than what is kept, the walk goes by the job's clock: tick
t reads positions t x reads_per_tick and those after it, so that a launch that joins late reads what the others do.
Round r is due at tick warm-up + r x ticks per round. Its window is `WINDOW_UNITS` places, up to `LEAD_UNITS` before
what is read when it is due; no window begins before what is read from a quarter of the warm-up on, so that whoever
joins by then finds all of the first.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.crypto.keys import SecretKey
from common.crypto.labels import SEED_READS
from common.data_shares import LEAD_UNITS, WINDOW_UNITS, Share, Unit
from common.messages.order import Schedule

JOINED_SHARE: Final = 4
"""Launches that join in the first quarter of the warm-up are there from the start."""


class Walk:
    """The walk of one slot."""

    def __init__(self, share: Share, seed: SecretKey, slot: int) -> None:
        self._units, self._pass_chunks = share.units, share.chunks
        self._chunks = np.array([unit.chunks for unit in share.units], dtype=np.int64)
        self._seed, self._slot = seed, slot.to_bytes(8, "big")
        self._newest = (0, *self._shuffled(0))

    def at(self, position: int) -> tuple[int, Unit, int]:
        """What is read at this position: place, unit, and chunk of the unit."""
        number, chunk = divmod(position, self._pass_chunks)
        order, ends = self._pass(number)
        index = int(np.searchsorted(ends, chunk, side="right"))
        unit = self._units[order[index]]
        return number * len(self._units) + index, unit, chunk - (int(ends[index]) - unit.chunks)

    def units_within(self, positions: int) -> int:
        """Units that are read when so many chunks are, from the walk's beginning."""
        number, chunk = divmod(positions, self._pass_chunks)
        return number * len(self._units) + int(np.searchsorted(self._pass(number)[1], chunk, side="right"))

    def pass_of(self, place: int) -> int:
        """The pass of a place."""
        return place // len(self._units)

    def _pass(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        newest = self._newest  # two threads may ask
        if newest[0] != number:
            newest = self._newest = (number, *self._shuffled(number))
        return newest[1], newest[2]

    def _shuffled(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Units of a pass in their order, and where each of them ends."""
        generator = np.random.default_rng(self._seed.derive_number(SEED_READS, self._slot, number.to_bytes(8, "big")))
        order = generator.permutation(len(self._units))
        return order, np.cumsum(self._chunks[order])


class Windows:
    """Which places each round trains on, where the walk goes by the clock."""

    def __init__(self, schedule: Schedule, walk: Walk) -> None:
        self._schedule, self._walk = schedule, walk
        self._first_end = self._read_by(schedule.warmup_ticks // JOINED_SHARE) + WINDOW_UNITS

    def of_round(self, number: int) -> range:
        """The places of a round's window."""
        due = self._schedule.warmup_ticks + number * self._schedule.ticks_per_round
        end = max(self._first_end, self._read_by(due) - LEAD_UNITS)
        return range(end - WINDOW_UNITS, end)

    def first_round(self, place: int) -> int:
        """The first round whose window does not end before this place."""
        low, high = 0, self._schedule.rounds
        while low < high:
            middle = (low + high) // 2
            if self.of_round(middle).stop > place:
                high = middle
            else:
                low = middle + 1
        return low

    def _read_by(self, tick: int) -> int:
        return self._walk.units_within(tick * self._schedule.reads_per_tick)
