"""What each ONNX operator becomes (side: owner).

Source: the ONNX operator schemas, https://onnx.ai/onnx/operators. A rule returns the name of a value of the graph, an
array (a constant), or the sizes of a shape that is computed with (`Shape`, and what takes it apart). Axes are given to
the graph's rules as they are, 0 included.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from client.graph_conversion.building import GraphBuilder, one_of_allowed
from common.model_graph import nodes as n
from common.model_graph.checking import refused
from common.model_graph.values import INTEGERS

Sizes = tuple[int | str, ...]
"""Sides of a shape; "batch" is the number of rows."""

Array = NDArray[Any]
Result = str | Array | Sizes


@dataclass(frozen=True)
class OnnxCall:
    """One node with what is known of its inputs: values of the graph, constants, computed sizes."""

    build: GraphBuilder
    where: str
    name: str
    attributes: Mapping[str, Any]
    inputs: list[str]
    names: Mapping[str, str]
    arrays: Mapping[str, Array]
    sizes: Mapping[str, Sizes]
    outputs: list[str]

    def require(self, fulfilled: bool, expected: object, seen: object) -> None:
        """Raise `FormatError` (format.design) unless it is fulfilled."""
        if not fulfilled:
            raise refused(self.where, expected, seen)

    def attribute(self, name: str, otherwise: Any = None) -> Any:
        value = self.attributes.get(name, otherwise)
        return value.decode() if isinstance(value, bytes) else value

    def has(self, place: int) -> bool:
        """Whether an optional input is given."""
        return place < len(self.inputs) and self.inputs[place] != ""

    def value(self, place: int = 0) -> str:
        """The value of the graph at an input."""
        name = self.inputs[place]
        self.require(name in self.names, "a value that depends on the input", f"input {place}, a constant")
        return self.names[name]

    def is_value(self, place: int) -> bool:
        return self.inputs[place] in self.names

    def constant(self, place: int) -> Array:
        """The constant at an input."""
        self.require(self.has(place), "an input more", f"{len(self.inputs)}")
        name = self.inputs[place]
        self.require(name in self.arrays, f"a constant as input {place}", "a value that is computed")
        return self.arrays[name]

    def parameter(self, place: int, *, trained: bool = True) -> str:
        """The constant at an input, as a parameter of the graph."""
        return self.parameter_of(self.constant(place), self.inputs[place], trained=trained)

    def parameter_of(self, array: Array, name: str, *, trained: bool = True) -> str:
        return self.build.parameter(self.where, name, np.ascontiguousarray(array), trained=trained)

    def add(self, kind: Callable[..., Any], *inputs: str, **fields: Any) -> str:
        return self.build.add(self.where, kind, *inputs, name=self.name, **fields)

    def require_floats(self, place: int) -> None:
        """Refuse arithmetic of integers, which ONNX rounds or wraps around and float32 does not."""
        seen = self.build.values[self.value(place)].dtype
        self.require(seen == "float32", "float32 values, by a Cast before", seen)

    def row(self, place: int = 0) -> tuple[int, ...]:
        """Shape of a row of the value at an input."""
        return self.build.values[self.value(place)].shape

    def axis(self, axis: int, place: int = 0) -> int:
        """Counted from the front, the batch's as 0."""
        return int(axis) % (len(self.row(place)) + 1)

    def integers(self, name: str, place: int) -> list[int] | None:
        """What older operator sets have as an attribute, newer ones as an input."""
        if name in self.attributes:
            return list(self.attributes[name])
        return [int(one) for one in self.constant(place).reshape(-1)] if self.has(place) else None


Rule = Callable[[OnnxCall], Result]


def _same(call: OnnxCall) -> str:
    return call.value()


def _constant(call: OnnxCall) -> Array:
    (name, value), *_ = call.attributes.items()
    if name == "value":
        return numpy_helper.to_array(value)
    call.require(name in {"value_float", "value_floats", "value_int", "value_ints"}, "a constant of numbers", name)
    return np.asarray(value, np.float32 if "float" in name else np.int64)


