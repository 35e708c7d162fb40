"""Profile, metrics and steering as values of the component model, and the types that exports must have (side: enclave).

design.wit says the same; tests hold the two together. A component's own types are compared with `FUNCTIONS` step by
step, and nothing of it is called whose types differ, so how large a result may be is ours to say: one text, or three
numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError
from wasmtime import component as wc

from common.model_graph.design import Adjustment, Change

INTERFACE: Final = "cloister:design/modelling@1.0.0"

Type = str | tuple[str, Any]
"""A primitive's name, or ("list", element), ("record", fields), ("variant", cases); a case without payload has None."""

_PRIMITIVES: Final = {wc.U32: "u32", wc.U64: "u64", wc.F64: "f64", wc.String: "string"}

_COLUMN: Final = ("record", (
    ("name", "string"), ("dtype", "string"), ("shape", ("list", "u32")), ("min", "f64"), ("max", "f64"),
    ("mean", "f64"), ("std", "f64"),
))  # fmt: skip
_LABEL: Final = ("record", (("column", _COLUMN), ("classes", "u32"), ("counts", ("list", "u64"))))
_PROFILE: Final = ("record", (
    ("rows", "u64"), ("columns", ("list", _COLUMN)), ("label", _LABEL), ("answer", ("list", "u32")),
    ("trainers", "u32"), ("rounds", "u32"), ("steps-per-round", "u32"), ("batch-rows", "u32"),
    ("max-parameters", "u64"), ("max-flops-per-row", "u64"), ("seed", "u64"),
))  # fmt: skip
_METRICS: Final = ("record", (("epoch", "u32"), ("steps", "u64"), ("loss-mean", "f64"), ("loss-last", "f64")))
_CHANGE: Final = ("record", (("learning-rate", "f64"), ("weight-decay", "f64"), ("augmentation", "f64")))
_STEERING: Final = ("variant", (("continue", None), ("change", _CHANGE), ("stop", None)))

FUNCTIONS: Final[dict[str, tuple[tuple[str, Type], Type]]] = {
    "design": (("profile", _PROFILE), "string"),
    "after-epoch": (("metrics", _METRICS), _STEERING),
}
"""Name -> its one parameter, its result."""


@dataclass(frozen=True)
class Column:
    """A column and what its values are over the rows of the job. `shape` is of one row."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    min: float
    max: float
    mean: float
    std: float


@dataclass(frozen=True)
class Label:
    """The label's column; `counts` has the rows of each of `classes` classes, both empty for numbers."""

    column: Column
    counts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Profile:
    """What a design is told of data and order. All trainers of a job must tell the same, or their designs differ."""

    rows: int
    columns: tuple[Column, ...]
    label: Label
    answer: tuple[int, ...]
    trainers: int
    rounds: int
    steps_per_round: int
    batch_rows: int
    max_parameters: int
    max_flops_per_row: int


@dataclass(frozen=True)
class Metrics:
    """What a design is told after round `epoch` (from 0); `steps` counts from the job's beginning."""

    epoch: int
    steps: int
    loss_mean: float
    loss_last: float


def fits(found: wc.FuncType, wanted: tuple[tuple[str, Type], Type]) -> bool:
    """Whether a function has exactly this parameter and result."""
    parameter, result = wanted
    return _alike(found.params, (parameter,)) and found.result is not None and _is(found.result, result)


def _alike(found: Sequence[tuple[str, wc.ValType | None]], wanted: Sequence[tuple[str, Type | None]]) -> bool:
    if len(found) != len(wanted):
        return False
    return all(
        name == other and (kind is None if expected is None else kind is not None and _is(kind, expected))
        for (name, kind), (other, expected) in zip(found, wanted, strict=True)
    )


def _is(found: wc.ValType, wanted: Type) -> bool:
    """In step with `wanted`, so never deeper than that: a type can be small in bytes and huge to walk."""
    if isinstance(wanted, str):
        return _PRIMITIVES.get(type(found)) == wanted
    kind, parts = wanted
    if kind == "list":
        return isinstance(found, wc.ListType) and _is(found.element, parts)
    if kind == "record":
        return isinstance(found, wc.RecordType) and _alike(found.fields, parts)
    return isinstance(found, wc.VariantType) and _alike(found.cases, parts)


def profile_value(profile: Profile, seed: int) -> wc.Record:
    """The record `profile`. Raises `ValueError` for numbers that its types do not hold: the enclave's own mistake."""
    return _record(
        rows=_unsigned(profile.rows, 64),
        columns=[_column(one) for one in profile.columns],
        label=_record(
            column=_column(profile.label.column),
            classes=_unsigned(len(profile.label.counts), 32),
            counts=[_unsigned(one, 64) for one in profile.label.counts],
        ),
        answer=[_unsigned(one, 32) for one in profile.answer],
        trainers=_unsigned(profile.trainers, 32),
        rounds=_unsigned(profile.rounds, 32),
        steps_per_round=_unsigned(profile.steps_per_round, 32),
        batch_rows=_unsigned(profile.batch_rows, 32),
        max_parameters=_unsigned(profile.max_parameters, 64),
        max_flops_per_row=_unsigned(profile.max_flops_per_row, 64),
        seed=_unsigned(seed, 64),
    )


def metrics_value(metrics: Metrics) -> wc.Record:
    """The record `metrics`. Raises `ValueError` as `profile_value` does."""
    return _record(
        epoch=_unsigned(metrics.epoch, 32),
        steps=_unsigned(metrics.steps, 64),
        loss_mean=_number(metrics.loss_mean),
        loss_last=_number(metrics.loss_last),
    )


def parse_steering(value: Any) -> Change | None:
    """What `after-epoch` returned as a `change`; None where a factor is out of its bounds."""
    if not isinstance(value, wc.Variant):
        return None
    if value.tag != "change":
        return Change(action="stop" if value.tag == "stop" else "continue")
    try:
        factors = {name.replace("-", "_"): factor for name, factor in vars(value.payload).items()}
        return Change(action="continue", adjustment=Adjustment(**factors))
    except (ValidationError, TypeError):
        return None


def _column(column: Column) -> wc.Record:
    return _record(
        name=column.name,
        dtype=column.dtype,
        shape=[_unsigned(one, 32) for one in column.shape],
        **{name: _number(getattr(column, name)) for name in ("min", "max", "mean", "std")},
    )


def _record(**fields: Any) -> wc.Record:
    record = wc.Record()
    vars(record).update({name.replace("_", "-"): value for name, value in fields.items()})
    return record


def _unsigned(value: int, bits: int) -> int:
    if not 0 <= value < 1 << bits:
        raise ValueError(f"{value} is no unsigned number of {bits} bits")
    return int(value)


def _number(value: float) -> float:
    if math.isnan(value):
        return math.nan  # one NaN for all machines
    return float(value)
