"""A real query enclave answers in int8 what was ordered and kept in it, and in float32 what was not kept."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from common.bundle import BundleContents, BundleManifest, ColumnSpec, StateTensor, TensorSpec
from common.sandboxed.engine_report import EngineKind
from common.sandboxed.openvino_engine import computes_in
from common.sandboxed.quantised_layout import Finding, Findings
from tests.conftest import Broker
from tests.fakes.query_service import QueryService

pytestmark = pytest.mark.timeout(300)

WIDTH, CLASSES = 16, 8
STEP = 1 / 32
KEPT = Findings(Finding.JUDGED, 200, 90.0, 89.9, np.array([[-128 * STEP, 127 * STEP]], np.float32))
"""Steps of the input so coarse that they show in each answer."""

CONTENTS = BundleContents(
    manifest=BundleManifest(
        name="test", bundle_version="1", entry="module:Model", query_rows=4,
        input=ColumnSpec(column="x", shape=(WIDTH,), dtype="float32"),
        label=ColumnSpec(column="y", shape=(), dtype="int64"), answer=TensorSpec(shape=(CLASSES,), dtype="float32"),
        layout=(StateTensor(name="weight", shape=(CLASSES, WIDTH)),),
    ),
    files={"provider.toml": b"", "module.py": b""},
)  # fmt: skip
GRAPH = {
    "type": "model-graph", "version": 1, "input": {"shape": [WIDTH], "dtype": "float32"},
    "parameters": [{"name": "weight", "shape": [CLASSES, WIDTH], "initial": {"kind": "stored"}, "trained": False}],
    "nodes": [{"op": "linear", "name": "out", "inputs": ["input"], "weight": "weight"}], "output": "out",
}  # fmt: skip


def rounded(rows: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """As section 2 of Jacob et al. 2018 has it: values in steps of their range, weights in steps of each output's."""
    steps = np.abs(weight).max(axis=1, keepdims=True) / 127
    answers: NDArray[np.float32] = (np.round(rows / STEP) * STEP) @ (np.round(weight / steps) * steps).T
    return answers


@pytest.mark.skipif(not computes_in(EngineKind.OPENVINO_INT8), reason="this processor has no units for int8")
@pytest.mark.parametrize("findings", [KEPT, Findings(Finding.NOTHING)], ids=["kept", "not kept"])
def test_answers_are_in_what_the_sealed_model_says(findings: Findings, tmp_path: Path, redis_server: Broker) -> None:
    document = json.dumps(GRAPH).encode()
    with QueryService(tmp_path / "state", redis_server.url, CONTENTS, document, int8=findings).running() as service:
        rows = np.random.default_rng(3).uniform(-1, 1, (4, WIDTH)).astype(np.float32)
        scores = service.session().ask(rows).scores
    assert scores is not None
    weight = service.model.state_P.reshape(CLASSES, WIDTH)
    apart = {
        name: float(np.abs(scores.astype(np.float32) - wanted).max())
        for name, wanted in (("int8", rounded(rows, weight)), ("float32", rows @ weight.T))
    }
    near, far = ("int8", "float32") if findings is KEPT else ("float32", "int8")
    assert apart[near] < apart[far] / 4, apart