def _conv(call: OnnxCall) -> str:
    weight = call.constant(1)
    call.require(weight.ndim == 4, "a convolution over two axes", f"weight of shape {weight.shape}")
    bias = call.parameter(2) if call.has(2) else None
    sides = {name: _pair(call.attribute(name, [1, 1])) for name in ("strides", "dilations")}
    return call.add(
        n.Conv2d, call.value(), weight=call.parameter(1), bias=bias, stride=sides["strides"],
        dilation=sides["dilations"], padding=_padding(call), groups=call.attribute("group", 1),
    )  # fmt: skip


def _padding(call: OnnxCall) -> tuple[int, int]:
    call.require(call.attribute("auto_pad", "NOTSET") in {"NOTSET", "VALID"}, "stated pads", "auto_pad")
    pads = list(call.attribute("pads", [0, 0, 0, 0]))
    call.require(len(pads) == 4 and pads[:2] == pads[2:], "pads that are equal on both sides", pads)
    return _pair(pads[:2])


def _gemm(call: OnnxCall) -> str:
    plain = (call.attribute("alpha", 1.0), call.attribute("beta", 1.0), call.attribute("transA", 0)) == (1.0, 1.0, 0)
    call.require(plain, "alpha and beta of 1, no transA", "others")
    weight = call.constant(1)
    array = weight if call.attribute("transB", 0) else weight.T
    bias = call.parameter(2) if call.has(2) else None
    return call.add(n.Linear, call.value(), weight=call.parameter_of(array, call.inputs[1]), bias=bias)


def _matmul(call: OnnxCall) -> str:
    if call.is_value(1):
        return call.add(n.Matmul, call.value(), call.value(1))
    call.require(call.constant(1).ndim == 2, "a matrix", f"shape {call.constant(1).shape}")
    return call.add(n.Linear, call.value(), weight=call.parameter_of(call.constant(1).T, call.inputs[1]))


def _pointwise(op: str, call: OnnxCall) -> str:
    return call.add(one_of_allowed(n.Pointwise, op), call.value())


def _gelu(call: OnnxCall) -> str:
    return call.add(n.Gelu, call.value(), approximate=call.attribute("approximate", "none"))


def _neg(call: OnnxCall) -> str:
    call.require_floats(0)
    return call.add(n.Affine, call.value(), scale=(-1.0,))


def _pow(call: OnnxCall) -> str:
    exponent = call.constant(1)
    call.require(exponent.size == 1 and float(exponent.reshape(-1)[0]) == 2, "squares", "another exponent")
    return call.add(one_of_allowed(n.Elementwise, "mul"), call.value(), call.value())


def _arithmetic(op: str, call: OnnxCall) -> str:
    if call.is_value(0) and call.is_value(1):
        call.require(op != "div", "division by a constant", "by a value")
        return call.add(one_of_allowed(n.Elementwise, op), call.value(), call.value(1))
    place = 0 if call.is_value(0) else 1
    call.require(op != "div" or place == 0, "division by a constant", "of a constant")
    call.require_floats(place)
    given, other = call.value(place), call.constant(1 - place).astype(np.float32)
    if op == "div":
        op, other = "mul", np.float32(1) / other
    if other.size == 1:
        number = float(other.reshape(-1)[0])
        if op == "sub":
            factor, number = (1.0, -number) if place == 0 else (-1.0, number)
            return call.add(n.Affine, given, scale=(factor,), shift=(number,))
        return call.add(n.Affine, given, **({"scale": (number,)} if op == "mul" else {"shift": (number,)}))
    while other.ndim > len(call.row(place)) and other.shape[0] == 1:  # such axes change nothing
        other = other[0]
    parameter = call.parameter_of(other, call.inputs[1 - place], trained=False)
    inputs = (given, parameter) if place == 0 else (parameter, given)
    return call.add(one_of_allowed(n.Elementwise, op), *inputs)


