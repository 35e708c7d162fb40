"""What OpenVINO does for each operation of a model graph (side: sandbox).

B rows of a batch. A node is the JSON object of common/model_graph/nodes.py; enclaves have checked it before it comes
here, so nothing is checked again. Each function gets the maker of the model (its nodes and constants), the node and the
inputs, B in front, and makes what graph_operations.py makes in torch, with operations of OpenVINO's opset13 (and
MaxPool of opset1, which has one result). What may be an integer is int32 or uint8 here (openvino_graph.py).

Not the same as torch's: what a row with a NaN in it becomes. Pooling and ReLU of OpenVINO may drop it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

Node = Mapping[str, Any]
Value = Any
"""An `openvino.Output`: OpenVINO's bindings are used through `Maker` alone."""


class Maker(Protocol):
    """The model under construction, as its operations see it."""

    def make(self, kind: str, inputs: Sequence[Value], attributes: Mapping[str, Any] | None = None) -> Value:
        """The result of a new node of `kind`."""
        ...

    def constant(self, values: Any, dtype: type = np.float32) -> Value:
        """A constant tensor."""
        ...

    def parameter(self, name: str) -> NDArray[np.float32]:
        """A tensor of the state by the document's name."""
        ...

    def affine_of(self, node: Node) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Weight and bias of a convolution or linear map, with the batch norm behind it where that is folded in."""
        ...

    def is_folded(self, node: Node) -> bool:
        """Whether this batch norm is part of the convolution before it."""
        ...

    def weight(self, node: Node, weight: NDArray[np.float32], kept_axes: int) -> Value:
        """A weight as a constant; in int8, where its input is, with a scale for each place of its `kept_axes` first."""
        ...


Operation = Callable[..., Value]


def row_shape(value: Value) -> tuple[int, ...]:
    """The shape of a row."""
    shape = value.get_partial_shape()
    return tuple(shape[axis].get_length() for axis in range(1, len(shape)))


def _conv2d(maker: Maker, node: Node, x_BCHW: Value) -> Value:
    weight, bias = maker.affine_of(node)
    groups, padding = node["groups"], list(node["padding"])
    attributes = {
        "strides": list(node["stride"]),
        "pads_begin": padding,
        "pads_end": padding,
        "dilations": list(node["dilation"]),
        "auto_pad": "EXPLICIT",
    }
    if groups == 1:
        result = maker.make("Convolution", [x_BCHW, maker.weight(node, weight, 1)], attributes)
    else:
        weight = weight.reshape(groups, -1, *weight.shape[1:])
        result = maker.make("GroupConvolution", [x_BCHW, maker.weight(node, weight, 2)], attributes)
    return result if bias is None else maker.make("Add", [result, maker.constant(bias.reshape(1, -1, 1, 1))])


def _linear(maker: Maker, node: Node, x: Value) -> Value:
    weight, bias = maker.affine_of(node)
    turned = {"transpose_a": False, "transpose_b": True}
    result = maker.make("MatMul", [x, maker.weight(node, weight, 1)], turned)
    return result if bias is None else maker.make("Add", [result, maker.constant(bias)])


def batch_norm_factors(maker: Maker, node: Node) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale and shift of each channel, computed in float64."""
    mean, variance = (maker.parameter(node[name]).astype(np.float64) for name in ("running_mean", "running_var"))
    scale = 1.0 / np.sqrt(variance + node["epsilon"])
    if node["weight"] is not None:
        scale *= maker.parameter(node["weight"])
    shift = -mean * scale
    if node["bias"] is not None:
        shift += maker.parameter(node["bias"])
    return scale.astype(np.float32), shift.astype(np.float32)


def _batch_norm(maker: Maker, node: Node, x: Value) -> Value:
    if maker.is_folded(node):
        return x
    places = (1, -1, *[1] * (len(row_shape(x)) - 1))
    scale, shift = (one.reshape(places) for one in batch_norm_factors(maker, node))
    return maker.make("Add", [maker.make("Multiply", [x, maker.constant(scale)]), maker.constant(shift)])


