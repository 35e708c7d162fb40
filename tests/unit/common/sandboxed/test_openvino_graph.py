"""common/sandboxed/openvino_graph: OpenVINO computes what torch computes, and refuses what it can't."""

import itertools
import json
from typing import Any

import numpy as np
import pytest

from common.model_graph.rules import RULES
from common.sandboxed.engine_choice import difference
from common.sandboxed.engine_report import EngineKind
from common.sandboxed.engines import EagerEngine
from common.sandboxed.model_state import flatten_state
from common.sandboxed.openvino_engine import OpenVinoEngine
from common.sandboxed.openvino_graph import UnsupportedGraphError, convert, fed, feed_dtype
from common.sandboxed.openvino_operations import OPERATIONS
from tests.fakes.random_graphs import model_of, random_graph, rows_for

ROWS = 3


def graph_of(dtype: str, shape: list[int], *nodes: dict[str, Any]) -> dict[str, Any]:
    return {"input": {"dtype": dtype, "shape": shape}, "parameters": [], "nodes": list(nodes),
            "output": nodes[-1]["name"]}  # fmt: skip


def affine(name: str, given: str, scale: float = 1.0) -> dict[str, Any]:
    return {"op": "affine", "name": name, "inputs": [given], "scale": [scale], "shift": [0.0], "axis": None}


def test_it_knows_the_whole_allow_list() -> None:
    assert set(OPERATIONS) == set(RULES)


def test_random_graphs_over_the_whole_allow_list_answer_as_in_torch() -> None:
    seen: set[str] = set()
    compared = 0
    for seed in itertools.count():
        graph = random_graph(seed, 8)
        new = {node.op for node in graph.nodes} - seen
        if seen == set(RULES) and compared >= 60:
            break
        if not new and seen != set(RULES):
            continue
        document = json.loads(graph.encode())
        state_P = flatten_state(model_of(graph, seed)) if graph.parameters else np.empty(0, np.float32)
        rows = rows_for(graph, ROWS, seed).numpy()
        try:
            engine = OpenVinoEngine(EngineKind.OPENVINO_FP32, document, state_P)
        except UnsupportedGraphError:
            assert graph.input.dtype == "int64"
            continue
        seen |= new
        compared += 1
        wanted = EagerEngine(document, state_P).answer(rows)
        got = engine.answer(rows)
        assert got.shape == wanted.shape
        scale = max(1.0, float(np.abs(wanted).max()))
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4 * scale, err_msg=graph.encode().decode())


@pytest.mark.parametrize("op", ["conv3d", "cumsum"])
def test_another_operation_is_unsupported(op: str) -> None:
    with pytest.raises(UnsupportedGraphError):
        convert(graph_of("float32", [2], {"op": op, "name": "n", "inputs": ["input"]}), {})


def test_int64_is_chosen_with_and_not_computed_with() -> None:
    moved = {"op": "flatten", "name": "moved", "inputs": ["input"], "start_axis": 1}
    hot = {"op": "one_hot", "name": "hot", "inputs": ["moved"], "classes": 3}
    assert feed_dtype(graph_of("int64", [2], moved, hot)) == "int32"
    with pytest.raises(UnsupportedGraphError):
        feed_dtype(graph_of("int64", [2], moved, affine("out", "moved")))
    engine = OpenVinoEngine(EngineKind.OPENVINO_FP32, graph_of("int64", [2], moved, hot), np.empty(0, np.float32))
    ends = np.array([[-(1 << 62), 1 << 62], [1, 0]])
    assert engine.answer(ends).argmax(-1).tolist() == [[0, 2], [1, 0]]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "int32", "float32", "float64"])
def test_each_type_comes_through_at_its_ends(dtype: str) -> None:
    graph = graph_of(dtype, [2], affine("out", "input", 0.5))
    ends = [0, 1] if dtype == "bool" else [-1000.25, 7.5]
    if dtype not in {"bool", "float32", "float64"}:
        ends = [np.iinfo(dtype).min, np.iinfo(dtype).max]
    rows = np.array([ends], dtype)
    state_P = np.empty(0, np.float32)
    engine = OpenVinoEngine(EngineKind.OPENVINO_FP32, graph, state_P)
    assert difference(engine.answer(rows), rows.astype(np.float32) * np.float32(0.5)) < 1e-6


def test_rows_from_a_read_only_window_are_taken() -> None:
    rows = np.frombuffer(np.arange(4, dtype=np.float32).tobytes(), np.float32).reshape(2, 2)
    engine = OpenVinoEngine(EngineKind.OPENVINO_FP32, graph_of("float32", [2], affine("out", "input", 2.0)), rows[:0])
    assert engine.answer(rows).tolist() == [[0.0, 2.0], [4.0, 6.0]]
    assert fed(rows, "float32").flags.c_contiguous