def _pool(kind: type[n.MaxPool2d] | type[n.AvgPool2d], call: OnnxCall) -> str:
    plain = not call.attribute("ceil_mode", 0) and set(call.attribute("dilations", [1])) == {1}
    call.require(plain and len(call.outputs) == 1, "no dilation, ceil mode or indices", "one of them")
    fields: dict[str, Any] = {"kernel": _pair(call.attribute("kernel_shape"))}
    fields |= {"stride": _pair(call.attribute("strides", [1, 1])), "padding": _padding(call)}
    if kind is n.AvgPool2d:
        fields["count_padding"] = bool(call.attribute("count_include_pad", 0))
    return call.add(kind, call.value(), **fields)


def _global_avg_pool(call: OnnxCall) -> str:
    return call.add(n.AdaptiveAvgPool2d, call.value(), size=(1, 1))


def _batch_norm(call: OnnxCall) -> str:
    alone = not call.attribute("training_mode", 0) and len(call.outputs) == 1
    call.require(alone, "a batch norm in evaluation mode", "one that takes the statistics of the batch")
    weight, bias, mean, var = (call.parameter(place) for place in (1, 2, 3, 4))
    momentum = 1 - call.attribute("momentum", 0.9)  # ONNX keeps that share of the old statistics, torch takes it anew
    epsilon = call.attribute("epsilon", 1e-5)
    return call.add(
        n.BatchNorm, call.value(), weight=weight, bias=bias, running_mean=mean, running_var=var,
        momentum=min(1.0, max(1e-6, round(momentum, 6))), epsilon=epsilon,
    )  # fmt: skip


def _layer_norm(call: OnnxCall) -> str:
    call.require(len(call.outputs) == 1, "one result", len(call.outputs))
    dimensions = len(call.row()) + 1 - call.axis(call.attribute("axis", -1))
    bias = call.parameter(2) if call.has(2) else None
    fields = {"weight": call.parameter(1), "bias": bias, "epsilon": call.attribute("epsilon", 1e-5)}
    return call.add(n.LayerNorm, call.value(), dimensions=dimensions, **fields)


def _group_norm(call: OnnxCall) -> str:
    fields = {"weight": call.parameter(1), "bias": call.parameter(2), "epsilon": call.attribute("epsilon", 1e-5)}
    return call.add(n.GroupNorm, call.value(), groups=call.attribute("num_groups"), **fields)


def _instance_norm(call: OnnxCall) -> str:
    """A group norm with a group for each channel: what torch makes of group norms in older operator sets."""
    fields = {"weight": call.parameter(1), "bias": call.parameter(2), "epsilon": call.attribute("epsilon", 1e-5)}
    return call.add(n.GroupNorm, call.value(), groups=(call.row() or (1,))[0], **fields)


def _dropout(call: OnnxCall) -> str:
    call.require(len(call.outputs) == 1, "one result", len(call.outputs))
    call.require(not call.has(2) or not call.constant(2).any(), "dropout in evaluation mode", "training_mode")
    ratio = float(call.constant(1).reshape(-1)[0]) if call.has(1) else float(call.attribute("ratio", 0.5))
    return call.add(n.Dropout, call.value(), probability=ratio)


def _flatten(call: OnnxCall) -> str:
    axis = call.attribute("axis", 1)
    call.require(axis in {0, 1}, "an axis of 1: the batch axis stays", axis)
    return call.add(n.Flatten, call.value(), start_axis=axis)


