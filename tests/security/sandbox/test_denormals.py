"""Promise: numbers that are nearly zero slow nobody's batch: processors take up to a hundred times as long for them,
unless they count as zero. Whether they do shows in an answer that would be such a number.
"""

import json
import subprocess
import sys
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from common.bundle import (
    DESCRIPTION_FILE,
    GRAPH_ENTRY,
    GRAPH_FILE,
    BundleContents,
    BundleManifest,
    ColumnSpec,
    StateTensor,
    TensorSpec,
)
from common.sandbox.native import NativeQuerySandbox
from common.sandbox.protocol import SandboxLimits

pytestmark = pytest.mark.timeout(120)

WIDTH: Final = 16
TINY: Final[NDArray[np.float32]] = np.full((2, WIDTH), 1e-40, np.float32)
"""Half of the least normal float32 and less: 2^-126 is 1.2e-38."""

STATE_P: Final = np.eye(WIDTH, dtype=np.float32).ravel()
DOCUMENT: Final[dict[str, Any]] = {
    "type": "model-graph", "version": 1, "input": {"shape": [WIDTH], "dtype": "float32"},
    "parameters": [{"name": "weight", "shape": [WIDTH, WIDTH], "initial": {"kind": "stored"}, "trained": False}],
    "nodes": [{"op": "linear", "name": "out", "inputs": ["input"], "weight": "weight", "bias": None}], "output": "out",
}  # fmt: skip
CONTENTS: Final = BundleContents(
    manifest=BundleManifest(
        name="graph", bundle_version="1", entry=GRAPH_ENTRY, query_rows=2,
        input=ColumnSpec(column="x", shape=(WIDTH,), dtype="float32"),
        label=ColumnSpec(column="y", shape=(), dtype="int64"), answer=TensorSpec(shape=(WIDTH,), dtype="float32"),
        layout=(StateTensor(name="weight", shape=(WIDTH, WIDTH)),),
    ),
    files={GRAPH_FILE: json.dumps(DOCUMENT).encode(), DESCRIPTION_FILE: b""},
)  # fmt: skip


ANSWERING: Final = """
import threading, torch
torch.set_flush_denormal({flush})
from tests.security.sandbox.test_denormals import DOCUMENT, STATE_P, TINY
from common.sandboxed.engine_report import EngineKind
from common.sandboxed.engines import EagerEngine
from common.sandboxed.openvino_engine import OpenVinoEngine
engines = [EagerEngine(DOCUMENT, STATE_P)]
making = threading.Thread(target=lambda: engines.append(OpenVinoEngine(EngineKind.OPENVINO_FP32, DOCUMENT, STATE_P)))
making.start()
making.join()
print([bool(engine.answer(TINY).any()) for engine in engines])
"""


@pytest.mark.parametrize("flush", [True, False])
def test_threads_of_openvino_inherit_what_the_sandbox_sets_before(flush: bool) -> None:
    """In a process of its own, since it can't be taken back; without it, both engines answer with such numbers."""
    command = [sys.executable, "-c", ANSWERING.format(flush=flush)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.strip() == str([not flush, not flush])


@pytest.mark.parametrize("limits", [SandboxLimits(), SandboxLimits(memory_bytes=256 << 20, threads=1)])
def test_a_query_sandbox_counts_them_as_zero_whichever_engine_it_has(limits: SandboxLimits) -> None:
    """The tighter limits leave eager torch."""
    sandbox = NativeQuerySandbox.start(CONTENTS, STATE_P, seed=1, limits=limits)
    try:
        answer = sandbox.answer(TINY, 30.0).answer_NA
        usual = sandbox.answer(TINY + 1, 30.0).answer_NA
    finally:
        sandbox.close()
    assert answer is not None
    assert not answer.any()
    assert usual is not None
    assert np.allclose(usual, 1.0)
