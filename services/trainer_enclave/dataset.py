"""A trainer's rows: which are its own, and which of them a round trains on (side: enclave).

N rows of all the order's data sets, in the order of the order and of their parts.

The sharding rule: slot k of K trains on the rows with index % K == k; if that leaves it none (N <= k), on all of them.
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


def shard_rows(row_count: int, slot: int, trainers: int) -> RowIndices:
    """The rows of this slot."""
    own = np.arange(slot, row_count, trainers, dtype=np.int64)
    return own if own.size else np.arange(row_count, dtype=np.int64)


def join_columns(parts: Sequence[Columns]) -> dict[str, NDArray[np.generic]]:
    """One table of several with the same columns; a single one is not copied. Raises `FormatError`."""
    profiles = [{name: (column.dtype, column.shape[1:]) for name, column in part.items()} for part in parts]
    if any(profile != profiles[0] for profile in profiles):
        raise FormatError("format.dataset", expected="the same columns in all data sets and parts")
    if len(parts) == 1:
        return dict(parts[0])
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


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
    """The rows of each round of one slot. `rows_per_round` is steps x batch."""

    columns: Columns
    seed: SecretKey = field(repr=False)
    slot: int
    trainers: int
    rows_per_round: int
    _epoch: int = field(default=-1, init=False)
    _walk: RowIndices = field(default_factory=lambda: np.empty(0, np.int64), init=False)

    def __post_init__(self) -> None:
        lengths = {len(column) for column in self.columns.values()}
        if len(lengths) != 1 or not max(lengths):
            raise FormatError("format.dataset", expected="columns of one length, at least one row")
        self._shard = shard_rows(lengths.pop(), self.slot, self.trainers)

    def of_round(self, number: int) -> Rows:
        """Copies of the rows that round `number` trains on, in training order."""
        indices = self.indices(number)
        return {name: column[indices] for name, column in self.columns.items()}

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