def _reshape(call: OnnxCall) -> str:
    call.require(not call.attribute("allowzero", 0), "no allowzero", "1")
    wanted = list(_sizes(call, 1))
    row = call.row()
    call.require(bool(wanted) and wanted[0] in {"batch", -1, 0}, "the batch axis first, as it was", wanted[:1])
    inner = [row[place] if side == 0 and place < len(row) else side for place, side in enumerate(wanted[1:])]
    known = [side for side in inner if isinstance(side, int)]
    call.require(len(known) == len(inner) and inner.count(-1) <= 1, "one shape of rows", wanted)
    if -1 in known:
        call.require(wanted[0] != -1, "one -1", wanted)
        rest = -math.prod(known)
        call.require(rest > 0 and math.prod(row) % rest == 0, f"a row of {math.prod(row)} values again", wanted)
        known[known.index(-1)] = math.prod(row) // rest
    return call.add(n.Reshape, call.value(), shape=tuple(known))


def _sizes(call: OnnxCall, place: int) -> Sizes:
    """Of a shape that is a constant, or was computed from shapes."""
    name = call.inputs[place]
    return call.sizes[name] if name in call.sizes else tuple(int(one) for one in call.constant(place).reshape(-1))


def _shape(call: OnnxCall) -> Sizes:
    sides: Sizes = ("batch", *call.row())
    return sides[call.attribute("start", 0) : call.attribute("end")]


def _gather(call: OnnxCall) -> Result:
    axis = call.attribute("axis", 0)
    if call.inputs[0] in call.sizes:
        return tuple(call.sizes[call.inputs[0]][int(place)] for place in call.constant(1).reshape(-1))
    if not call.is_value(0):
        call.require(axis == 0, "the entries of a table along its first axis", f"axis {axis}")
        return call.add(n.Embedding, call.value(1), weight=call.parameter(0))
    axis, index = call.axis(axis), call.constant(1)
    call.require(axis > 0 and index.ndim == 0, "one place of an axis within the rows", f"axis {axis}")
    row = call.row()
    place = int(index) % row[axis - 1]
    chosen = call.add(n.Slice, call.value(), axis=axis, begin=place, end=place + 1)
    return call.add(n.Reshape, chosen, shape=(*row[: axis - 1], *row[axis:]))


def _slice(call: OnnxCall) -> Result:
    starts, ends = call.integers("starts", 1), call.integers("ends", 2)
    axes, steps = call.integers("axes", 3), call.integers("steps", 4)
    call.require(starts is not None and ends is not None and len(starts) == 1, "one axis", starts)
    call.require(steps in (None, [1]), "steps of 1", steps)
    begin, end = (starts or [0])[0], (ends or [0])[0]
    if call.inputs[0] in call.sizes:
        return call.sizes[call.inputs[0]][begin:end]
    axis = call.axis((axes or [0])[0])
    side = call.row()[axis - 1] if axis else 0
    begin, end, _ = slice(begin, end).indices(side)
    return call.add(n.Slice, call.value(), axis=axis, begin=begin, end=max(end, 1))


def _unsqueeze(call: OnnxCall) -> Result:
    if call.inputs[0] in call.sizes:
        return call.sizes[call.inputs[0]]
    axes, row = call.integers("axes", 1) or [], list(call.row())
    axes = sorted(axis % (len(row) + 1 + len(axes)) for axis in axes)
    call.require(axes != [] and axes[0] > 0, "axes within the rows", axes)
    for axis in axes:
        row.insert(axis - 1, 1)
    return call.add(n.Reshape, call.value(), shape=tuple(row))


def _squeeze(call: OnnxCall) -> Result:
    axes, row = call.integers("axes", 1), call.row()
    call.require(axes is not None, "stated axes", "none")
    gone = {call.axis(axis) for axis in axes or []}
    call.require(all(axis > 0 and row[axis - 1] == 1 for axis in gone), "axes of one place within the rows", gone)
    return call.add(n.Reshape, call.value(), shape=tuple(s for p, s in enumerate(row, 1) if p not in gone))


def _transpose(call: OnnxCall) -> str:
    every = list(range(len(call.row()) + 1))
    return call.add(n.Permute, call.value(), axes=tuple(call.attribute("perm", every[::-1])))


