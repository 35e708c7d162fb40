"""The rows of each round of a share that is larger than what is kept (side: enclave).

B rows of a round, W units of a window, R rows of a full unit, n rows of a unit that this slot trains on.

A unit's rows come in an order of its own, and each round whose window it is in takes the next B x n / (W x R) of them,
round and round. So where reading goes as fast as training, each row of a pass is trained on once. What short units
leave of B is drawn from all rows of the window. Then the rows of a round are shuffled. All of it is a function of seed,
slot, round and data, as long as the units of the window are there; else of those that are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from common.crypto.keys import SecretKey
from common.crypto.labels import SEED_SHUFFLE
from common.data_shares import WINDOW_UNITS
from common.errors import FormatError, UnavailableError
from common.sandbox.protocol import Rows
from services.trainer_enclave.dataset import Columns, RowIndices, RowMask, Split, gather_rows, held_out
from services.trainer_enclave.keeping import OpenUnit
from services.trainer_enclave.reading import ChunkReads
from services.trainer_enclave.tables import Tables

UNIT_BITS: Final = 32
"""Of a unit's number in the key of its held out rows; its part stands above."""


@dataclass(frozen=True)
class _UnitRows:
    """A unit in the window: its table, its rows in their order, and the first round that takes of them."""

    table: Columns
    order: RowIndices
    first_round: int
    rows_per_round: float
    phase: float

    def of_round(self, number: int) -> RowIndices:
        """Those that a round takes."""
        at = max(0, number - self.first_round)
        begin, end = (int(self.rows_per_round * one + self.phase) for one in (at, at + 1))
        return self.order[np.arange(begin, end) % self.order.size]


class WindowRows:
    """The rows of each round of one slot. Use it from one thread. `rows_per_round` is steps x batch.

    `held_out_percent` of each unit's rows are trained on by nobody.
    """

    def __init__(
        self,
        reads: ChunkReads,
        tables: Tables,
        seed: SecretKey,
        slot: int,
        rows_per_round: int,
        held_out_percent: int = 0,
    ) -> None:
        self._reads, self._tables, self._seed = reads, tables, seed
        self._slot, self._rows_per_round, self._held_out_percent = slot, rows_per_round, held_out_percent
        self._units: dict[int, _UnitRows | None] = {}

    @property
    def weight(self) -> int:
        """Rows of this slot's share, as if every unit were full. Raises as `Tables` does."""
        share = self._reads.share
        return max(1, sum(self._tables.unit_rows(unit.part) for unit in share.units) // share.step)

    def of_round(self, number: int) -> Rows:
        """Copies of the rows that round `number` trains on, in training order.

        Raises as `Tables` does, and `UnavailableError` where nothing was read.
        """
        if self._reads.newest is None:
            raise UnavailableError("unavailable.store", expected="a window of chunks")
        opened = self._reads.newest.of_round(number)
        self._units = {one.place: self._units.get(one.place) or self._begin(one) for one in opened}
        units = [unit for unit in self._units.values() if unit is not None]
        if not units:
            raise FormatError("format.dataset", expected="rows in a window")
        generator = self._generator(number, b"round")
        which, rows = _drawn(units, number, self._rows_per_round, generator)
        return gather_rows([unit.table for unit in units], which, rows)

    def _begin(self, opened: OpenUnit) -> _UnitRows | None:
        table, step = self._tables.of_unit(opened), self._reads.share.step
        if not table:
            return None
        own = np.flatnonzero(self._trained(opened, table))
        if not own.size:
            return None
        share = own.size * step / (WINDOW_UNITS * self._tables.unit_rows(opened.unit.part))
        order = self._generator(opened.place, b"unit").permutation(own)
        phase = opened.place % WINDOW_UNITS / WINDOW_UNITS
        first = self._reads.windows.first_round(opened.place)
        return _UnitRows(table, order, first, self._rows_per_round * share, phase)

    def split(self, sizes: tuple[int, int]) -> Split:
        """Rows for int8 of what is in memory, at most so many that calibrate and that it is judged by.

        Raises as `of_round` does.
        """
        if self._reads.newest is None:
            raise UnavailableError("unavailable.store", expected="a window of chunks")
        once = {one.unit: one for one in self._reads.newest.kept()}.values()  # two passes may have brought it
        units = [(one, table) for one in once if (table := self._tables.of_unit(one))]
        if not units:
            raise FormatError("format.dataset", expected="rows in a window")
        trained, held = (np.concatenate([mask(*unit) for unit in units]) for mask in (self._trained, self._held))
        return Split.drawn([table for _, table in units], trained, held, self._seed, sizes)

    def _held(self, opened: OpenUnit, table: Columns) -> RowMask:
        key = opened.unit.part << UNIT_BITS | opened.unit.number
        return held_out(self._seed, key, len(next(iter(table.values()))), self._held_out_percent)

    def _trained(self, opened: OpenUnit, table: Columns) -> RowMask:
        own = ~self._held(opened, table)
        step = self._reads.share.step
        own[np.arange(own.size) % step != self._slot % step] = False
        return own

    def _generator(self, number: int, use: bytes) -> np.random.Generator:
        context = (self._slot.to_bytes(8, "big"), number.to_bytes(8, "big"), use)
        return np.random.default_rng(self._seed.derive_number(SEED_SHUFFLE, *context))


def _drawn(
    units: Sequence[_UnitRows], number: int, count: int, generator: np.random.Generator
) -> tuple[RowIndices, RowIndices]:
    """`count` rows of a round, shuffled: which unit each is of, and its number there."""
    taken = [unit.of_round(number) for unit in units]
    which = np.repeat(np.arange(len(units)), [one.size for one in taken])
    rows = np.concatenate(taken)
    order = generator.permutation(rows.size)[:count]
    which, rows, missing = which[order], rows[order], count - order.size
    if missing:
        ends = np.cumsum([unit.order.size for unit in units])
        more = generator.integers(ends[-1], size=missing)
        more_of = np.searchsorted(ends, more, side="right")
        begins = np.concatenate(([0], ends))[more_of]
        more_rows = [units[of].order[at] for of, at in zip(more_of, more - begins, strict=True)]
        which, rows = np.concatenate((which, more_of)), np.concatenate((rows, np.array(more_rows, np.int64)))
        order = generator.permutation(count)
        which, rows = which[order], rows[order]
    return which, rows