def _layer_norm(maker: Maker, node: Node, x: Value) -> Value:
    rank = len(row_shape(x)) + 1
    result = _normalised(maker, x, range(rank - node["dimensions"], rank), node["epsilon"])
    return _scaled(maker, node, result, lambda values: values)


def _group_norm(maker: Maker, node: Node, x: Value) -> Value:
    shape = row_shape(x)
    grouped = _reshaped(maker, x, (node["groups"], int(np.prod(shape)) // node["groups"]))
    result = _reshaped(maker, _normalised(maker, grouped, [2], node["epsilon"]), shape)
    return _scaled(maker, node, result, lambda values: values.reshape(-1, *[1] * (len(shape) - 1)))


def _normalised(maker: Maker, x: Value, axes: Sequence[int], epsilon: float) -> Value:
    attributes = {"eps": epsilon, "normalize_variance": True, "eps_mode": "inside_sqrt"}
    return maker.make("MVN", [x, maker.constant(list(axes), np.int64)], attributes)


def _scaled(maker: Maker, node: Node, x: Value, placed: Callable[[NDArray[Any]], NDArray[Any]]) -> Value:
    for field, kind in (("weight", "Multiply"), ("bias", "Add")):
        if node[field] is not None:
            x = maker.make(kind, [x, maker.constant(placed(maker.parameter(node[field])))])
    return x


def _gelu(maker: Maker, node: Node, x: Value) -> Value:
    return maker.make("Gelu", [x], {"approximation_mode": "TANH" if node["approximate"] == "tanh" else "ERF"})


def _pool_attributes(node: Node) -> dict[str, Any]:
    padding = list(node["padding"])
    return {
        "kernel": list(node["kernel"]),
        "strides": list(node["stride"]),
        "pads_begin": padding,
        "pads_end": padding,
        "rounding_type": "FLOOR",
        "auto_pad": "EXPLICIT",
    }


def _max_pool2d(maker: Maker, node: Node, x_BCHW: Value) -> Value:
    return maker.make("MaxPool", [x_BCHW], _pool_attributes(node))


def _avg_pool2d(maker: Maker, node: Node, x_BCHW: Value) -> Value:
    return maker.make("AvgPool", [x_BCHW], {**_pool_attributes(node), "exclude-pad": not node["count_padding"]})


def _adaptive_avg_pool2d(maker: Maker, node: Node, x_BCHW: Value) -> Value:
    """Windows of one size where the sides are multiples, which is much faster than OpenVINO's general operation."""
    _, *sides = row_shape(x_BCHW)
    if any(side % wanted for side, wanted in zip(sides, node["size"], strict=True)):
        return maker.make("AdaptiveAvgPool", [x_BCHW, maker.constant(list(node["size"]), np.int64)])
    kernel = [side // wanted for side, wanted in zip(sides, node["size"], strict=True)]
    return _avg_pool2d(maker, {"kernel": kernel, "stride": kernel, "padding": (0, 0), "count_padding": True}, x_BCHW)


def _reshaped(maker: Maker, x: Value, shape: Sequence[int]) -> Value:
    return maker.make("Reshape", [x, maker.constant([-1, *shape], np.int64)], {"special_zero": False})


def _flatten(maker: Maker, node: Node, x: Value) -> Value:
    shape, place = row_shape(x), node["start_axis"] - 1
    return _reshaped(maker, x, (*shape[:place], int(np.prod(shape[place:]))))


def _reshape(maker: Maker, node: Node, x: Value) -> Value:
    return _reshaped(maker, x, node["shape"])


def _permute(maker: Maker, node: Node, x: Value) -> Value:
    return maker.make("Transpose", [x, maker.constant(list(node["axes"]), np.int64)])


def _slice(maker: Maker, node: Node, x: Value) -> Value:
    begin, end, step, axis = ([node["begin"]], [node["end"]], [1], [node["axis"]])
    return maker.make("Slice", [x, *(maker.constant(one, np.int64) for one in (begin, end, step, axis))])


def _pad(maker: Maker, node: Node, x: Value) -> Value:
    before, behind = zip((0, 0), *node["amounts"], strict=True)
    sides = [maker.constant(list(one), np.int64) for one in (before, behind)]
    return maker.make("Pad", [x, *sides, maker.constant(node["value"])], {"pad_mode": "constant"})


def _matmul(maker: Maker, _: Node, left: Value, right: Value) -> Value:
    return maker.make("MatMul", [left, right], {"transpose_a": False, "transpose_b": False})


def _concat(maker: Maker, node: Node, *parts: Value) -> Value:
    return maker.make("Concat", list(parts), {"axis": node["axis"]})


def _chosen(maker: Maker, x: Value, count: int) -> Value:
    """int32 from 0 to `count` - 1; what is out of range counts as the nearest."""
    x = maker.make("Convert", [x], {"destination_type": "i32"})
    x = maker.make("Maximum", [x, maker.constant(0, np.int32)])
    return maker.make("Minimum", [x, maker.constant(count - 1, np.int32)])


def _embedding(maker: Maker, node: Node, x: Value) -> Value:
    weight = maker.parameter(node["weight"])
    inputs = [maker.constant(weight), _chosen(maker, x, len(weight)), maker.constant(0, np.int64)]
    return maker.make("Gather", inputs, {"batch_dims": 0})


def _one_hot(maker: Maker, node: Node, x: Value) -> Value:
    inputs = [maker.constant(node["classes"], np.int64), maker.constant(1.0), maker.constant(0.0)]
    return maker.make("OneHot", [_chosen(maker, x, node["classes"]), *inputs], {"axis": -1})


def _affine(maker: Maker, node: Node, x: Value) -> Value:
    axis, rank = node["axis"], len(row_shape(x)) + 1
    shape = [-1 if place == axis else 1 for place in range(rank)] if axis is not None else []
    scale, shift = (np.array(node[name], np.float32).reshape(shape) for name in ("scale", "shift"))
    values = maker.make("Convert", [x], {"destination_type": "f32"})
    return maker.make("Add", [maker.make("Multiply", [values, maker.constant(scale)]), maker.constant(shift)])


def _dropout(_: Maker, __: Node, x: Value) -> Value:
    return x


def _along_axis(kind: str) -> Operation:
    return lambda maker, node, x: maker.make(kind, [x], {"axis": node["axis"]})


def _reduced(kind: str) -> Operation:
    return lambda maker, node, x: maker.make(
        kind, [x, maker.constant(list(node["axes"]), np.int64)], {"keep_dims": node["keep"]}
    )


def _plain(kind: str) -> Operation:
    return lambda maker, _, *inputs: maker.make(kind, list(inputs))


OPERATIONS: Final[Mapping[str, Operation]] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "relu": _plain("Relu"),
    "silu": _plain("Swish"),
    "tanh": _plain("Tanh"),
    "sigmoid": _plain("Sigmoid"),
    "gelu": _gelu,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "flatten": _flatten,
    "reshape": _reshape,
    "permute": _permute,
    "slice": _slice,
    "pad": _pad,
    "add": _plain("Add"),
    "sub": _plain("Subtract"),
    "mul": _plain("Multiply"),
    "matmul": _matmul,
    "concat": _concat,
    "embedding": _embedding,
    "one_hot": _one_hot,
    "affine": _affine,
    "dropout": _dropout,
    "softmax": _along_axis("Softmax"),
    "log_softmax": _along_axis("LogSoftmax"),
    "mean": _reduced("ReduceMean"),
    "sum": _reduced("ReduceSum"),
    "amax": _reduced("ReduceMax"),
}
"""By `op`: as many as common/model_graph/rules.py has rules. A graph with any other stays on eager torch."""
