"""What each ATen operation becomes (side: sandbox).

Axes are given to the graph's rules as they are, 0 included: whether an operation keeps rows apart is decided there
(common/model_graph/rules.py), not here. Where a torch function has options that the allow-list lacks, the function here
refuses them.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from common.sandboxed.graph_writing import INTEGERS, ExportError, Writer


@dataclass(frozen=True)
class Call:
    """One call of an exported program: arguments by name; tensors among them are names of the graph's values.

    `shape`: of the result, its batch axis as "batch" where it is the input's; `dtype`: of the result.
    """

    build: Writer
    where: str
    name: str
    arguments: Mapping[str, Any]
    shape: tuple[int | str, ...]
    dtype: str
    dropout: float | None = field(default=None)

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def add(self, op: str, *inputs: str, **fields: Any) -> str:
        return self.build.add(self.where, op, *inputs, name=self.name, **fields)

    def affine(self, given: str, scale: float, shift: float = 0.0) -> str:
        """x scale + shift, in float32."""
        self.require(self.dtype == "float32", "a result of float32", self.dtype)
        return self.add("affine", given, scale=(float(scale),), shift=(float(shift),), axis=None)

    def require(self, fulfilled: bool, expected: object, seen: object) -> None:
        """Raise `ExportError` unless it is fulfilled."""
        if not fulfilled:
            raise ExportError(self.where, expected, seen)

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Of a row, or of a parameter."""
        return self.build.shape_of(name)

    def require_floats(self, name: str) -> None:
        """Refuse arithmetic of integers, which wraps around in torch and does not as float32."""
        seen = self.build.dtype_of(name) if self.build.is_row(name) else "float32"
        self.require(seen == "float32", "float32 values, by `.float()` before", seen)

    def axis(self, axis: int, name: str) -> int:
        """Counted from the front, the batch's as 0."""
        return int(axis % (len(self.shape_of(name)) + self.build.is_row(name)))


Rule = Callable[[Call], str]


def _same(call: Call) -> str:
    call.require(not call.arguments.get("train"), "a dropout that is over in evaluation mode", "one that goes on")
    if call.dropout is not None:
        return call.add("dropout", call["self"], probability=call.dropout)
    return str(call["self"])


