"""An ONNX file becomes a graph, through the onnx package (side: owner).

In this order, each step raises `FormatError` (format.design):
  (1) size; the file is an ONNX model that onnx's checker takes, with nothing outside the file;
  (2) one input whose first axis is free, the rows, and one output;
  (3) each node is of the standard domain and is mapped to the allow-list (onnx_operators.py), and checked by its rule.
Not compared with the file's own answers: nothing here can run them.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper

from client.graph_conversion.building import Converted, GraphBuilder, not_allowed
from client.graph_conversion.onnx_operators import OPERATORS, OnnxCall, Sizes
from common.errors import FormatError
from common.model_graph.checking import refused
from common.model_graph.graph import INPUT, GraphInput

MAX_FILE_BYTES: Final = 2 << 30
"""protobuf's own limit for a message, which a model without external data is."""

LEAST_OPSET: Final = 13
"""Before it, Softmax and LogSoftmax took several axes together (ONNX changelog, Softmax-13)."""

_DTYPES: Final[dict[int, str]] = {
    onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.DOUBLE: "float64", onnx.TensorProto.BOOL: "bool",
    onnx.TensorProto.UINT8: "uint8", onnx.TensorProto.INT8: "int8", onnx.TensorProto.INT16: "int16",
    onnx.TensorProto.INT32: "int32", onnx.TensorProto.INT64: "int64",
}  # fmt: skip


def convert_onnx(path: Path) -> Converted:
    """The graph and weights of an ONNX file. Raises `FormatError` (format.design) with the place in it."""
    if path.stat().st_size >= MAX_FILE_BYTES:
        raise refused("file", f"less than {MAX_FILE_BYTES} bytes", path.stat().st_size)
    try:
        model = onnx.load_from_string(path.read_bytes())
        _require_whole(model)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as cause:
        words = str(cause).strip().splitlines() or [type(cause).__name__]
        raise FormatError("format.design", expected="an ONNX model", seen=words[0][:300]) from cause
    return _Conversion(model.graph).run()


def _require_whole(model: onnx.ModelProto) -> None:
    """Tensors outside the file would be read from a path that the file names."""
    nodes = [one for node in model.graph.node for one in node.attribute]
    for tensor in (*model.graph.initializer, *(one.t for one in nodes if one.HasField("t"))):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise refused(f"tensor `{tensor.name}`", "values within the file", "a path outside it")
    versions = [one.version for one in model.opset_import if one.domain in {"", "ai.onnx"}]
    if not versions or min(versions) < LEAST_OPSET:
        raise refused("file", f"operator set {LEAST_OPSET} or later", versions)
    if model.functions or model.graph.sparse_initializer or model.training_info:
        raise refused("file", "no functions, sparse tensors or training information", "one of them")


class _Conversion:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._arrays: dict[str, NDArray[Any]] = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        self._names: dict[str, str] = {}
        self._sizes: dict[str, Sizes] = {}
        inputs = [one for one in graph.input if one.name not in self._arrays]
        if len(inputs) != 1 or len(graph.output) != 1:  # (2)
            raise refused("file", "one input and one output", f"{len(inputs)} and {len(graph.output)}")
        self._names[inputs[0].name] = INPUT
        self._build = GraphBuilder(_rows_of(inputs[0]))

    def run(self) -> Converted:
        for number, node in enumerate(self._graph.node):
            self._map(node, f"node {number} `{node.name}` ({node.op_type})")  # (3)
        output = self._graph.output[0].name
        if output not in self._names:
            raise refused("output", "a value that the input is needed for", f"`{output}`")
        return self._build.finish(self._names[output])

    def _map(self, node: onnx.NodeProto, where: str) -> None:
        if node.domain not in {"", "ai.onnx"}:
            raise not_allowed(where, f"an operator of domain `{node.domain}`")
        if node.op_type not in OPERATORS:
            raise not_allowed(where, node.op_type)
        attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        call = OnnxCall(
            self._build, where, node.name or node.output[0], attributes, list(node.input), self._names, self._arrays,
            self._sizes, [one for one in node.output if one],
        )  # fmt: skip
        made = OPERATORS[node.op_type](call)
        place: Any = self._names if isinstance(made, str) else self._sizes
        place = self._arrays if isinstance(made, np.ndarray) else place
        place[node.output[0]] = made


def _rows_of(given: onnx.ValueInfoProto) -> GraphInput:
    tensor = given.type.tensor_type
    where, sides = f"input `{given.name}`", list(tensor.shape.dim)
    if not sides or sides[0].HasField("dim_value"):
        raise refused(where, "a first axis of any size: the rows", "one size")
    if any(not side.HasField("dim_value") or side.dim_value < 1 for side in sides[1:]):
        raise refused(where, "rows of one shape", "an axis of any size within them")
    if tensor.elem_type not in _DTYPES:
        raise refused(where, sorted(_DTYPES.values()), onnx.TensorProto.DataType.Name(tensor.elem_type))
    shape = tuple(side.dim_value for side in sides[1:])
    return GraphInput.model_validate({"shape": shape, "dtype": _DTYPES[tensor.elem_type]})
