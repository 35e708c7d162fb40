"""What design code is told of a job's data, or of a check's rows (side: enclave).

N rows of the whole job, of the columns that the bundle reads and the owners allow. Where every trainer reads all of
them before its first round, each computes the profile itself; no header has to be believed. Where data are larger
(common/data_shares), every trainer reads one sample first, and the profile is of that, but for the number of rows. All
must get the same one, to the bit, on whatever machine: values become multiples of a power of two, sums are of whole
numbers, which no order of adding and no width of vectors changes.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.bundle import BundleManifest, ColumnSpec
from common.errors import refusal_of
from common.job_design import design_bounds
from common.messages.order import Schedule
from common.sandbox.wasm.interface import Column, Label, Profile

MAX_CLASSES: Final = 4096
"""Labels that are whole numbers from 0 to less than this are classes, and each one's rows are counted."""

_SCALE_BITS: Final = 24
"""Of a value, relative to the largest: squares of 2^14 of them fit 64 bits."""

_BLOCK: Final = 1 << 14

_SMALL_ITEM: Final = 2
"""Bytes of integers that are below 2^24 whatever their values."""


@dataclass(frozen=True)
class JobRows:
    """Rows of a job, in tables that follow one another; `count`: N, which may be more than are in them."""

    tables: Sequence[Mapping[str, NDArray[np.generic]]]
    count: int


def profile_of_job(rows: JobRows, bundle: BundleManifest, schedule: Schedule, trainers: int) -> Profile:
    """The profile. Raises a refusal (provider.input) where the data have not the columns that the bundle declares."""
    bounds = design_bounds(bundle, schedule)
    values, labels = (_declared(rows.tables, spec) for spec in (bundle.input, bundle.label))
    return Profile(
        rows=rows.count,
        columns=(_column(bundle.input, values),),
        label=Label(_column(bundle.label, labels), _class_counts(labels)),
        answer=bundle.answer.shape,
        trainers=trainers,
        rounds=schedule.rounds,
        steps_per_round=schedule.steps_per_round,
        batch_rows=schedule.batch_rows,
        max_parameters=bounds.state_values,
        max_flops_per_row=bounds.flops_per_row,
    )


def _declared(tables: Sequence[Mapping[str, NDArray[np.generic]]], spec: ColumnSpec) -> list[NDArray[np.generic]]:
    columns = [column for table in tables if (column := table.get(spec.column)) is not None]
    if not columns or len(columns) != len(tables):
        raise refusal_of("provider.input")
    if any((str(column.dtype), column.shape[1:]) != (spec.dtype, spec.shape) for column in columns):
        raise refusal_of("provider.input")
    return columns


def _column(spec: ColumnSpec, values: Sequence[NDArray[np.generic]]) -> Column:
    low, high, mean, deviation = describe(*values)
    return Column(spec.column, spec.dtype, spec.shape, low, high, mean, deviation)


def describe(*values: NDArray[np.generic]) -> tuple[float, float, float, float]:
    """Least, greatest, mean and standard deviation of all values that are finite; zeros where none is.

    `values`: one or more arrays of one type. Mean and deviation are exact for values of 24 bits, else to 2^-24 of the
    largest. Block by block: no copy of all.
    """
    count, low, high = _extent(values)
    if not count:
        return 0.0, 0.0, 0.0, 0.0
    shift, total, squares = _SCALE_BITS - math.frexp(max(abs(low), abs(high)))[1], 0, 0
    if values[0].dtype.kind in "iu":
        shift = min(shift, 0)  # they are whole already
    for block in _blocks(values):
        whole = np.rint(np.ldexp(block, shift)).astype(np.int64) if shift else block.astype(np.int64)
        total += int(whole.sum())
        squares += int(np.dot(whole, whole))
    variance = Fraction(count * squares - total * total, count * count)
    mean, deviation = float(Fraction(total, count)), math.sqrt(variance)
    return low, high, math.ldexp(mean, -shift), math.ldexp(deviation, -shift)


def _extent(values: Sequence[NDArray[np.generic]]) -> tuple[int, float, float]:
    """How many values are finite, the least and the greatest of them."""
    if values[0].dtype.kind in "iu":
        lows, highs = zip(*((one.min(), one.max()) for one in values), strict=True)
        return sum(one.size for one in values), float(min(lows)), float(max(highs))
    counted = [(block.size, block.min(), block.max()) for block in _blocks(values) if block.size]
    if not counted:
        return 0, 0.0, 0.0
    return sum(one[0] for one in counted), float(min(one[1] for one in counted)), float(max(one[2] for one in counted))


def _blocks(values: Sequence[NDArray[np.generic]]) -> Iterator[NDArray[Any]]:
    """The values that are finite, as float64, or as they are where all are whole."""
    for one in values:
        flat = one.reshape(-1)
        for at in range(0, flat.size, _BLOCK):
            block: NDArray[Any] = flat[at : at + _BLOCK]
            if one.dtype.kind in "iu" and one.dtype.itemsize <= _SMALL_ITEM:
                yield block
                continue
            wide = block.astype(np.float64)
            known = np.isfinite(wide)
            yield wide if known.all() else wide[known]


def _class_counts(labels: Sequence[NDArray[np.generic]]) -> tuple[int, ...]:
    if labels[0].ndim != 1 or labels[0].dtype.kind not in "iu":
        return ()
    highest = max(int(one.max()) for one in labels)
    if min(int(one.min()) for one in labels) < 0 or highest >= MAX_CLASSES:
        return ()
    counts = sum(np.bincount(one.astype(np.int64), minlength=highest + 1) for one in labels)
    return tuple(np.asarray(counts).tolist())
