"""A trainer's rows where all of its share is in memory: which of them a round trains on (side: enclave).

N rows of all the order's data sets, in the order of the order and of their parts, or of the units that were dealt to
this slot (common/data_shares).

The sharding rule: where data are whole at each of K trainers, slot k trains on the rows with index % K == k; if that
leaves it none (N <= k), on all of them. What was dealt to a slot it has alone, and trains on all of it.
Where int8 is ordered, the seed holds rows of each table, or unit, out of training (`held_out`).
A slot goes through its shard epoch by epoch, each time in another order that the job's seed, the slot and the epoch
determine; round r takes the next steps x batch rows of that endless walk, so a trainer that joins late, or anew, takes
the same rows as one that was there from the start.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from common.crypto.keys import SecretKey
from common.crypto.labels import SEED_HELD_OUT, SEED_SHUFFLE
from common.errors import FormatError
from common.sandbox.protocol import Rows

Columns = Mapping[str, NDArray[np.generic]]
RowIndices = NDArray[np.int64]
RowMask = NDArray[np.bool_]


def shard_rows(row_count: int, slot: int, step: int) -> RowIndices:
    """The rows of this slot: each `step`-th."""
    own = np.arange(slot % step, row_count, step, dtype=np.int64)
    return own if own.size else np.arange(row_count, dtype=np.int64)


def held_out(seed: SecretKey, key: int, rows: int, percent: int) -> RowMask:
    """Which rows of a table nothing is trained on: about `percent` of them, the same at all who know it by this key."""
    if not percent:
        return np.zeros(rows, np.bool_)
    draw = np.random.default_rng(seed.derive_number(SEED_HELD_OUT, key.to_bytes(8, "big")))
    mask: RowMask = draw.random(rows) < percent / 100
    return mask


@dataclass(frozen=True)
class Split:
    """Rows for int8, one after the other: the first `calibrating` are of those that were trained on, then held out."""

    rows: Rows
    calibrating: int

    @classmethod
    def drawn(
        cls, tables: Sequence[Columns], trained: RowMask, held: RowMask, seed: SecretKey, sizes: tuple[int, int]
    ) -> Self:
        """At most `sizes` rows of each, which the seed draws. The masks go over all tables, one after another."""
        draw = np.random.default_rng(seed.derive_number(SEED_HELD_OUT))
        calibrating, judged = (
            draw.permutation(np.flatnonzero(mask))[:most] for mask, most in zip((trained, held), sizes, strict=True)
        )
        ends = np.cumsum([len(next(iter(table.values()))) for table in tables], dtype=np.int64)
        return cls(_gathered(tables, ends, np.concatenate((calibrating, judged))), calibrating.size)


def _gathered(tables: Sequence[Columns], ends: RowIndices, indices: RowIndices) -> Rows:
    """Copies of rows by their numbers through all tables, which end at `ends`."""
    which = np.searchsorted(ends, indices, side="right")
    return gather_rows(tables, which, indices - np.concatenate(([0], ends))[which])


def require_alike(one: Columns, other: Columns) -> None:
    """Raise `FormatError` unless both have the same columns."""
    profiles = [{name: (column.dtype, column.shape[1:]) for name, column in table.items()} for table in (one, other)]
    if profiles[0] != profiles[1]:
        raise FormatError("format.dataset", expected="the same columns in all data sets and parts")


def restrict_columns(columns: Columns, allowed: Collection[str] | None) -> dict[str, NDArray[np.generic]]:
    """Those that the owner's policy allows, in every part alike; a bundle finds the others as if they were not there.

    Raises `FormatError` where nothing is left.
    """
    kept = {name: column for name, column in columns.items() if allowed is None or name in allowed}
    if not kept:
        raise FormatError("format.dataset", expected="at least one column that the policy allows")
    return kept


@dataclass
class RoundRows:
    """The rows of each round of one slot. `tables` lie one after another and have the same columns.

    `step`: of a share (common/data_shares). `rows_per_round` is steps x batch. `held_out_percent` of each table's rows
    are trained on by nobody.
    """

    tables: Sequence[Columns]
    seed: SecretKey = field(repr=False)
    slot: int
    step: int
    rows_per_round: int
    held_out_percent: int = 0
    _epoch: int = field(default=-1, init=False)
    _walk: RowIndices = field(default_factory=lambda: np.empty(0, np.int64), init=False)

    def __post_init__(self) -> None:
        lengths = [{len(column) for column in table.values()} for table in self.tables]
        if any(len(one) != 1 for one in lengths):
            raise FormatError("format.dataset", expected="columns of one length")
        rows = [one.pop() for one in lengths]
        self._ends = np.cumsum(rows, dtype=np.int64)
        if not self._ends.size or not self._ends[-1]:
            raise FormatError("format.dataset", expected="at least one row")
        masks = [held_out(self.seed, place, count, self.held_out_percent) for place, count in enumerate(rows)]
        self._held, shard = np.concatenate(masks), shard_rows(self.count, self.slot, self.step)
        self._shard = shard[~self._held[shard]]
        if not self._shard.size:
            raise FormatError("format.dataset", expected="a row that is not held out")

    @property
    def count(self) -> int:
        """N."""
        return int(self._ends[-1])

    @property
    def weight(self) -> int:
        """Rows of this slot's shard."""
        return int(self._shard.size)

    def of_round(self, number: int) -> Rows:
        """Copies of the rows that round `number` trains on, in training order."""
        return _gathered(self.tables, self._ends, self.indices(number))

    def split(self, sizes: tuple[int, int]) -> Split:
        """Rows for int8, at most so many that calibrate and that it is judged by."""
        trained = np.zeros(self.count, np.bool_)
        trained[self._shard] = True
        return Split.drawn(self.tables, trained, self._held, self.seed, sizes)

    def indices(self, number: int) -> RowIndices:
        """Row numbers of round `number`."""
        position, taken, missing = number * self.rows_per_round, list[RowIndices](), self.rows_per_round
        while missing:
            epoch, offset = divmod(position, self._shard.size)
            piece = self._epoch_walk(epoch)[offset : offset + missing]
            taken.append(piece)
            position, missing = position + piece.size, missing - piece.size
        return np.concatenate(taken)

    def _epoch_walk(self, epoch: int) -> RowIndices:
        if epoch != self._epoch:
            number = self.seed.derive_number(SEED_SHUFFLE, self.slot.to_bytes(8, "big"), epoch.to_bytes(8, "big"))
            self._epoch, self._walk = epoch, np.random.default_rng(number).permutation(self._shard)
        return self._walk


def gather_rows(tables: Sequence[Columns], which: RowIndices, rows: RowIndices) -> Rows:
    """Copies: row `rows[i]` of table `which[i]` at place i."""
    taken: Rows = {name: np.empty((rows.size, *one.shape[1:]), one.dtype) for name, one in tables[0].items()}
    for index in np.unique(which):
        here = np.flatnonzero(which == index)
        for name, column in tables[index].items():
            taken[name][here] = column[rows[here]]
    return taken
