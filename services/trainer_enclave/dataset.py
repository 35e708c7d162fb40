"""A trainer's rows where all of its share is in memory: which of them a round trains on (side: enclave).

N rows of all the order's data sets, in the order of the order and of their parts, or of the units that were dealt to
this slot (common/data_shares).

The sharding rule: where data are whole at each of K trainers, slot k trains on the rows with index % K == k; if that
leaves it none (N <= k), on all of them. What was dealt to a slot it has alone, and trains on all of it.
A slot goes through its shard epoch by epoch, each time in another order that the job's seed, the slot and the epoch
determine; round r takes the next steps x batch rows of that endless walk, so a trainer that joins late, or anew, takes
the same rows as one that was there from the start.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from common.crypto.keys import SecretKey
from common.crypto.labels import SEED_SHUFFLE
from common.errors import FormatError
from common.sandbox.protocol import Rows

Columns = Mapping[str, NDArray[np.generic]]
RowIndices = NDArray[np.int64]


def shard_rows(row_count: int, slot: int, step: int) -> RowIndices:
    """The rows of this slot: each `step`-th."""
    own = np.arange(slot % step, row_count, step, dtype=np.int64)
    return own if own.size else np.arange(row_count, dtype=np.int64)


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

    `step`: of a share (common/data_shares). `rows_per_round` is steps x batch.
    """

    tables: Sequence[Columns]
    seed: SecretKey = field(repr=False)
    slot: int
    step: int
    rows_per_round: int
    _epoch: int = field(default=-1, init=False)
    _walk: RowIndices = field(default_factory=lambda: np.empty(0, np.int64), init=False)

    def __post_init__(self) -> None:
        lengths = [{len(column) for column in table.values()} for table in self.tables]
        if any(len(one) != 1 for one in lengths):
            raise FormatError("format.dataset", expected="columns of one length")
        self._ends = np.cumsum([one.pop() for one in lengths], dtype=np.int64)
        if not self._ends.size or not self._ends[-1]:
            raise FormatError("format.dataset", expected="at least one row")
        self._shard = shard_rows(self.count, self.slot, self.step)

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
        indices = self.indices(number)
        which = np.searchsorted(self._ends, indices, side="right")
        rows = indices - np.concatenate(([0], self._ends))[which]
        return gather_rows(self.tables, which, rows)

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
