"""Promise: what a checked graph answers to a row depends on that row and the weights, and answering changes nothing.

Shown twice: what could break it is refused without running anything, and valid graphs, drawn at random over the whole
allow-list, are run in torch and compared row by row. `moves` is what compares; that it finds what is wrong is shown on
graphs that the rules refuse.
"""

import itertools
import json
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from common.errors import FormatError
from common.model_graph import nodes as n
from common.model_graph.checking import check_graph
from common.model_graph.graph import GraphInput, ModelGraph
from common.model_graph.parameters import Filled, Normal, Parameter
from common.model_graph.reading import parse_graph
from common.model_graph.rules import RULES
from common.sandboxed.graph_operations import OPERATIONS
from tests.fakes.random_graphs import model_of, random_graph, rows_for

ROWS = 5


def moves(model: nn.Module, rows: Tensor) -> str | None:
    """How rows depend on each other, or that something is kept; None: they don't, and nothing is."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.inference_mode():
        together = model(rows)
        if together.shape[0] != len(rows):
            return "the number of rows changed"
        for place in range(len(rows)):
            alone = model(rows[place : place + 1])
            if not torch.allclose(alone[0], together[place], rtol=1e-3, atol=1e-4, equal_nan=True):
                return f"row {place} alone is another"
            for other in _others(rows, place):
                changed = model(other)
                rest = [number for number in range(len(rows)) if number != place]
                if not torch.equal(changed[rest].nan_to_num(), together[rest].nan_to_num()):
                    return f"row {place} moves others"
    same = all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    return None if same else "the state changed"


def _others(rows: Tensor, place: int) -> list[Tensor]:
    """The rows with one of them changed: to the next one, and to values that spread wherever they can."""
    swapped = rows.clone()
    swapped[place] = rows[(place + 1) % len(rows)]
    extreme = rows.clone()
    extreme[place] = float("nan") if rows.is_floating_point() else 1
    return [swapped, extreme]


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32), st.integers(1, 10))
def test_rows_of_valid_graphs_are_independent_and_nothing_is_kept(seed: int, count: int) -> None:
    graph = random_graph(seed, count)
    read, facts = parse_graph(graph.encode())
    assert read == graph
    model, rows = model_of(graph), rows_for(graph, ROWS)
    assert moves(model, rows) is None, graph.encode().decode()
    with torch.inference_mode():
        answer = model(rows)
    assert (tuple(answer.shape[1:]), answer.dtype) == (facts.output.shape, torch.float32)


def test_the_random_graphs_use_the_whole_allow_list() -> None:
    seen: set[str] = set()
    for seed in itertools.count():
        seen |= {node.op for node in random_graph(seed, 10).nodes}
        if seen == set(RULES) or seed > 2000:
            break
    assert seen == set(RULES) == set(OPERATIONS)


WEIGHT = Parameter(name="w", shape=(4, 4), initial=Normal(deviation=0.5))
LARGE = Parameter(name="large", shape=(ROWS, 4), initial=Normal(deviation=0.5))
MEAN = Parameter(name="mean", shape=(4,), initial=Filled(kind="zeros"), trained=False)
VAR = Parameter(name="var", shape=(4,), initial=Filled(kind="ones"), trained=False)


def graph_of(*nodes: Any, shape: tuple[int, ...] = (4,), parameters: tuple[Parameter, ...] = ()) -> ModelGraph:
    """Over float32 rows, the last node its output."""
    given = GraphInput(shape=shape, dtype="float32")
    return ModelGraph(input=given, parameters=parameters, nodes=nodes, output=nodes[-1].name)


def reduction(op: str, **more: Any) -> n.Reduction:
    return n.Reduction.model_validate({"op": op, "name": "bad", "inputs": ("input",), **more})


PLANTED = {
    "softmax over the batch": graph_of(n.Softmax(op="softmax", name="bad", inputs=("input",), axis=0)),
    "log_softmax over the batch": graph_of(n.Softmax(op="log_softmax", name="bad", inputs=("input",), axis=0)),
    **{
        f"{op} over the batch": graph_of(
            reduction(op, axes=(0,), keep=True), n.Elementwise(op="add", name="out", inputs=("input", "bad"))
        )
        for op in ("mean", "sum", "amax")
    },
    "mean over batch and row": graph_of(
        reduction("mean", axes=(0, 1), keep=True), n.Elementwise(op="add", name="out", inputs=("input", "bad"))
    ),
    "flatten from the batch": graph_of(n.Flatten(name="bad", inputs=("input",), start_axis=0)),
    "permute of the batch": graph_of(n.Permute(name="bad", inputs=("input",), axes=(1, 0)), shape=(ROWS,)),
    "concat along the batch": graph_of(n.Concat(name="bad", inputs=("input", "input"), axis=0)),
    "slice of the batch": graph_of(n.Slice(name="bad", inputs=("input",), axis=0, begin=0, end=1)),
    "ranks that align batch and row": graph_of(
        n.Reduction(op="sum", name="sum", inputs=("input",), axes=(1,)),
        n.Elementwise(op="add", name="bad", inputs=("input", "sum")),
        shape=(ROWS,),
    ),
    "a parameter as large as the batch": graph_of(
        n.Elementwise(op="add", name="bad", inputs=("large", "input")), parameters=(LARGE,)
    ),
    "matmul along the batch": graph_of(n.Matmul(name="bad", inputs=("input", "input")), shape=(ROWS,)),
    "scales for each row": graph_of(
        n.Affine(name="bad", inputs=("input",), scale=(1.0, 2.0, 3.0, 4.0, 5.0), shift=(0.0,) * ROWS, axis=0)
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_would_mix_rows_is_refused_where_it_stands_and_does_mix_them(name: str) -> None:
    graph = PLANTED[name]
    with pytest.raises(FormatError, match=r"format\.design") as refusal:
        parse_graph(graph.encode())
    assert "node `bad`" in (refusal.value.expected or "")
    model = model_of(graph)
    try:
        found = moves(model, rows_for(graph, ROWS))
    except (RuntimeError, IndexError):
        found = "it works with one number of rows alone"
    assert found is not None


REFUSED_UNRUN = {
    "layer norm over the batch": graph_of(n.LayerNorm(name="bad", inputs=("input",), dimensions=2)),
    "reshape that takes rows together": graph_of(n.Reshape(name="bad", inputs=("input",), shape=(8,))),
    "reshape that splits rows": graph_of(n.Reshape(name="bad", inputs=("input",), shape=(2,))),
    "pad of the batch": graph_of(n.Pad(name="bad", inputs=("input",), amounts=((0, 0), (1, 1)))),
    "linear along the batch": graph_of(
        n.Linear(name="bad", inputs=("input",), weight="w"), shape=(), parameters=(WEIGHT,)
    ),
    "batch norm of the batch": graph_of(
        n.BatchNorm(name="bad", inputs=("input",), running_mean="mean", running_var="var"),
        shape=(),
        parameters=(MEAN, VAR),
    ),
    "group norm that needs two rows": graph_of(n.GroupNorm(name="bad", inputs=("input",), groups=4)),
    "two parameters": graph_of(n.Elementwise(op="add", name="bad", inputs=("w", "w")), parameters=(WEIGHT,)),
}


@pytest.mark.parametrize("name", REFUSED_UNRUN)
def test_what_has_no_rows_to_itself_is_refused(name: str) -> None:
    with pytest.raises(FormatError, match=r"format\.design") as refusal:
        parse_graph(REFUSED_UNRUN[name].encode())
    assert "node `bad`" in (refusal.value.expected or "")


NORM = graph_of(
    n.BatchNorm(name="norm", inputs=("input",), running_mean="mean", running_var="var"), parameters=(MEAN, VAR)
)


def spoilt(graph: ModelGraph, **changes: Any) -> bytes:
    """With some fields of its first node changed; None: left out."""
    document = json.loads(graph.encode())
    document["nodes"][0] |= changes
    document["nodes"][0] = {name: value for name, value in document["nodes"][0].items() if value != "left out"}
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "raw",
    [
        spoilt(NORM, op="cumsum"),
        spoilt(NORM, op="batch_norm", training=True),
        spoilt(NORM, track_running_stats=False),
        spoilt(NORM, running_mean=None),
        spoilt(NORM, running_var="left out"),
    ],
)
def test_statistics_of_a_batch_and_unknown_operations_can_not_be_written(raw: bytes) -> None:
    parse_graph(NORM.encode())
    with pytest.raises(FormatError, match=r"format\.design") as refusal:
        parse_graph(raw)
    assert "node 0 `norm`" in (refusal.value.expected or "")


def test_statistics_of_a_batch_would_be_found() -> None:
    graph = NORM.model_copy(update={"input": GraphInput(shape=(4, 3), dtype="float32")})
    check_graph(graph)
    assert moves(model_of(graph).train(), rows_for(graph, ROWS)) is not None
    assert moves(model_of(graph), rows_for(graph, ROWS)) is None


WRITTEN = {
    "statistics of two norms": graph_of(
        n.BatchNorm(name="one", inputs=("input",), running_mean="mean", running_var="var"),
        n.BatchNorm(name="two", inputs=("one",), running_mean="mean", running_var="var"),
        parameters=(MEAN, VAR),
    ),
    "one tensor for both": graph_of(
        n.BatchNorm(name="one", inputs=("input",), running_mean="mean", running_var="mean"), parameters=(MEAN,)
    ),
    "statistics that are read elsewhere": graph_of(
        n.BatchNorm(name="one", inputs=("input",), running_mean="mean", running_var="var"),
        n.Elementwise(op="add", name="out", inputs=("one", "mean")),
        parameters=(MEAN, VAR),
    ),
    "statistics that are its own weight": graph_of(
        n.BatchNorm(name="one", inputs=("input",), weight="var", running_mean="mean", running_var="var"),
        parameters=(MEAN, VAR),
    ),
    "statistics that are trained": graph_of(
        n.BatchNorm(name="one", inputs=("input",), running_mean="mean", running_var="var"),
        parameters=(MEAN.model_copy(update={"trained": True}), VAR),
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_buffer_that_is_written_is_nobody_elses(name: str) -> None:
    with pytest.raises(FormatError, match=r"format\.design"):
        check_graph(WRITTEN[name])


def test_integers_out_of_range_are_one_rows_own_affair() -> None:
    """torch would raise for the whole batch; here the nearest entry counts."""
    table = Parameter(name="w", shape=(4, 3), initial=Normal(deviation=0.5))
    embedding = n.Embedding(name="e", inputs=("input",), weight="w")
    one_hot = n.OneHot(name="o", inputs=("input",), classes=3)
    both = n.Concat(name="out", inputs=("e", "o"), axis=2)
    given = GraphInput(shape=(2,), dtype="int64")
    graph = ModelGraph(input=given, parameters=(table,), nodes=(embedding, one_hot, both), output="out")
    check_graph(graph)
    model = model_of(graph)
    rows = torch.tensor([[0, 1], [2**62, -(2**62)], [3, 2]])
    assert moves(model, rows) is None
    assert torch.equal(model(rows)[1], model(torch.tensor([[3, 0]]))[0].clone())
