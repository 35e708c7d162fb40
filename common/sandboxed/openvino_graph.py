"""A model graph as an OpenVINO model, made node by node (side: sandbox).

B rows of a batch, X shape of an input row. Nothing of the provider's is read by OpenVINO: no file, no other format; the
graph is JSON that an enclave has checked, its state numbers. Of OpenVINO the native bindings alone are imported, not
its Python: a sandbox has no more of it than common/sandbox/interpreter.py binds.

A batch norm that alone reads a convolution becomes part of its weights. In int8 (`ranges`) values that feed a
convolution or linear map are rounded to 256 steps of their range and weights, symmetrically, to 255 steps of each
output channel's (Jacob et al. 2018, arXiv 1712.05877, section 2; the pattern that OpenVINO's low precision
transformations expect: docs.openvino.ai, "OpenVINO Low Precision Transformations").
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from openvino._pyopenvino import Model, NodeFactory, PartialShape, Type
from openvino._pyopenvino.op import Constant, Parameter

from common.sandboxed.graph_model import INPUT
from common.sandboxed.openvino_operations import OPERATIONS, Value, batch_norm_factors

State = Mapping[str, NDArray[np.float32]]
Ranges = Mapping[str, tuple[float, float]]
"""Lowest and highest value that int8 can hold, by the name of the value."""

LEVELS: Final = 256
WEIGHT_LEVELS: Final = 255
"""-127 to 127: the two ends alike, so that zero is a step."""

LEAST_RANGE: Final = 1e-6
"""Of a value or a channel's weights: one that is zero everywhere still needs steps."""

_FEEDS: Final = ("float32", "uint8", "int32")
_ONE_RESULT: Final = {"MaxPool": "opset1"}
_MOVES: Final = frozenset({"flatten", "reshape", "permute", "slice", "concat"})
_QUANTISED: Final = frozenset({"conv2d", "linear"})


class UnsupportedGraphError(Exception):
    """OpenVINO can't compute this graph exactly as torch does: it stays on eager torch."""


def convert(graph: Mapping[str, Any], state: State, ranges: Ranges | None = None) -> Model:
    """The model, for any number of rows. Raises `UnsupportedGraphError`."""
    unknown = {node["op"] for node in graph["nodes"]} - OPERATIONS.keys()
    if unknown:
        raise UnsupportedGraphError(f"operations {sorted(unknown)}")
    return _Making(graph, state, ranges or {}).model()


def feed_dtype(graph: Mapping[str, Any]) -> str:
    """What the input is given as: float32, uint8 or int32. Raises `UnsupportedGraphError`.

    int64 becomes int32 within int32's bounds, which changes no choice of an embedding or one-hot, but would change a
    number that is computed with.
    """
    dtype: str = graph["input"]["dtype"]
    if dtype in _FEEDS:
        return dtype
    if dtype == "float64":  # before any arithmetic the graph makes it float32 anyway
        return "float32"
    if dtype == "bool":
        return "uint8"
    if dtype == "int64" and _is_computed_with(graph):
        raise UnsupportedGraphError("int64 that is computed with")
    return "int32"


