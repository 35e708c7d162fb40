"""The allow-list: one message for each kind of operation, its attributes typed (side: library).

An axis counts as in torch: 0 is the batch, so that a document *can* name it, and is refused by rules.py where it does.
Shapes and pairs are of rows, without the batch. `inputs` name the graph's `input`, earlier nodes or, where the rules
say so, parameters; other fields of type Name are parameters.
"""

from typing import Annotated, Literal

from pydantic import Field

from common.messages.base import Message
from common.model_graph.parameters import MAX_RANK, Name, Number, Side, Sides

Axis = Annotated[int, Field(ge=0, le=MAX_RANK)]
Extent = Annotated[int, Field(ge=1, le=4096)]
Margin = Annotated[int, Field(ge=0, le=4096)]
Epsilon = Annotated[float, Field(ge=1e-12, le=1.0)]
ExtentPair = tuple[Extent, Extent]
MarginPair = tuple[Margin, Margin]


class _Node(Message):
    op: str
    name: Name
    inputs: tuple[Name, ...]


class _Unary(_Node):
    inputs: tuple[Name]


class _Binary(_Node):
    inputs: tuple[Name, Name]


class Conv2d(_Unary):
    """Rows (channels, height, width); weight (out, channels / groups, kernel height, kernel width)."""

    op: Literal["conv2d"] = "conv2d"
    weight: Name
    bias: Name | None = None
    stride: ExtentPair = (1, 1)
    padding: MarginPair = (0, 0)
    dilation: ExtentPair = (1, 1)
    groups: Extent = 1


class Linear(_Unary):
    """Along the last axis; weight (out, in)."""

    op: Literal["linear"] = "linear"
    weight: Name
    bias: Name | None = None


class BatchNorm(_Unary):
    """Per channel, the first axis of a row: by the batch in training, by its running statistics in inference."""

    op: Literal["batch_norm"] = "batch_norm"
    weight: Name | None = None
    bias: Name | None = None
    running_mean: Name
    running_var: Name
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    epsilon: Epsilon = 1e-5


class LayerNorm(_Unary):
    """Over the last `dimensions` axes of a row."""

    op: Literal["layer_norm"] = "layer_norm"
    dimensions: Annotated[int, Field(ge=1, le=MAX_RANK)] = 1
    weight: Name | None = None
    bias: Name | None = None
    epsilon: Epsilon = 1e-5


class GroupNorm(_Unary):
    """Over groups of channels, the first axis of a row."""

    op: Literal["group_norm"] = "group_norm"
    groups: Side
    weight: Name | None = None
    bias: Name | None = None
    epsilon: Epsilon = 1e-5


class Pointwise(_Unary):
    """An activation function without attributes."""

    op: Literal["relu", "silu", "tanh", "sigmoid"]


class Gelu(_Unary):
    """`tanh` is the approximation of torch's that is called so."""

    op: Literal["gelu"] = "gelu"
    approximate: Literal["none", "tanh"] = "none"


class MaxPool2d(_Unary):
    """Over height and width of (channels, height, width)."""

    op: Literal["max_pool2d"] = "max_pool2d"
    kernel: ExtentPair
    stride: ExtentPair
    padding: MarginPair = (0, 0)


class AvgPool2d(_Unary):
    """Over height and width of (channels, height, width)."""

    op: Literal["avg_pool2d"] = "avg_pool2d"
    kernel: ExtentPair
    stride: ExtentPair
    padding: MarginPair = (0, 0)
    count_padding: bool = True


class AdaptiveAvgPool2d(_Unary):
    """Height and width of the result."""

    op: Literal["adaptive_avg_pool2d"] = "adaptive_avg_pool2d"
    size: ExtentPair


class Flatten(_Unary):
    """Joins the axes from `start_axis` to the last."""

    op: Literal["flatten"] = "flatten"
    start_axis: Axis = 1


class Reshape(_Unary):
    """The row's new shape; the batch axis stays."""

    op: Literal["reshape"] = "reshape"
    shape: Sides


class Permute(_Unary):
    """The axes in their new order, the batch's (0) among them and first."""

    op: Literal["permute"] = "permute"
    axes: Annotated[tuple[Axis, ...], Field(min_length=1, max_length=MAX_RANK + 1)]


class Slice(_Unary):
    """Places `begin` to `end` (not included) of one axis."""

    op: Literal["slice"] = "slice"
    axis: Axis
    begin: Annotated[int, Field(ge=0, le=1 << 24)]
    end: Side


class Pad(_Unary):
    """Before and behind each axis of a row."""

    op: Literal["pad"] = "pad"
    amounts: Annotated[tuple[MarginPair, ...], Field(min_length=1, max_length=MAX_RANK)]
    value: Number = 0.0


class Elementwise(_Binary):
    """Two values, or a value and a parameter, broadcast within rows."""

    op: Literal["add", "sub", "mul"]


class Matmul(_Binary):
    """Of the last two axes; the second may be a parameter (in, out)."""

    op: Literal["matmul"] = "matmul"


class Concat(_Node):
    """Along one axis of the rows."""

    op: Literal["concat"] = "concat"
    inputs: Annotated[tuple[Name, ...], Field(min_length=2, max_length=64)]
    axis: Axis


class Embedding(_Unary):
    """Integers to rows of weight (entries, width); those out of range count as the nearest entry."""

    op: Literal["embedding"] = "embedding"
    weight: Name


class OneHot(_Unary):
    """Integers to ones and zeros along a new last axis; those out of range count as the nearest class."""

    op: Literal["one_hot"] = "one_hot"
    classes: Annotated[int, Field(ge=2, le=1 << 16)]


class Affine(_Unary):
    """Any type to float32, then x scale + shift: one constant each, or one for each place of `axis`."""

    op: Literal["affine"] = "affine"
    scale: Annotated[tuple[Number, ...], Field(min_length=1, max_length=4096)] = (1.0,)
    shift: Annotated[tuple[Number, ...], Field(min_length=1, max_length=4096)] = (0.0,)
    axis: Axis | None = None


class Dropout(_Unary):
    """In training only; the enclave's seed draws."""

    op: Literal["dropout"] = "dropout"
    probability: Annotated[float, Field(ge=0, lt=1)]


class Softmax(_Unary):
    """Along one axis of the rows."""

    op: Literal["softmax", "log_softmax"]
    axis: Axis


class Reduction(_Unary):
    """Over some axes of the rows, ascending; `keep` leaves them with one place each."""

    op: Literal["mean", "sum", "amax"]
    axes: Annotated[tuple[Axis, ...], Field(min_length=1, max_length=MAX_RANK)]
    keep: bool = False


Node = Annotated[
    Conv2d | Linear | BatchNorm | LayerNorm | GroupNorm | Pointwise | Gelu | MaxPool2d | AvgPool2d | AdaptiveAvgPool2d
    | Flatten | Reshape | Permute | Slice | Pad | Elementwise | Matmul | Concat | Embedding | OneHot | Affine | Dropout
    | Softmax | Reduction,
    Field(discriminator="op"),
]  # fmt: skip
