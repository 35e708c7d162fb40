"""What each operation makes of shapes and types, what it costs, and that it keeps rows apart (side: library).

A rule gets the node and its operands and returns what it makes, or raises `RuleError`. Each rule keeps one invariant:
*place i of the result's batch axis depends on place i of the operands and on parameters, and on nothing else*; an
operation that could break it has an axis, a shape or a rank by which it would, and the rule refuses that. The costs
count a multiply-add as two operations, and exponential, root and division as one.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from common.model_graph import nodes
from common.model_graph.values import Made, Operands, RuleError, Shape, Value, need, require_axis

Rule = Callable[[Any, Operands], Made]


def _conv2d(node: nodes.Conv2d, see: Operands) -> Made:
    channels, height, width = see.floats(axes=3).shape
    made, within, tall, wide = see.parameter(node.weight, 4)
    need(channels % node.groups == 0, f"{channels} channels in groups of one size", f"{node.groups} groups")
    need(made % node.groups == 0, f"{made} channels of the result in groups of one size", f"{node.groups} groups")
    need(
        within * node.groups == channels,
        f"`{node.weight}` of {channels // node.groups} channels",
        (made, within, tall, wide),
    )
    see.require_parameters((made,), node.bias)
    kernel = (tall, wide)
    sides = tuple(
        _windows(side, extent, stride, padding, dilation)
        for side, extent, stride, padding, dilation in zip(
            (height, width), kernel, node.stride, node.padding, node.dilation, strict=True
        )
    )
    places = made * math.prod(sides)
    return Made(Value((made, *sides)), places * (2 * within * tall * wide + (node.bias is not None)))


def _windows(side: int, extent: int, stride: int, padding: int, dilation: int = 1) -> int:
    """How many windows fit on a side (torch.nn.Conv2d, MaxPool2d)."""
    covered = dilation * (extent - 1) + 1
    need(side + 2 * padding >= covered, f"a padded side of {covered} or more", side + 2 * padding)
    return (side + 2 * padding - covered) // stride + 1


def _linear(node: nodes.Linear, see: Operands) -> Made:
    value = see.floats(least_axes=1)  # a row without axes would give the batch axis as the last
    made, taken = see.parameter(node.weight, 2)
    need(taken == value.shape[-1], f"`{node.weight}` of shape (…, {value.shape[-1]})", (made, taken))
    see.require_parameters((made,), node.bias)
    result = Value((*value.shape[:-1], made))
    return Made(result, result.count * (2 * taken + (node.bias is not None)))


def _batch_norm(node: nodes.BatchNorm, see: Operands) -> Made:
    value = see.floats(least_axes=1)
    see.require_parameters(value.shape[:1], node.weight, node.bias, node.running_mean, node.running_var)
    return Made(value, 4 * value.count)


def _layer_norm(node: nodes.LayerNorm, see: Operands) -> Made:
    value = see.floats()
    need(
        node.dimensions <= len(value.shape),
        f"1 to {len(value.shape)} dimensions: those of a row, never the batch",
        node.dimensions,
    )
    see.require_parameters(value.shape[len(value.shape) - node.dimensions :], node.weight, node.bias)
    return Made(value, 7 * value.count)


def _group_norm(node: nodes.GroupNorm, see: Operands) -> Made:
    value = see.floats(least_axes=1)
    need(value.shape[0] % node.groups == 0, f"{value.shape[0]} channels in groups of one size", f"{node.groups} groups")
    # torch refuses a batch of one row whose groups have one value each, and takes two such rows
    need(value.count // node.groups > 1, "groups of two values or more in a row", f"{node.groups} groups")
    see.require_parameters(value.shape[:1], node.weight, node.bias)
    return Made(value, 7 * value.count)


def _pointwise(node: nodes.Pointwise, see: Operands) -> Made:
    value = see.floats()
    return Made(value, {"relu": 1, "silu": 4, "tanh": 1, "sigmoid": 3}[node.op] * value.count)


def _gelu(_: nodes.Gelu, see: Operands) -> Made:
    value = see.floats()
    return Made(value, 8 * value.count)


def _pool(node: nodes.MaxPool2d | nodes.AvgPool2d, see: Operands) -> Made:
    channels, height, width = see.floats(axes=3).shape
    need(
        all(2 * padding <= extent for padding, extent in zip(node.padding, node.kernel, strict=True)),
        "a padding of at most half the kernel",
        node.padding,
    )
    tall = _windows(height, node.kernel[0], node.stride[0], node.padding[0])
    wide = _windows(width, node.kernel[1], node.stride[1], node.padding[1])
    return Made(Value((channels, tall, wide)), channels * tall * wide * math.prod(node.kernel))


def _adaptive_avg_pool2d(node: nodes.AdaptiveAvgPool2d, see: Operands) -> Made:
    channels, height, width = see.floats(axes=3).shape
    tall, wide = node.size
    window = (height // tall + 2) * (width // wide + 2)  # at most: torch's windows begin and end at whole places
    return Made(Value((channels, tall, wide)), channels * tall * wide * window)


def _flatten(node: nodes.Flatten, see: Operands) -> Made:
    value = see.row()
    place = require_axis(node.start_axis, value)
    return Made(Value((*value.shape[:place], math.prod(value.shape[place:])), value.dtype))


def _reshape(node: nodes.Reshape, see: Operands) -> Made:
    value = see.row()
    need(
        math.prod(node.shape) == value.count,
        f"a row of {value.count} values again: others would mix rows",
        f"shape {node.shape}",
    )
    return Made(Value(node.shape, value.dtype))


def _permute(node: nodes.Permute, see: Operands) -> Made:
    value = see.row()
    need(node.axes[0] == 0, "the batch (0) first", node.axes)
    need(
        sorted(node.axes) == list(range(len(value.shape) + 1)), f"each axis of 0 to {len(value.shape)} once", node.axes
    )
    return Made(Value(tuple(value.shape[axis - 1] for axis in node.axes[1:]), value.dtype))


def _slice(node: nodes.Slice, see: Operands) -> Made:
    value = see.row()
    place = require_axis(node.axis, value)
    need(node.begin < node.end <= value.shape[place], f"places within 0 to {value.shape[place]}", node.end)
    return Made(Value((*value.shape[:place], node.end - node.begin, *value.shape[place + 1 :]), value.dtype))


def _pad(node: nodes.Pad, see: Operands) -> Made:
    value = see.floats()
    need(
        len(node.amounts) == len(value.shape),
        f"a pair for each of {len(value.shape)} axes of a row, none for the batch",
        len(node.amounts),
    )
    sides = zip(value.shape, node.amounts, strict=True)
    return Made(Value(tuple(side + before + behind for side, (before, behind) in sides)))


def _elementwise(_: nodes.Elementwise, see: Operands) -> Made:
    left, right = see.any(0), see.any(1)
    need(left.batched or right.batched, "at least one value that has the batch axis", "two parameters")
    for value in (left, right):
        need(value.dtype == "float32", "float32 (`affine` makes it)", value.dtype)
    if left.batched and right.batched:  # torch aligns shapes at their ends: other ranks would align batch and row
        need(len(left.shape) == len(right.shape), f"rows of {len(left.shape)} axes both", right.shape)
    else:
        row, parameter = (left, right) if left.batched else (right, left)
        need(
            len(parameter.shape) <= len(row.shape),
            f"a parameter of at most {len(row.shape)} axes: with more it would meet the batch",
            parameter.shape,
        )
    result = Value(_broadcast(left.shape, right.shape))
    return Made(result, result.count)


def _broadcast(left: Shape, right: Shape) -> Shape:
    axes = max(len(left), len(right))
    pairs = zip((1,) * (axes - len(left)) + left, (1,) * (axes - len(right)) + right, strict=True)
    result = []
    for one, other in pairs:
        need(one == other or 1 in {one, other}, f"a shape that broadcasts with {left}", right)
        result.append(max(one, other))
    return tuple(result)


def _matmul(_: nodes.Matmul, see: Operands) -> Made:
    left, right = see.floats(0, least_axes=1), see.any(1)
    need(right.dtype == "float32", "float32 (`affine` makes it)", right.dtype)
    if right.batched:
        need(
            len(left.shape) >= 2 and len(left.shape) == len(right.shape),
            "two values of equally many axes, two or more in a row: with less it would multiply along the batch",
            f"{left.shape} and {right.shape}",
        )
        need(left.shape[:-2] == right.shape[:-2], f"leading axes {left.shape[:-2]}", right.shape)
    else:
        need(len(right.shape) == 2, "a parameter of two axes", right.shape)
    need(left.shape[-1] == right.shape[-2], f"{left.shape[-1]} places to multiply along", right.shape)
    result = Value((*left.shape[:-1], right.shape[-1]))
    return Made(result, 2 * left.shape[-1] * result.count)


def _concat(node: nodes.Concat, see: Operands) -> Made:
    first = see.row()
    place = require_axis(node.axis, first)
    around = (first.shape[:place], first.shape[place + 1 :], first.dtype)
    side = 0
    for number in range(len(see)):
        value = see.row(number)
        seen = (value.shape[:place], value.shape[place + 1 :], value.dtype)
        need(seen == around, f"{first.dtype} of shape {first.shape} but for axis {node.axis}", value.shape)
        side += value.shape[place]
    return Made(Value((*around[0], side, *around[1]), first.dtype))


def _embedding(node: nodes.Embedding, see: Operands) -> Made:
    value = see.integers()
    return Made(Value((*value.shape, see.parameter(node.weight, 2)[1])))


def _one_hot(node: nodes.OneHot, see: Operands) -> Made:
    return Made(Value((*see.integers().shape, node.classes)))


def _affine(node: nodes.Affine, see: Operands) -> Made:
    value = see.row()
    need(len(node.scale) == len(node.shift), f"{len(node.scale)} shifts, as there are scales", len(node.shift))
    places = 1 if node.axis is None else value.shape[require_axis(node.axis, value)]
    need(len(node.scale) == places, f"{places} scales (one for each place of `axis`)", len(node.scale))
    return Made(Value(value.shape), 2 * value.count)


def _dropout(_: nodes.Dropout, see: Operands) -> Made:
    return Made(see.floats())


def _softmax(node: nodes.Softmax, see: Operands) -> Made:
    value = see.floats()
    require_axis(node.axis, value)
    return Made(value, 5 * value.count)


def _reduction(node: nodes.Reduction, see: Operands) -> Made:
    value = see.floats()
    places = [require_axis(axis, value) for axis in node.axes]
    need(places == sorted(set(places)), "axes that ascend", node.axes)
    kept = 1 if node.keep else None
    sides = ((kept if place in places else side) for place, side in enumerate(value.shape))
    return Made(Value(tuple(side for side in sides if side is not None)), value.count)


RULES: Final[Mapping[str, Rule]] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "relu": _pointwise,
    "silu": _pointwise,
    "tanh": _pointwise,
    "sigmoid": _pointwise,
    "gelu": _gelu,
    "max_pool2d": _pool,
    "avg_pool2d": _pool,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "flatten": _flatten,
    "reshape": _reshape,
    "permute": _permute,
    "slice": _slice,
    "pad": _pad,
    "add": _elementwise,
    "sub": _elementwise,
    "mul": _elementwise,
    "matmul": _matmul,
    "concat": _concat,
    "embedding": _embedding,
    "one_hot": _one_hot,
    "affine": _affine,
    "dropout": _dropout,
    "softmax": _softmax,
    "log_softmax": _softmax,
    "mean": _reduction,
    "sum": _reduction,
    "amax": _reduction,
}
"""By `op`: the allow-list. An operation without a rule is refused."""

__all__ = ["RULES", "Rule", "RuleError"]
