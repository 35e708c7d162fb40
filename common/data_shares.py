"""Which part of a job's data each trainer reads: a function of public sizes (side: library).

Whoever plans a schedule and whoever follows it count alike. Data are dealt in *units* of `UNIT_CHUNKS` chunks
(common/dataset_units), numbered through all parts of all data sets, in the order of the order.

    whole     there are at most `KEPT_UNITS`: every trainer reads all, and trains on each `trainers`-th row
    dealt     unit u is read by slot u mod trainers alone, which trains on all its rows
    sifted    too few units for that: every trainer reads all, and trains on each `trainers`-th row of each

A share of at most `KEPT_UNITS` is kept in memory for the whole job; of a larger one, what was read last.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from common.dataset_units import UNIT_CHUNKS
from common.errors import QuotaError

KEPT_UNITS: Final = 64
"""512 MiB of plaintext: what a trainer keeps of its data at most."""

WINDOW_UNITS: Final = 32
"""A round's rows come from so many units: half of what is kept. The rest is for rounds that begin late or early."""

LEAD_UNITS: Final = 16
"""A window ends so many units before what is read when its round is due, so that one that begins earlier finds it."""

LEAST_UNITS: Final = 4
"""Units are dealt where each trainer gets so many: at most 12 % of a part are padding (Padmé), so some have rows."""

SAMPLE_UNITS: Final = 16
"""The profile of data that are not whole at each trainer is of so many units, the same at all of them."""

MAX_UNITS: Final = 1 << 17
"""1 TiB; also what a pass over a share can be shuffled of at once."""


@dataclass(frozen=True)
class Unit:
    """Unit `number` of part `part` of a job's data; it has `chunks` chunks."""

    part: int
    number: int
    chunks: int

    @property
    def first_chunk(self) -> int:
        """Its number in the part."""
        return self.number * UNIT_CHUNKS


@dataclass(frozen=True)
class Share:
    """What one slot reads. Of the rows of a unit (of a `whole` share: of all rows) it trains on each `step`-th."""

    units: tuple[Unit, ...]
    whole: bool
    step: int

    @property
    def kept(self) -> bool:
        """Whether all of it stays in memory."""
        return len(self.units) <= KEPT_UNITS

    @property
    def chunks(self) -> int:
        """Chunks of a pass over it."""
        return sum(unit.chunks for unit in self.units)


def units_of(chunk_counts: Sequence[int]) -> tuple[Unit, ...]:
    """The units of parts with so many chunks. Raises `QuotaError` (quota.window) for more than `MAX_UNITS`."""
    if sum(-(-count // UNIT_CHUNKS) for count in chunk_counts) > MAX_UNITS:
        raise QuotaError("quota.window", expected=f"at most {MAX_UNITS * UNIT_CHUNKS} chunks of data sets")
    return tuple(
        Unit(part, first // UNIT_CHUNKS, min(UNIT_CHUNKS, count - first))
        for part, count in enumerate(chunk_counts)
        for first in range(0, count, UNIT_CHUNKS)
    )


def share_of(chunk_counts: Sequence[int], slot: int, trainers: int) -> Share:
    """The share of a slot. Raises `QuotaError` (quota.window)."""
    units = units_of(chunk_counts)
    if len(units) <= KEPT_UNITS:
        return Share(units, whole=True, step=trainers)
    if len(units) >= LEAST_UNITS * trainers:
        return Share(units[slot::trainers], whole=False, step=1)
    return Share(units, whole=False, step=trainers)