def _conv2d(call: Call) -> str:
    padding, kernel = call["padding"], call.shape_of(call["weight"])[2:]
    if isinstance(padding, str):
        full = [step * (side - 1) for step, side in zip(call["dilation"], kernel, strict=True)]
        even = padding == "valid" or not any(side % 2 for side in full)
        call.require(even, "a padding that is equal on both sides", padding)
        padding = [0, 0] if padding == "valid" else [side // 2 for side in full]
    return call.add(
        "conv2d", call["input"], weight=call["weight"], bias=call["bias"], stride=_pair(call["stride"]),
        padding=_pair(padding), dilation=_pair(call["dilation"]), groups=call["groups"],
    )  # fmt: skip


def _linear(call: Call) -> str:
    return call.add("linear", call["input"], weight=call["weight"], bias=call["bias"])


def _batch_norm(call: Call) -> str:
    call.require(not call.arguments.get("training"), "a batch norm in evaluation mode", "one that takes the batch's")
    statistics = {name: call[name] for name in ("running_mean", "running_var")}
    call.require(None not in statistics.values(), "running statistics", "a batch norm without them")
    return call.add(
        "batch_norm", call["input"], weight=call["weight"], bias=call["bias"], momentum=call["momentum"],
        epsilon=call["eps"], **statistics,
    )  # fmt: skip


def _batch_norm_of_batch(call: Call) -> str:
    raise ExportError(call.where, "a batch norm in evaluation mode", "one that takes the statistics of the batch")


def _layer_norm(call: Call) -> str:
    shape = tuple(call["normalized_shape"])
    fields = {"weight": call["weight"], "bias": call["bias"], "epsilon": call["eps"]}
    return call.add("layer_norm", call["input"], dimensions=len(shape), **fields)


def _group_norm(call: Call) -> str:
    fields = {"weight": call["weight"], "bias": call["bias"], "epsilon": call["eps"]}
    return call.add("group_norm", call["input"], groups=call["num_groups"], **fields)


def _pointwise(op: str) -> Rule:
    return lambda call: call.add(op, call["self"])


def _gelu(call: Call) -> str:
    return call.add("gelu", call["self"], approximate=call["approximate"])


def _max_pool2d(call: Call) -> str:
    call.require(set(_pair(call["dilation"])) == {1} and not call["ceil_mode"], "no dilation, no ceil mode", "either")
    return call.add("max_pool2d", call["self"], **_windows(call))


def _avg_pool2d(call: Call) -> str:
    plain = not call["ceil_mode"] and call["divisor_override"] is None
    call.require(plain, "no ceil mode, no divisor of its own", "either")
    return call.add("avg_pool2d", call["self"], count_padding=call["count_include_pad"], **_windows(call))


def _windows(call: Call) -> dict[str, Any]:
    kernel = _pair(call["kernel_size"])
    stride = _pair(call["stride"]) if call["stride"] else kernel
    return {"kernel": kernel, "stride": stride, "padding": _pair(call["padding"])}


def _adaptive_avg_pool2d(call: Call) -> str:
    return call.add("adaptive_avg_pool2d", call["self"], size=_pair(call["output_size"]))


def _reshaped(call: Call) -> str:
    """Whatever only gives the values of a row another shape."""
    call.require(call.shape[:1] == ("batch",), "the batch axis first, as it was", call.shape)
    row = call.shape[1:]
    if row == call.shape_of(call["self"]):
        return str(call["self"])
    return call.add("reshape", call["self"], shape=row)


def _transpose(call: Call) -> str:
    given = call["self"]
    first, second = (call.axis(call[name], given) for name in ("dim0", "dim1"))
    axes = list(range(len(call.shape_of(given)) + 1))
    axes[first], axes[second] = axes[second], axes[first]
    return call.add("permute", given, axes=tuple(axes))


def _t(call: Call) -> str:
    call.require(call.build.is_row(call["self"]), "a value that depends on the input", "a parameter, transposed")
    return call.add("permute", call["self"], axes=tuple(range(len(call.shape_of(call["self"])), -1, -1)))


def _permute(call: Call) -> str:
    given = call["self"]
    return call.add("permute", given, axes=tuple(call.axis(axis, given) for axis in call["dims"]))


def _slice(call: Call) -> str:
    given = call["self"]
    axis = call.axis(call["dim"], given)
    if call["step"] != 1:
        return _every(call, axis)
    if axis == 0:
        whole = call["start"] in {None, 0} and (call["end"] is None or call["end"] >= 2**31)
        call.require(whole, "all rows", "a slice of the batch")
        return str(given)
    side = call.shape_of(given)[axis - 1]
    begin, end = (_place(call[name], side, rest) for name, rest in (("start", 0), ("end", side)))
    return given if (begin, end) == (0, side) else call.add("slice", given, axis=axis, begin=begin, end=end)


def _every(call: Call, axis: int) -> str:
    """Every so many places of height or width: windows of one place, so far apart."""
    given, step = call["self"], call["step"]
    whole = call["start"] in {None, 0} and (call["end"] is None or call["end"] >= 2**31)
    fits = whole and len(call.shape_of(given)) == 3 and axis in {2, 3}
    call.require(fits, "steps of 1, or all of the height or width of (channels, height, width)", f"step {step}")
    stride = (step, 1) if axis == 2 else (1, step)
    return call.add("max_pool2d", given, kernel=(1, 1), stride=stride, padding=(0, 0))


def _select(call: Call) -> str:
    given = call["self"]
    axis = call.axis(call["dim"], given)
    call.require(axis != 0, "an axis within the rows", "one row of the batch")
    place = _place(call["index"], call.shape_of(given)[axis - 1], 0)
    chosen = call.add("slice", given, axis=axis, begin=place, end=place + 1)
    shape = call.shape_of(given)
    return call.add("reshape", chosen, shape=(*shape[: axis - 1], *shape[axis:]))


def _place(place: int | None, side: int, otherwise: int) -> int:
    if place is None:
        return otherwise
    return max(0, place + side if place < 0 else min(place, side))


def _pad(call: Call) -> str:
    call.require(call.arguments.get("mode", "constant") == "constant", "padding with a constant", call["mode"])
    sides, shape = list(call["pad"]), call.shape_of(call["self"])
    pairs = [(sides[place], sides[place + 1]) for place in range(0, len(sides), 2)][::-1]
    call.require(min(sides) >= 0, "padding, not cutting", sides)
    amounts = ((0, 0),) * (len(shape) - len(pairs)) + tuple(pairs)
    return call.add("pad", call["self"], amounts=amounts, value=float(call["value"] or 0))


def _elementwise(op: str, call: Call) -> str:
    left, right = call["self"], call["other"]
    call.require(call.arguments.get("alpha", 1) == 1, "an alpha of 1", call.arguments.get("alpha"))
    call.require_floats(left)
    if isinstance(right, int | float):
        factor, summand = {"add": (1.0, right), "sub": (1.0, -right), "mul": (right, 0.0)}[op]
        return call.affine(left, factor, summand)
    return call.add(op, left, right)


def _div(call: Call) -> str:
    divisor = call["other"]
    call.require(isinstance(divisor, int | float) and divisor != 0, "division by a constant", "by a tensor")
    return call.affine(call["self"], 1.0 / divisor)


def _neg(call: Call) -> str:
    call.require_floats(call["self"])
    return call.affine(call["self"], -1.0)


def _pow(call: Call) -> str:
    call.require(call["exponent"] == 2, "squares", f"exponent {call['exponent']}")
    return call.add("mul", call["self"], call["self"])


def _matmul(call: Call) -> str:
    return call.add("matmul", call["self"], call.arguments.get("other", call.arguments.get("mat2")))


def _attention(call: Call) -> str:
    """softmax(q k^T x scale) v (Vaswani et al. 2017, arXiv 1706.03762), without a mask."""
    plain = call["attn_mask"] is None and not call["is_causal"] and not call["dropout_p"] and not call["enable_gqa"]
    call.require(plain, "attention without mask, causal order, dropout or groups", "one of them")
    query, key, value = call["query"], call["key"], call["value"]
    axes = list(range(len(call.shape_of(key)) + 1))
    axes[-1], axes[-2] = axes[-2], axes[-1]
    scale = call["scale"] or 1 / math.sqrt(call.shape_of(query)[-1])
    scores = call.add("matmul", query, call.add("permute", key, axes=tuple(axes)))
    scaled = call.affine(scores, scale)
    return call.add("matmul", call.add("softmax", scaled, axis=len(axes) - 1), value)


def _cat(call: Call) -> str:
    parts: Sequence[str] = call["tensors"]
    return call.add("concat", *parts, axis=call.axis(call["dim"], parts[0])) if len(parts) > 1 else parts[0]


def _embedding(call: Call) -> str:
    return call.add("embedding", call["indices"], weight=call["weight"])


def _one_hot(call: Call) -> str:
    call.require(call["num_classes"] > 0, "a stated number of classes", call["num_classes"])
    return call.add("one_hot", call["self"], classes=call["num_classes"])


def _cast(call: Call) -> str:
    given, wanted = call["self"], call.arguments.get("dtype")
    seen, name = call.build.dtype_of(given), "as it was" if wanted is None else str(wanted).removeprefix("torch.")
    if wanted is None or name == seen or (name == "int64" and seen in INTEGERS):
        return str(given)
    call.require(name == "float32", "a cast to float32", f"{seen} to {name}")
    return call.affine(given, 1.0)


def _softmax(op: str, call: Call) -> str:
    return call.add(op, call["self"], axis=call.axis(call["dim"], call["self"]))


def _reduction(op: str, call: Call) -> str:
    given = call["self"]
    every = range(len(call.shape_of(given)) + 1)
    axes = sorted(call.axis(axis, given) for axis in call.arguments.get("dim") or every)
    keep = bool(call.arguments.get("keepdim", False))
    return call.add(op, given, axes=tuple(axes), keep=keep)


def _pair(sides: Any) -> tuple[int, int]:
    both = [sides, sides] if isinstance(sides, int) else list(sides)
    return (both[0], both[-1])


def _of(rule: Callable[[str, Call], str], op: str) -> Rule:
    return functools.partial(rule, op)


ATEN: Final[Mapping[str, Rule]] = {
    "aten.alias.default": _same,
    "aten.clone.default": _same,
    "aten.contiguous.default": _same,
    "aten.detach.default": _same,
    "aten.dropout.default": _same,
    "aten.lift_fresh_copy.default": _same,
    "aten.conv2d.default": _conv2d,
    "aten.conv2d.padding": _conv2d,
    "aten.linear.default": _linear,
    "aten._native_batch_norm_legit_no_training.default": _batch_norm,
    "aten.batch_norm.default": _batch_norm,
    "aten._native_batch_norm_legit.default": _batch_norm_of_batch,
    "aten._native_batch_norm_legit.no_stats": _batch_norm_of_batch,
    "aten._native_batch_norm_legit_functional.default": _batch_norm_of_batch,
    "aten.layer_norm.default": _layer_norm,
    "aten.native_layer_norm.default": _layer_norm,
    "aten.group_norm.default": _group_norm,
    "aten.relu.default": _pointwise("relu"),
    "aten.silu.default": _pointwise("silu"),
    "aten.tanh.default": _pointwise("tanh"),
    "aten.sigmoid.default": _pointwise("sigmoid"),
    "aten.gelu.default": _gelu,
    "aten.max_pool2d.default": _max_pool2d,
    "aten.max_pool2d_with_indices.default": _max_pool2d,
    "aten.avg_pool2d.default": _avg_pool2d,
    "aten.adaptive_avg_pool2d.default": _adaptive_avg_pool2d,
    "aten._adaptive_avg_pool2d.default": _adaptive_avg_pool2d,
    "aten.view.default": _reshaped,
    "aten._unsafe_view.default": _reshaped,
    "aten.reshape.default": _reshaped,
    "aten.flatten.using_ints": _reshaped,
    "aten.unflatten.int": _reshaped,
    "aten.unsqueeze.default": _reshaped,
    "aten.squeeze.dim": _reshaped,
    "aten.squeeze.dims": _reshaped,
    "aten.transpose.int": _transpose,
    "aten.t.default": _t,
    "aten.permute.default": _permute,
    "aten.slice.Tensor": _slice,
    "aten.select.int": _select,
    "aten.pad.default": _pad,
    "aten.constant_pad_nd.default": _pad,
    "aten.add.Tensor": _of(_elementwise, "add"),
    "aten.sub.Tensor": _of(_elementwise, "sub"),
    "aten.mul.Tensor": _of(_elementwise, "mul"),
    "aten.div.Tensor": _div,
    "aten.neg.default": _neg,
    "aten.pow.Tensor_Scalar": _pow,
    "aten.matmul.default": _matmul,
    "aten.bmm.default": _matmul,
    "aten.mm.default": _matmul,
    "aten.scaled_dot_product_attention.default": _attention,
    "aten.cat.default": _cat,
    "aten.embedding.default": _embedding,
    "aten.one_hot.default": _one_hot,
    "aten._to_copy.default": _cast,
    "aten.to.dtype": _cast,
    "aten.softmax.int": _of(_softmax, "softmax"),
    "aten._softmax.default": _of(_softmax, "softmax"),
    "aten.log_softmax.int": _of(_softmax, "log_softmax"),
    "aten._log_softmax.default": _of(_softmax, "log_softmax"),
    "aten.mean.dim": _of(_reduction, "mean"),
    "aten.mean.default": _of(_reduction, "mean"),
    "aten.sum.dim_IntList": _of(_reduction, "sum"),
    "aten.sum.default": _of(_reduction, "sum"),
    "aten.amax.default": _of(_reduction, "amax"),
}
"""By the name that torch.export gives it."""
