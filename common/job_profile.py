"""What design code is told of a job's data, or of a check's rows (side: enclave).

N rows of the whole job, of the columns that the bundle reads and the owners allow. Every trainer reads all of them
before its first round, so each computes the profile itself; no header has to be believed. All must get the same one, to
the bit, on whatever machine: values become multiples of a power of two, sums are of whole numbers, which no order of
adding and no width of vectors changes.
"""

import math
from collections.abc import Iterator, Mapping
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


def profile_of_job(
    columns: Mapping[str, NDArray[np.generic]], bundle: BundleManifest, schedule: Schedule, trainers: int
) -> Profile:
    """The profile. Raises a refusal (provider.input) where the data have not the columns that the bundle declares."""
    bounds = design_bounds(bundle, schedule)
    values, labels = (_declared(columns, spec) for spec in (bundle.input, bundle.label))
    return Profile(
        rows=len(labels),
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


def _declared(columns: Mapping[str, NDArray[np.generic]], spec: ColumnSpec) -> NDArray[np.generic]:
    column = columns.get(spec.column)
    if column is None or (str(column.dtype), column.shape[1:]) != (spec.dtype, spec.shape):
        raise refusal_of("provider.input")
    return column


def _column(spec: ColumnSpec, values: NDArray[np.generic]) -> Column:
    low, high, mean, deviation = describe(values)
    return Column(spec.column, spec.dtype, spec.shape, low, high, mean, deviation)


def describe(values: NDArray[np.generic]) -> tuple[float, float, float, float]:
    """Least, greatest, mean and standard deviation of all values that are finite; zeros where none is.

    Mean and deviation are exact for values of 24 bits, else to 2^-24 of the largest. Block by block: no copy of all.
    """
    count, low, high = _extent(values)
    if not count:
        return 0.0, 0.0, 0.0, 0.0
    shift, total, squares = _SCALE_BITS - math.frexp(max(abs(low), abs(high)))[1], 0, 0
    if values.dtype.kind in "iu":
        shift = min(shift, 0)  # they are whole already
    for block in _blocks(values):
        whole = np.rint(np.ldexp(block, shift)).astype(np.int64) if shift else block.astype(np.int64)
        total += int(whole.sum())
        squares += int(np.dot(whole, whole))
    variance = Fraction(count * squares - total * total, count * count)
    mean, deviation = float(Fraction(total, count)), math.sqrt(variance)
    return low, high, math.ldexp(mean, -shift), math.ldexp(deviation, -shift)


def _extent(values: NDArray[np.generic]) -> tuple[int, float, float]:
    """How many values are finite, the least and the greatest of them."""
    if values.dtype.kind in "iu":
        return values.size, float(values.min()), float(values.max())
    counted = [(block.size, block.min(), block.max()) for block in _blocks(values) if block.size]
    if not counted:
        return 0, 0.0, 0.0
    return sum(one[0] for one in counted), float(min(one[1] for one in counted)), float(max(one[2] for one in counted))


def _blocks(values: NDArray[np.generic]) -> Iterator[NDArray[Any]]:
    """The values that are finite, as float64, or as they are where all are whole."""
    flat = values.reshape(-1)
    for at in range(0, flat.size, _BLOCK):
        block: NDArray[Any] = flat[at : at + _BLOCK]
        if values.dtype.kind in "iu" and values.dtype.itemsize <= _SMALL_ITEM:
            yield block
            continue
        wide = block.astype(np.float64)
        known = np.isfinite(wide)
        yield wide if known.all() else wide[known]


def _class_counts(labels: NDArray[np.generic]) -> tuple[int, ...]:
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= MAX_CLASSES:
        return ()
    return tuple(np.bincount(labels.astype(np.int64)).tolist())
