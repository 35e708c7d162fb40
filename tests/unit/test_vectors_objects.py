"""What sealed objects hold: each vector is read as stated, or refused with the stated code."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from common.bundle import BundleManifest, ColumnSpec, StateTensor, TensorSpec, design_layout
from common.dataset_payload import read_columns
from common.dataset_reading import UnitReader
from common.dataset_units import UnitMarks
from common.errors import Refusal
from common.exchange.steering import DESIGN_BYTES
from common.model_file import decode_document, decode_int8, decode_model
from common.model_graph.reading import parse_graph
from common.sandboxed.graph_model import GraphModel
from common.sandboxed.model_state import load_state
from common.sandboxed.quantised_layout import FINDINGS_BYTES
from tests.vectors.each_vector import each_vector
from tests.vectors.vector_file import OPENS


def _manifest(layout: list[dict[str, Any]]) -> BundleManifest:
    return BundleManifest(
        name="vectors",
        bundle_version="1",
        entry="module:Model",
        input=ColumnSpec(column="x", shape=(2,), dtype="float32"),
        label=ColumnSpec(column="y", shape=(), dtype="int64"),
        answer=TensorSpec(shape=(2,), dtype="float32"),
        layout=tuple(StateTensor(name=one["name"], shape=tuple(one["shape"])) for one in layout),
    )


@each_vector("model/models.json")
def test_models(vector: dict[str, Any]) -> None:
    payload, manifest = bytes.fromhex(vector["payload"]), _manifest(vector["layout"])
    if vector["outcome"] == OPENS:
        state_P, weights = decode_model(payload, manifest)
        assert state_P.tolist() == vector["state"]
        assert weights == vector["weights"]
        assert manifest.layout_digest.encode() in payload
    else:
        with pytest.raises(Refusal, match=vector["outcome"]):
            decode_model(payload, manifest)


@each_vector("model/designed_models.json")
def test_models_of_design_code(vector: dict[str, Any]) -> None:
    begin, tensors, most = bytes.fromhex(vector["begin"]), bytes.fromhex(vector["tensors"]), vector["values"]
    payload = begin.ljust(40 + DESIGN_BYTES, b"\0") + tensors
    fields = dict(_manifest([{"name": "weight", "shape": [1]}]))
    manifest = BundleManifest(**fields | {"kind": "wasm", "max_parameters": most, "layout": design_layout(most)})
    if vector["outcome"] == OPENS:
        assert _read_designed(payload, manifest) == (vector["state"], vector["weights"], vector["document"])
    else:
        with pytest.raises(Refusal, match=vector["outcome"]):
            _read_designed(payload, manifest)


@each_vector("model/exported_models.json")
def test_models_with_the_graph_of_native_code(vector: dict[str, Any]) -> None:
    payload = bytes.fromhex(vector["begin"]).ljust(40 + DESIGN_BYTES, b"\0") + bytes.fromhex(vector["tensors"])
    manifest = _manifest(vector["layout"])
    if vector["outcome"] == OPENS:
        assert _read_designed(payload, manifest) == (vector["state"], vector["weights"], vector["document"])
    else:
        with pytest.raises(Refusal, match=vector["outcome"]):
            _read_designed(payload, manifest)


@each_vector("model/int8_models.json")
def test_models_with_what_was_found_of_int8(vector: dict[str, Any]) -> None:
    begin, found, tensors = (bytes.fromhex(vector[name]) for name in ("begin", "findings", "tensors"))
    payload = begin.ljust(40 + DESIGN_BYTES, b"\0") + found.ljust(FINDINGS_BYTES, b"\0") + tensors
    manifest = _manifest(vector["layout"])
    if vector["outcome"] == OPENS:
        assert _read_designed(payload, manifest) == (vector["state"], vector["weights"], vector["document"])
        read = decode_int8(payload, manifest)
        assert read is not None
        assert (read.finding.name, read.encode()) == (vector["finding"], found.ljust(FINDINGS_BYTES, b"\0"))
    else:
        with pytest.raises(Refusal, match=vector["outcome"]):
            decode_int8(payload, manifest)


def _read_designed(payload: bytes, manifest: BundleManifest) -> tuple[list[float], str, str]:
    state_P, weights = decode_model(payload, manifest)
    return state_P.tolist(), weights, decode_document(payload, manifest).hex()


@each_vector("dataset/datasets.json")
def test_datasets(vector: dict[str, Any]) -> None:
    payload = bytes.fromhex(vector["payload"])
    if vector["outcome"] == OPENS:
        columns = read_columns(payload)
        assert list(columns) == list(vector["columns"])
        for name, shown in vector["columns"].items():
            expected = np.array(shown["values"], shown["dtype"]).reshape(shown["shape"])
            assert columns[name].dtype == expected.dtype
            np.testing.assert_array_equal(columns[name], expected)
    else:
        with pytest.raises(Refusal, match=vector["outcome"]):
            read_columns(payload)


@each_vector("dataset/units.json")
def test_units(vector: dict[str, Any]) -> None:
    reader = UnitReader.begin(bytes.fromhex(vector["first"]), vector["chunk_bytes"])
    assert reader is not None
    assert reader.marks == UnitMarks(**vector["marks"])
    if vector["outcome"] == OPENS:
        columns = reader.read(vector["number"], bytes.fromhex(vector["plain"]))
        assert columns.get("label", np.zeros(0)).tolist() == vector["labels"]
        for label, image in zip(vector["labels"], columns.get("image", ()), strict=True):
            np.testing.assert_array_equal(image.ravel(), np.arange(label * 600, label * 600 + 600) % 251)
    else:
        with pytest.raises(Refusal, match=vector["outcome"]):
            reader.read(vector["number"], bytes.fromhex(vector["plain"]))


@each_vector("model_graph/graphs.json")
def test_graphs(vector: dict[str, Any]) -> None:
    raw = vector["document"].encode()
    if vector["outcome"] != OPENS:
        with pytest.raises(Refusal, match=vector["outcome"]):
            parse_graph(raw)
        return
    graph, facts = parse_graph(raw)
    assert (facts.flops_per_row, facts.activation_bytes_per_row) == (
        vector["flops_per_row"],
        vector["activation_bytes_per_row"],
    )
    assert list(facts.output.shape) == vector["answer_shape"]
    model = GraphModel(json.loads(graph.encode())).eval()
    load_state(model, np.array(vector["state"], np.float32))
    rows = torch.from_numpy(np.array(vector["rows"], graph.input.dtype))
    with torch.inference_mode():
        np.testing.assert_allclose(model(rows).numpy(), np.array(vector["answers"]), rtol=1e-6)
