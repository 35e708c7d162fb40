"""Promise: int8 is judged behind all walls, whatever a document says, and answers with the ranges that were judged.

The document of native code is another sandbox's writing, which nobody has checked by then.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from common.bundle import BundleManifest, StateTensor
from common.sandbox.native import NativeQuerySandbox
from common.sandbox.protocol import SandboxLimits
from common.sandbox.quantising import QuantisingSandbox
from common.sandboxed.engine_choice import APART_TOLERANCES, difference
from common.sandboxed.engine_report import EngineKind, Precision, Reason
from common.sandboxed.engines import EagerEngine
from common.sandboxed.openvino_engine import computes_in
from common.sandboxed.quantised_layout import Finding, Findings
from common.sandboxed.quantising import is_right
from tests.security.sandbox.sandbox_parts import confined
from tests.security.sandbox.test_engines import bundle_of
from tests.unit.common.sandboxed.test_quantising import DOCUMENT, STATE_P, images

pytestmark = pytest.mark.timeout(300)
WITH_UNITS = pytest.mark.skipif(
    not computes_in(EngineKind.OPENVINO_INT8), reason="this processor has no units for int8"
)

SECONDS: Final = 60.0
CALIBRATING: Final = 64
JUDGED: Final = 256


def rows() -> dict[str, NDArray[Any]]:
    """Those that calibrate, then those that were held out."""
    pairs = images(CALIBRATING, 3), images(JUDGED, 2)
    return {name: np.concatenate([pair[at] for pair in pairs]) for at, name in enumerate("xy")}


def native_manifest() -> BundleManifest:
    """Of code: its tensors stand in another order than the graph's, and one more is among them."""
    named = {one["name"]: tuple(one["shape"]) for one in DOCUMENT["parameters"]}
    layout = (
        StateTensor(name="unused", shape=(3,)),
        *(StateTensor(name=one, shape=named[one]) for one in sorted(named)),
    )
    return bundle_of(DOCUMENT).manifest.model_copy(update={"layout": layout, "entry": "module:Model"})


def native_state() -> NDArray[np.float32]:
    ends = np.cumsum([int(np.prod(one["shape"])) for one in DOCUMENT["parameters"]])
    parts = dict(zip((one["name"] for one in DOCUMENT["parameters"]), np.split(STATE_P, ends[:-1]), strict=True))
    return np.concatenate([np.full(3, 7.0, np.float32), *(parts[name] for name in sorted(parts))])


def judged(document: bytes, given: dict[str, NDArray[Any]] | None = None, seconds: float = SECONDS) -> Findings:
    """By the sandbox, of the state of native code."""
    given, others = given or rows(), confined()
    sandbox = QuantisingSandbox.start(native_manifest(), document, len(given["x"]))
    findings = sandbox.run(native_state(), given, CALIBRATING, seconds)
    assert confined() == others
    return findings


@pytest.fixture(scope="module")
def findings() -> Findings:
    return judged(json.dumps(DOCUMENT).encode())


@pytest.fixture(scope="module")
def server(findings: Findings) -> Iterator[NativeQuerySandbox]:
    assert findings.ranges_V2 is not None
    ranges = tuple((float(low), float(high)) for low, high in findings.ranges_V2)
    sandbox = NativeQuerySandbox.start(
        bundle_of(DOCUMENT), STATE_P, seed=1, rows=8, precision=Precision.INT8, ranges=ranges
    )
    yield sandbox
    sandbox.close()


@WITH_UNITS
def test_int8_is_judged_behind_the_walls(findings: Findings) -> None:
    assert (findings.finding, findings.rows) == (Finding.JUDGED, JUDGED)
    assert findings.float32_percent > 90.0
    assert findings.float32_percent - findings.int8_percent < 2.0


@WITH_UNITS
def test_what_was_judged_answers(server: NativeQuerySandbox, findings: Findings) -> None:
    assert server.engine is not None
    assert (server.engine.kind, server.engine.reason) == (EngineKind.OPENVINO_INT8, Reason.MEASURED)
    pictures, labels = images(JUDGED, 2)
    outcomes = [server.answer(pictures[at : at + 8], SECONDS).answer_NA for at in range(0, JUDGED, 8)]
    answers = np.concatenate([one.astype(np.float32) for one in outcomes if one is not None])
    assert 100 * is_right(answers, labels).mean() == pytest.approx(findings.int8_percent, abs=1.0)
    assert difference(answers, EagerEngine(DOCUMENT, STATE_P).answer(pictures)) > 1e-3, "that would be float32"


@WITH_UNITS
def test_an_answer_in_int8_is_that_of_its_row_alone(server: NativeQuerySandbox) -> None:
    row = images(1, 9)[0]
    alone = server.answer(row, SECONDS).answer_NA
    assert alone is not None
    for filling in (0, 255):
        crowd = np.full((8, *row.shape[1:]), filling, np.uint8)
        crowd[5] = row[0]
        among = server.answer(crowd, SECONDS).answer_NA
        assert among is not None
        tolerance = APART_TOLERANCES[EngineKind.OPENVINO_INT8]
        assert difference(among[5:6].astype(np.float32), alone.astype(np.float32)) <= tolerance


def test_ranges_of_another_graph_leave_float32() -> None:
    sandbox = NativeQuerySandbox.start(
        bundle_of(DOCUMENT), STATE_P, seed=1, precision=Precision.INT8, ranges=((0.0, 1.0),)
    )
    try:
        assert sandbox.engine is not None
        assert sandbox.engine.kind in {EngineKind.OPENVINO_FP32, EngineKind.EAGER}
    finally:
        sandbox.close()


NO_MODELS: Final = {
    "no JSON": b"\xff",
    "no object": b"[]",
    "deep": b"[" * 100_000,
    "no such operation": json.dumps(DOCUMENT | {"nodes": [DOCUMENT["nodes"][0] | {"op": "system"}]}).encode(),
    "a parameter of nothing": json.dumps(
        DOCUMENT | {"parameters": [DOCUMENT["parameters"][0] | {"name": "another"}]}
    ).encode(),
    "the mean of the batch": json.dumps(
        DOCUMENT
        | {
            "nodes": [
                *DOCUMENT["nodes"],
                {"op": "mean", "name": "out", "inputs": ["logits"], "axes": [0], "keep": False},
            ],
            "output": "out",
        }
    ).encode(),
}


@pytest.mark.parametrize("what", NO_MODELS)
def test_a_document_that_is_no_model_finds_nothing(what: str) -> None:
    assert judged(NO_MODELS[what]).finding in {Finding.FAILED, Finding.NO_CLASSES}


def test_what_takes_too_long_is_ended() -> None:
    assert judged(json.dumps(DOCUMENT).encode(), seconds=0.01).finding is Finding.LATE


def test_too_little_memory_is_a_finding() -> None:
    limits, others = replace(SandboxLimits(), memory_bytes=128 << 20), confined()
    sandbox = QuantisingSandbox.start(native_manifest(), json.dumps(DOCUMENT).encode(), len(rows()["x"]), limits)
    assert sandbox.run(native_state(), rows(), CALIBRATING, SECONDS).finding is not Finding.JUDGED
    assert confined() == others
