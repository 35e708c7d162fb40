"""Synthetic rows of declared columns: right in name, shape and type, and about nobody (side: owner).

N rows. What a schema file does not say is guessed: floats are normal, an integer label counts classes as the answer has
values, bytes take all their values, other integers are 0 or 1, because they may index a table of the model.
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from common.bundle import BundleDescription, ColumnName, TensorSpec
from common.errors import FormatError
from common.messages.base import Message
from common.sandbox.protocol import Rows

DEFAULT_ROWS: Final = 256
MOST_ROWS: Final = 1 << 20

RowCount = Annotated[int, Field(ge=1, le=MOST_ROWS)]


class ColumnSchema(TensorSpec):
    """A column as its owner describes it. Values lie in `low` to `high`, both included."""

    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high come together")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("low is above high")
        if self.low is not None and self.high is not None and np.dtype(self.dtype).kind in "iu":
            most = np.iinfo(self.dtype)
            if self.low < most.min or self.high > most.max:
                raise ValueError("low or high lie outside of the type")
        return self


class Schema(Message):
    """What a data set looks like; never what is in it."""

    rows: RowCount = DEFAULT_ROWS
    columns: Annotated[dict[ColumnName, ColumnSchema], Field(min_length=1, max_length=64)]


def read_schema(path: Path) -> Schema:
    """A schema file in TOML. Raises `FormatError` (format.schema)."""
    try:
        return Schema.model_validate_json(json.dumps(tomllib.loads(path.read_text())))
    except ValidationError as cause:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in cause.errors())
        raise FormatError("format.schema", expected="columns with shape and dtype", seen=wrong) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise FormatError("format.schema", expected="a TOML file", seen=cause) from cause


def declared_schema(description: BundleDescription) -> Schema:
    """The columns that a provider's description asks for, with values that suit them."""
    label, answer = description.label, description.answer
    classes = answer.shape[-1] if answer.shape and answer.shape[-1] > 1 else 2
    classes = min(classes, np.iinfo(label.dtype).max) if np.dtype(label.dtype).kind in "iu" else classes
    counted = {"low": 0.0, "high": float(classes - 1)} if np.dtype(label.dtype).kind in "iu" else {}
    return Schema(
        columns={
            description.input.column: ColumnSchema(shape=description.input.shape, dtype=description.input.dtype),
            label.column: ColumnSchema(shape=label.shape, dtype=label.dtype, **counted),
        }
    )


def synthetic_rows(schema: Schema, count: int, seed: int) -> Rows:
    """`count` rows of every column."""
    generator = np.random.default_rng(seed)
    return {name: _values(column, count, generator) for name, column in schema.columns.items()}


def taken(rows: Rows, begin: int, count: int) -> Rows:
    """`count` rows from number `begin` on, and from the first again where they end."""
    return {name: values[np.arange(begin, begin + count) % len(values)] for name, values in rows.items()}


def table_of(schemas: Mapping[str, TensorSpec]) -> str:
    """Name, shape and dtype of each column, for a person."""
    return ", ".join(f"{name} {list(one.shape)} {one.dtype}" for name, one in schemas.items())


def _values(column: ColumnSchema, count: int, generator: np.random.Generator) -> np.ndarray:
    dtype, shape = np.dtype(column.dtype), (count, *column.shape)
    if dtype.kind == "b":
        return generator.integers(0, 2, shape).astype(dtype)
    if dtype.kind == "f":
        if column.low is None or column.high is None:
            return generator.standard_normal(shape).astype(dtype)
        return generator.uniform(column.low, column.high, shape).astype(dtype)
    low, high = _bounds(column, dtype)
    return generator.integers(low, high, shape, endpoint=True).astype(dtype)


def _bounds(column: ColumnSchema, dtype: np.dtype) -> tuple[int, int]:
    if column.low is not None and column.high is not None:
        return int(column.low), int(column.high)
    return (0, 255) if dtype == np.uint8 else (0, 1)
