"""What rules work on: shapes and types of values, and the refusal of a rule (side: library)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

ITEM_BYTES: Final = {"bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8, "float32": 4, "float64": 8}
INTEGERS: Final = frozenset({"bool", "uint8", "int8", "int16", "int32", "int64"})

Shape = tuple[int, ...]


class RuleError(Exception):
    """A rule is broken: what was expected, what was seen. checking.py adds where."""

    def __init__(self, expected: object, seen: object) -> None:
        self.expected, self.seen = str(expected), str(seen)
        super().__init__(self.expected)


def need(fulfilled: bool, expected: object, seen: object) -> None:
    """Raise `RuleError` unless it is fulfilled."""
    if not fulfilled:
        raise RuleError(expected, seen)


@dataclass(frozen=True)
class Value:
    """A tensor. `batched`: the batch axis stands in front of `shape`, and place i of it depends on row i alone."""

    shape: Shape
    dtype: str = "float32"
    batched: bool = True

    @property
    def count(self) -> int:
        """Values of one row, or of the parameter."""
        return math.prod(self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, or of the parameter."""
        return self.count * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class Made:
    """What a node makes of its operands, and what it costs for a row: a multiply-add is two operations."""

    value: Value
    flops: int = 0


class Operands:
    """A node's inputs and parameters, as its rule asks for them."""

    def __init__(self, inputs: tuple[Value, ...], parameters: Mapping[str, Shape]) -> None:
        self._inputs, self._parameters = inputs, parameters

    def __len__(self) -> int:
        return len(self._inputs)

    def any(self, place: int) -> Value:
        """Input `place`, value or parameter."""
        return self._inputs[place]

    def row(self, place: int = 0) -> Value:
        """Input `place`, which must have the batch axis."""
        value = self._inputs[place]
        need(value.batched, "a value that has the batch axis", "a parameter")
        return value

    def floats(self, place: int = 0, *, least_axes: int = 0, axes: int | None = None) -> Value:
        """Input `place`: float32, with the batch axis, of `axes` axes or at least `least_axes`."""
        value = self.row(place)
        need(value.dtype == "float32", "float32 (`affine` makes it)", value.dtype)
        need(axes is None or len(value.shape) == axes, f"rows of {axes} axes", f"rows of shape {value.shape}")
        need(len(value.shape) >= least_axes, f"rows of {least_axes} axes or more", f"rows of shape {value.shape}")
        return value

    def integers(self) -> Value:
        """The input: integers, with the batch axis."""
        value = self.row()
        need(value.dtype in INTEGERS, "integers", value.dtype)
        return value

    def parameter(self, name: str, axes: int) -> Shape:
        """The shape of a parameter that must have so many axes."""
        need(name in self._parameters, "a parameter", f"`{name}`, which is none")
        shape = self._parameters[name]
        need(len(shape) == axes, f"`{name}` of {axes} axes", shape)
        return shape

    def require_parameters(self, shape: Shape, *names: str | None) -> None:
        """Each of these parameters that is named has this shape."""
        for name in names:
            if name is not None:
                seen = self.parameter(name, len(shape))
                need(seen == shape, f"`{name}` of shape {shape}", seen)


def require_axis(axis: int, value: Value) -> int:
    """The place in the row's shape of an axis that is not the batch's."""
    need(axis != 0, "an axis within the rows: 1 and up", "axis 0, the batch: rows would see each other")
    need(axis <= len(value.shape), f"an axis of 1 to {len(value.shape)}", axis)
    return axis - 1