def fed(rows_BX: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Rows as the bindings take them: C-contiguous and writable."""
    if rows_BX.dtype == np.int64:
        bounds = np.iinfo(np.int32)
        rows_BX = rows_BX.clip(bounds.min, bounds.max)
    fed_BX = np.asarray(rows_BX, dtype=dtype, order="C")
    return fed_BX if fed_BX.flags.writeable else fed_BX.copy()  # the bindings take no view of read-only memory


def _is_computed_with(graph: Mapping[str, Any]) -> bool:
    """Whether an integer input reaches `affine`, moved about or not."""
    integers = {INPUT}
    for node in graph["nodes"]:
        if integers.intersection(node["inputs"]):
            if node["op"] == "affine":
                return True
            if node["op"] in _MOVES:
                integers.add(node["name"])
    return False


def quantised_values(graph: Mapping[str, Any]) -> list[str]:
    """The values that int8 needs ranges of: what convolutions and linear maps read, and one convolution of two that are
    added, since OpenVINO adds the other one's result to it while both are integers (a residual block that narrows).
    """
    norm_of, wanted = _foldable(graph), set[str]()
    convolved = {node["name"] for node in graph["nodes"] if node["op"] == "conv2d"}
    convolved |= {norm["name"] for norm in norm_of.values()}
    for node in graph["nodes"]:
        if node["op"] in _QUANTISED:
            wanted.add(node["inputs"][0])
        elif node["op"] == "add" and convolved.issuperset(node["inputs"]):
            wanted.add(node["inputs"][1])
    return [name for name in (INPUT, *(node["name"] for node in graph["nodes"])) if name in wanted]


def ranged_values(graph: Mapping[str, Any]) -> list[str]:
    """The values that ranges are kept of, in their order: the input, whose range says what rows are like, then those
    of `quantised_values`.
    """
    return [INPUT, *(name for name in quantised_values(graph) if name != INPUT)]


def named_ranges(graph: Mapping[str, Any], ranges: Sequence[tuple[float, float]]) -> Ranges:
    """Ranges in the order of `ranged_values`, by name. Raises `ValueError` where they are of another graph."""
    return dict(zip(ranged_values(graph), ranges, strict=True))


class _Making:
    """One conversion; the `Maker` of openvino_operations.py."""

    def __init__(self, graph: Mapping[str, Any], state: State, ranges: Ranges) -> None:
        self._graph, self._state = graph, state
        self._ranges = {name: ranges[name] for name in quantised_values(graph) if name in ranges}
        self._factories = {name: NodeFactory(name) for name in ("opset13", "opset1")}
        self._norm_of = _foldable(graph)

    def model(self) -> Model:
        graph = self._graph
        shape = PartialShape([-1, *graph["input"]["shape"]])
        parameter = Parameter(getattr(Type, _TYPES[feed_dtype(graph)]), shape)
        values: dict[str, Value] = {INPUT: self._stepped(INPUT, parameter.output(0))}
        for node in graph["nodes"]:
            inputs = [values[name] if name in values else self.constant(self._state[name]) for name in node["inputs"]]
            name = node["name"]
            values[name] = self._stepped(name, OPERATIONS[node["op"]](self, node, *inputs))
        return Model([values[graph["output"]]], [parameter], "graph")

    def make(self, kind: str, inputs: Sequence[Value], attributes: Mapping[str, Any] | None = None) -> Value:
        factory = self._factories[_ONE_RESULT.get(kind, "opset13")]
        return factory.create(kind, list(inputs), dict(attributes or {})).output(0)

    def constant(self, values: Any, dtype: type = np.float32) -> Value:
        return Constant(np.array(values, dtype=dtype, order="C")).output(0)

    def parameter(self, name: str) -> NDArray[np.float32]:
        return self._state[name]

    def affine_of(self, node: Mapping[str, Any]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        weight = self._state[node["weight"]]
        bias = None if node["bias"] is None else self._state[node["bias"]]
        norm = self._norm_of.get(node["name"])
        if norm is None:
            return weight, bias
        scale, shift = batch_norm_factors(self, norm)
        folded = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
        return folded, shift if bias is None else bias * scale + shift

    def is_folded(self, node: Mapping[str, Any]) -> bool:
        return node["inputs"][0] in self._norm_of

    def weight(self, node: Mapping[str, Any], weight: NDArray[np.float32], kept_axes: int) -> Value:
        value = self.constant(weight)
        if node["inputs"][0] not in self._ranges:
            return value
        axes = tuple(range(kept_axes, weight.ndim))
        high = np.maximum(np.abs(weight).max(axis=axes, keepdims=True), LEAST_RANGE)
        return self._rounded(value, -high, high, WEIGHT_LEVELS)

    def _stepped(self, name: str, value: Value) -> Value:
        """In int8, a value as the steps of its range."""
        if name not in self._ranges:
            return value
        low, high = self._ranges[name]
        return self._rounded(value, low, high, LEVELS)

    def _rounded(self, value: Value, low: Any, high: Any, levels: int) -> Value:
        ends = [self.constant(low), self.constant(high)]
        return self.make("FakeQuantize", [value, *ends, *ends], {"levels": levels, "auto_broadcast": "NUMPY"})


_TYPES: Final = {"float32": "f32", "uint8": "u8", "int32": "i32"}


def _foldable(graph: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Batch norms by the convolution that only they read."""
    readers: dict[str, int] = {graph["output"]: 1}
    for node in graph["nodes"]:
        for name in node["inputs"]:
            readers[name] = readers.get(name, 0) + 1
    convolutions = {node["name"] for node in graph["nodes"] if node["op"] == "conv2d" and readers[node["name"]] == 1}
    norms = (node for node in graph["nodes"] if node["op"] == "batch_norm")
    return {node["inputs"][0]: node for node in norms if node["inputs"][0] in convolutions}
