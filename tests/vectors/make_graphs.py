"""Graphs with what they cost and answer, and documents that are refused (side: library).

The answers come from plain loops over Python numbers here, which share no code with the product.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from tests.vectors.vector_file import VectorFile

_SOURCE: Final = "documents written here; answers by plain loops, which import nothing of the product"

_DENSE: Final[dict[str, Any]] = {
    "type": "model-graph",
    "version": 1,
    "input": {"shape": [2], "dtype": "uint8"},
    "parameters": [
        {"name": "w", "shape": [2, 2], "initial": {"kind": "xavier_normal"}},
        {"name": "b", "shape": [2], "initial": {"kind": "zeros"}},
    ],
    "nodes": [
        {"op": "affine", "name": "x", "inputs": ["input"], "scale": [0.5], "shift": [-1.0]},
        {"op": "linear", "name": "y", "inputs": ["x"], "weight": "w", "bias": "b"},
        {"op": "relu", "name": "z", "inputs": ["y"]},
    ],
    "output": "z",
}
_CONV: Final[dict[str, Any]] = {
    "type": "model-graph",
    "version": 1,
    "input": {"shape": [1, 3, 3], "dtype": "float32"},
    "parameters": [
        {"name": "w", "shape": [1, 1, 2, 2], "initial": {"kind": "kaiming_normal"}},
        {"name": "mean", "shape": [1], "initial": {"kind": "zeros"}, "trained": False},
        {"name": "var", "shape": [1], "initial": {"kind": "ones"}, "trained": False},
    ],
    "nodes": [
        {"op": "conv2d", "name": "c", "inputs": ["input"], "weight": "w"},
        {"op": "batch_norm", "name": "n", "inputs": ["c"], "running_mean": "mean", "running_var": "var"},
        {"op": "mean", "name": "m", "inputs": ["n"], "axes": [2, 3]},
    ],
    "output": "m",
}


def graph_files() -> Iterator[VectorFile]:
    """model_graph/graphs.json."""
    file = VectorFile("model_graph/graphs.json", "model graph: `document` is JSON", 26, _SOURCE)
    dense_state, dense_rows = [1.0, -2.0, 0.5, 0.25, 0.125, -0.5], [[2, 8], [0, 255]]
    file.add(
        "dense", document=json.dumps(_DENSE), state=dense_state, rows=dense_rows,
        answers=[_dense(dense_state, row) for row in dense_rows], flops_per_row=4 + 10 + 2,
        activation_bytes_per_row=2 + 3 * 8, answer_shape=[2],
    )  # fmt: skip
    conv_state = [1.0, 0.5, -1.0, 2.0, 0.25, 4.0]
    conv_rows = [[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 10.0]]]]
    file.add(
        "convolution and running statistics", document=json.dumps(_CONV), state=conv_state, rows=conv_rows,
        answers=[[_conv(conv_state, row[0])] for row in conv_rows], flops_per_row=4 * 8 + 4 * 4 + 4,
        activation_bytes_per_row=36 + 16 + 16 + 4, answer_shape=[1],
    )  # fmt: skip
    yield _with_refused(file)


def _dense(state: list[float], row: list[int]) -> list[float]:
    x = [0.5 * one - 1.0 for one in row]
    return [max(0.0, state[2 * o] * x[0] + state[2 * o + 1] * x[1] + state[4 + o]) for o in range(2)]


def _conv(state: list[float], plane: list[list[float]]) -> float:
    (a, b, c, d), mean, var = state[:4], state[4], state[5]
    total = 0.0
    for i in range(2):
        for j in range(2):
            seen = a * plane[i][j] + b * plane[i][j + 1] + c * plane[i + 1][j] + d * plane[i + 1][j + 1]
            total += (seen - mean) / (var + 1e-5) ** 0.5
    return total / 4


def _with_refused(file: VectorFile) -> VectorFile:
    def refused(title: str, base: dict[str, Any], node: int | None = None, **changes: Any) -> None:
        document = json.loads(json.dumps(base))
        place = document if node is None else document["nodes"][node]
        place |= changes
        file.add(title, "format.design", document=json.dumps(document))

    refused("another version", _DENSE, version=2)
    refused("an unknown field", _DENSE, more=1)
    refused("an operation outside the allow-list", _DENSE, 2, op="cumsum")
    refused("an attribute of another operation", _DENSE, 2, axis=1)
    refused("a node before what it reads", _DENSE, 0, inputs=["z"])
    refused("a name twice", _DENSE, 2, name="y")
    refused("an output that is none", _DENSE, output="input")
    refused("a node that nothing reads", _DENSE, output="y")
    refused("a weight of another shape", _DENSE, 1, weight="b")
    refused("softmax over the batch", _DENSE, 2, op="softmax", axis=0)
    refused("mean over the batch", _CONV, 2, axes=[0])
    refused("permute of the batch", _DENSE, 2, op="permute", axes=[1, 0])
    refused("a row of fewer values", _DENSE, 2, op="reshape", shape=[1])
    refused("statistics of the batch", _CONV, 1, running_mean=None)
    refused("one tensor for both statistics", _CONV, 1, running_var="mean")
    trained = json.loads(json.dumps(_CONV))
    trained["parameters"][1]["trained"] = True
    file.add("statistics that are trained", "format.design", document=json.dumps(trained))
    file.add("nested too deeply", "format.design", document="[" * 13 + "]" * 13)
    return file