def _concat(call: OnnxCall) -> Result:
    if any(name in call.sizes for name in call.inputs):
        return tuple(side for place in range(len(call.inputs)) for side in _sizes(call, place))
    parts = [call.value(place) for place in range(len(call.inputs))]
    return call.add(n.Concat, *parts, axis=call.axis(call.attribute("axis"))) if len(parts) > 1 else parts[0]


def _softmax(op: str, call: OnnxCall) -> str:
    return call.add(one_of_allowed(n.Softmax, op), call.value(), axis=call.axis(call.attribute("axis", -1)))


def _reduction(op: str, call: OnnxCall) -> str:
    axes = call.integers("axes", 1)
    call.require(axes is not None or not call.attribute("noop_with_empty_axes", 0), "stated axes", "none")
    places = sorted(call.axis(axis) for axis in (range(len(call.row()) + 1) if axes is None else axes))
    keep = bool(call.attribute("keepdims", 1))
    return call.add(one_of_allowed(n.Reduction, op), call.value(), axes=tuple(places), keep=keep)


def _cast(call: OnnxCall) -> Result:
    if call.inputs[0] in call.sizes:
        return call.sizes[call.inputs[0]]
    given, wanted = call.value(), call.attribute("to")
    seen = call.build.values[given].dtype
    if wanted == onnx.TensorProto.INT64 and seen in INTEGERS:
        return given
    call.require(wanted == onnx.TensorProto.FLOAT, "a cast to float32", onnx.TensorProto.DataType.Name(wanted))
    return given if seen == "float32" else call.add(n.Affine, given)


def _pad(call: OnnxCall) -> str:
    call.require(call.attribute("mode", "constant") == "constant", "padding with a constant", call.attribute("mode"))
    call.require(not call.has(3), "pads for all axes", "axes")
    pads, axes = call.integers("pads", 1) or [], len(call.row()) + 1
    call.require(len(pads) == 2 * axes and min(pads) >= 0, f"pads for {axes} axes", pads)
    call.require(pads[0] == pads[axes] == 0, "the batch as it is", (pads[0], pads[axes]))
    value = float(call.constant(2).reshape(-1)[0]) if call.has(2) else 0.0
    return call.add(n.Pad, call.value(), amounts=tuple(zip(pads[1:axes], pads[axes + 1 :], strict=True)), value=value)


def _pair(sides: Any) -> tuple[int, int]:
    return (int(sides[0]), int(sides[-1]))


def _of(rule: Callable[[Any, OnnxCall], Result], kind: Any) -> Rule:
    return functools.partial(rule, kind)


OPERATORS: Final[Mapping[str, Rule]] = {
    "Identity": _same,
    "Constant": _constant,
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Relu": _of(_pointwise, "relu"),
    "Sigmoid": _of(_pointwise, "sigmoid"),
    "Tanh": _of(_pointwise, "tanh"),
    "Gelu": _gelu,
    "Neg": _neg,
    "Pow": _pow,
    "Add": _of(_arithmetic, "add"),
    "Sub": _of(_arithmetic, "sub"),
    "Mul": _of(_arithmetic, "mul"),
    "Div": _of(_arithmetic, "div"),
    "MaxPool": _of(_pool, n.MaxPool2d),
    "AveragePool": _of(_pool, n.AvgPool2d),
    "GlobalAveragePool": _global_avg_pool,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Shape": _shape,
    "Gather": _gather,
    "Slice": _slice,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Concat": _concat,
    "Softmax": _of(_softmax, "softmax"),
    "LogSoftmax": _of(_softmax, "log_softmax"),
    "ReduceMean": _of(_reduction, "mean"),
    "ReduceSum": _of(_reduction, "sum"),
    "ReduceMax": _of(_reduction, "amax"),
    "Cast": _cast,
    "Pad": _pad,
}
"""By operator of the standard domain."""
