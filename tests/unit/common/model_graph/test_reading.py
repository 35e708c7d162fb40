"""common/model_graph: bounds, refusals that say where, and facts that torch confirms."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from common.errors import FormatError
from common.model_graph import nodes as n
from common.model_graph.checking import GraphBounds, check_graph
from common.model_graph.design import Adjustment, Change, Design, Flip, RandomCrop
from common.model_graph.graph import GraphInput, ModelGraph
from common.model_graph.parameters import Filled, Parameter, Stored
from common.model_graph.reading import MAX_DOCUMENT_BYTES, check_design, parse_change, parse_design, parse_graph
from common.sandboxed.graph_model import GraphModel
from tests.fakes.random_graphs import model_of, random_graph, rows_for

ROOT = Path(__file__).resolve().parents[4]
EXAMPLE = (ROOT / "examples/providers/digits_design/design.json").read_bytes()
DOCUMENT: dict[str, Any] = json.loads(EXAMPLE)


def refusal_of(raw: bytes, *bounds: GraphBounds) -> str:
    with pytest.raises(FormatError) as refusal:
        parse_design(raw, *bounds)
    return f"{refusal.value.code}: {refusal.value.expected} | {refusal.value.seen}"


def changed(path: str, value: object) -> bytes:
    """The example with one place changed; `path` as in `graph.nodes.2.weight`."""
    document = json.loads(EXAMPLE)
    *steps, last = path.split(".")
    place: Any = document
    for step in steps:
        place = place[int(step) if isinstance(place, list) else step]
    place[int(last) if isinstance(place, list) else last] = value
    return json.dumps(document).encode()


def test_the_example_is_read_and_its_encoding_is_stable() -> None:
    design, facts = parse_design(EXAMPLE)
    again, same = parse_design(design.encode())
    assert (again, same, again.encode()) == (design, facts, design.encode())
    assert (facts.state_values, facts.trained_values, facts.output.shape) == (38_282, 38_282, (10,))


def test_costs_are_those_that_torch_counts() -> None:
    design, facts = parse_design(EXAMPLE)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model_of(design.graph)(rows_for(design.graph, 1))
    multiplied = counter.get_total_flops()
    assert multiplied <= facts.flops_per_row <= 1.05 * multiplied  # torch leaves biases, activations and pools out


@pytest.mark.parametrize("seed", range(40))
def test_shapes_of_all_values_are_torchs(seed: int) -> None:
    graph = random_graph(seed, 8)
    facts = check_graph(graph)
    model, rows = model_of(graph), rows_for(graph, 3)
    for number, node in enumerate(graph.nodes):
        part = json.loads(graph.encode()) | {"output": node.name}
        part["nodes"] = part["nodes"][: number + 1]
        with torch.inference_mode():
            made = GraphModel(part)(rows)
        assert tuple(made.shape) == (3, *facts.values[node.name].shape)
    assert facts.state_values == sum(value.numel() for value in model.state_dict().values())


REFUSED = {
    "graph.nodes.2.weight": ("missing", "node `features.0` (conv2d): a parameter | `missing`"),
    "graph.nodes.2.padding": ([1, -1], "node 2 `features.0`: conv2d.padding.1"),
    "graph.nodes.2.padding.0": ("1", "node 2 `features.0`: conv2d.padding.0"),
    "graph.nodes.2.stride": ([1.5, 1], "node 2 `features.0`: conv2d.stride.0"),
    "graph.nodes.2.groups": (3, "node `features.0` (conv2d): 1 channels in groups"),
    "graph.nodes.6.kernel": ([9, 9], "node `features.4` (max_pool2d): a padded side of 9"),
    "graph.nodes.7.inputs": (["classifier.4"], "node `classifier.0` (flatten): inputs that are"),
    "graph.nodes.9.inputs": (["features.4"], "node `classifier.2` (linear): `classifier.2.weight` of shape (…, 4)"),
    "graph.nodes.4.name": ("input", "node `input`: a name of its own"),
    "graph.nodes.1.shape": ([8, 9], "node `planes` (reshape): a row of 64 values"),
    "graph.nodes.0.op": ("relu", "node 0 `pixels`"),
    "graph.nodes.0.scale": ([1.0, 2.0], "node `pixels` (affine): 2 shifts"),
    "graph.nodes.8.probability": (1.0, "node 8 `classifier.1`: dropout.probability"),
    "graph.parameters.0.shape": ([16, 1, 3], "node `features.0` (conv2d): `features.0.weight` of 4 axes"),
    "graph.parameters.1.initial": ({"kind": "kaiming_uniform"}, "parameter 1 `features.0.bias`"),
    "graph.parameters.1.name": ("features.0.weight", "parameter `features.0.weight`: a name of its own"),
    "graph.parameters.1.trained": (1, "parameter 1 `features.0.bias`: trained"),
    "graph.parameters.1.initial.kind": ("stored", "parameter `features.0.bias`: an initialiser"),
    "graph.output": ("features.4", "that the output depends on it"),
    "graph.input.dtype": ("float16", "document: graph.input.dtype"),
    "graph.version": (2, "document: graph.version"),
    "version": (2, "document: version"),
    "type": ("model-graph", "document: type"),
    "more": (1, "document: more"),
    "optimiser.learning_rate": (-1.0, "document: optimiser.sgd.learning_rate"),
    "optimiser.kind": ("lion", "document: optimiser"),
    "augmentation.0.axes": ([0, 1], "augmentation `random_crop`: an axis within the rows"),
    "batch_rows": (0, "document: batch_rows"),
}


@pytest.mark.parametrize("path", REFUSED)
def test_a_refusal_says_where_and_what_was_expected(path: str) -> None:
    value, said = REFUSED[path]
    assert said in refusal_of(changed(path, value))


def test_nothing_is_left_over() -> None:
    document = json.loads(EXAMPLE)
    document["graph"]["parameters"].append({"name": "idle", "shape": [1], "initial": {"kind": "zeros"}})
    assert "`idle`: that the output depends on it" in refusal_of(json.dumps(document).encode())
    document = json.loads(EXAMPLE)
    document["graph"]["nodes"].insert(1, {"op": "relu", "name": "idle", "inputs": ["pixels"]})
    assert "`idle`: that the output depends on it" in refusal_of(json.dumps(document).encode())


def test_bounds_are_kept_before_anything_is_allocated() -> None:
    _, facts = parse_design(EXAMPLE)
    parse_design(EXAMPLE, GraphBounds(facts.state_values, facts.flops_per_row, facts.activation_bytes_per_row))
    assert "at most 38281 values" in refusal_of(EXAMPLE, GraphBounds(state_values=38_281))
    assert "operations a row" in refusal_of(EXAMPLE, GraphBounds(flops_per_row=facts.flops_per_row - 1))
    least = GraphBounds(activation_bytes_per_row=facts.activation_bytes_per_row - 1)
    assert "value `classifier.4`: at most" in refusal_of(EXAMPLE, least)
    assert "values in all" in refusal_of(changed("graph.parameters.4.shape", [1 << 24] * 6))
    assert "bytes of activations" in refusal_of(changed("graph.input.shape", [1 << 24] * 6))


@pytest.mark.parametrize("raw", [b"[" * 100_000, b'{"a":' * 50, b'{"type":[[[[[[[[[[[[[1]]]]]]]]]]]]]}'])
def test_deep_documents_are_not_parsed(raw: bytes) -> None:
    assert refusal_of(raw) == "format.design: JSON of at most 12 levels | more"


def test_long_documents_are_not_parsed_and_brackets_in_names_do_not_count() -> None:
    assert refusal_of(b" " * (MAX_DOCUMENT_BYTES + 1)).startswith("format.too_large")
    assert "name" in refusal_of(changed("graph.nodes.0.name", "[" * 40))
    assert refusal_of(b"").startswith("format.design: document")
    assert refusal_of(b"\xff\xfe").startswith("format.design: document")


@pytest.mark.parametrize("unit", [b'"\\"', b'"', b"\\", b'\\"', b'"a', b'[{"', b"[]", b'"[]"', b",[", b'{"a":'])
@pytest.mark.parametrize("begin", [b"", b'"', b'{"nodes":"'])
def test_a_hostile_document_costs_no_more_than_its_length(begin: bytes, unit: bytes) -> None:
    raw = (begin + unit * MAX_DOCUMENT_BYTES)[:MAX_DOCUMENT_BYTES]
    started = time.process_time()
    with pytest.raises(FormatError):
        parse_design(raw)
    assert time.process_time() - started < 5  # a second try from each quote would take hours


def test_a_long_chain_is_read_in_time_and_one_too_many_is_refused() -> None:
    nodes = [n.Pointwise(op="relu", name="r0", inputs=("input",))]
    nodes += [n.Pointwise(op="relu", name=f"r{number}", inputs=(f"r{number - 1}",)) for number in range(1, 4096)]
    graph = ModelGraph(input=GraphInput(shape=(2,), dtype="float32"), nodes=tuple(nodes), output="r4095")
    _, facts = parse_graph(graph.encode())
    assert facts.flops_per_row == 2 * 4096
    last = b'"inputs":["r4094"]}'
    longer = graph.encode().replace(last, last + b',{"op":"relu","name":"more","inputs":["r4095"]}')
    with pytest.raises(FormatError) as refusal:
        parse_graph(longer.replace(b'"output":"r4095"', b'"output":"more"'))
    assert "graph" not in str(refusal.value.expected)
    assert "nodes" in str(refusal.value.expected)


def test_a_graph_may_keep_stored_values_a_design_may_not() -> None:
    weight = Parameter(name="w", shape=(1, 2), initial=Stored())
    linear = n.Linear(name="out", inputs=("input",), weight="w")
    graph = ModelGraph(
        input=GraphInput(shape=(2,), dtype="float32"), parameters=(weight,), nodes=(linear,), output="out"
    )
    parse_graph(graph.encode())
    design = parse_design(EXAMPLE)[0].model_copy(update={"graph": graph})
    with pytest.raises(FormatError, match=r"format\.design"):
        check_design(design)
    untrained = Parameter(name="w", shape=(1, 2), initial=Filled(kind="ones"), trained=False)
    design = design.model_copy(update={"graph": graph.model_copy(update={"parameters": (untrained,)})})
    with pytest.raises(FormatError, match=r"format\.design"):
        check_design(design)


def test_changes_are_bounded() -> None:
    for change in (
        Change(action="continue"),
        Change(action="stop"),
        Change(action="continue", adjustment=Adjustment(learning_rate=0.1, weight_decay=0.0, augmentation=0.5)),
    ):
        assert parse_change(change.encode()) == change
    for raw in (
        b'{"type":"change","version":1,"action":"restart"}',
        b'{"action":"stop","adjustment":{"learning_rate":0.5}}',
        b'{"action":"continue","adjustment":{"learning_rate":0}}',
        b'{"action":"continue","adjustment":{"learning_rate":1e4}}',
        b'{"action":"continue","adjustment":{"augmentation":1.5}}',
        b'{"action":"continue","adjustment":{"learning_rate":NaN}}',
        b'{"action":"continue"}' + b" " * 4096,
    ):
        with pytest.raises(FormatError):
            parse_change(raw)


def test_augmentation_stays_within_the_rows() -> None:
    design = Design.model_validate_json(EXAMPLE)
    for wrong in (Flip(axis=0), Flip(axis=3), RandomCrop(padding=1, axes=(1, 1)), RandomCrop(padding=1, axes=(1, 3))):
        with pytest.raises(FormatError, match=r"format\.design"):
            check_design(design.model_copy(update={"augmentation": (wrong,)}))
