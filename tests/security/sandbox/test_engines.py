"""Promise: the engine of a graph runs behind all walls, keeps rows apart, and is nobody's way around a rule.

Rows of a batch may be different users'. What OpenVINO needs beyond torch is threads and four of its libraries, in the
sandbox of a checked graph alone; the attack table is played against that sandbox as if OpenVINO were the attacker.
"""

import contextlib
import itertools
import json
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.resnet_graphs import random_state, resnet20
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
from common.errors import ConfinementError, FormatError
from common.sandbox import native
from common.sandbox.interpreter import engine_binds
from common.sandbox.native import NativeQuerySandbox, query_work
from common.sandbox.protocol import SandboxLimits
from common.sandbox.seccomp import FilterKind
from common.sandbox.tree import provider_tree
from common.sandbox.workplace import Workplace
from common.sandboxed.engine_choice import APART_TOLERANCES, TOLERANCES, difference
from common.sandboxed.engine_report import EngineKind, Reason
from common.sandboxed.engines import EagerEngine
from tests.security.sandbox.attacks.calls import CALL_NAMES
from tests.security.sandbox.attacks.confined import play_queries
from tests.security.sandbox.attacks.table import TABLE
from tests.security.sandbox.sandbox_parts import TIGHT

SECONDS: Final = 30.0
ROWS: Final = 8
DOCUMENT: Final = resnet20()
STATE_P: Final = random_state(DOCUMENT)


def bundle_of(document: dict[str, Any]) -> BundleContents:
    """Images of one byte a value to ten answers."""
    manifest = BundleManifest(
        name="graph",
        bundle_version="1",
        entry=GRAPH_ENTRY,
        input=ColumnSpec(column="x", shape=tuple(document["input"]["shape"]), dtype=document["input"]["dtype"]),
        label=ColumnSpec(column="y", shape=(), dtype="int64"),
        answer=TensorSpec(shape=(10,), dtype="float32"),
        query_rows=ROWS,
        layout=tuple(StateTensor(name=one["name"], shape=tuple(one["shape"])) for one in document["parameters"]),
    )
    files = {GRAPH_FILE: json.dumps(document).encode(), DESCRIPTION_FILE: b""}
    return BundleContents(manifest=manifest, files=files)


def started(limits: SandboxLimits = native.DEFAULT_LIMITS) -> NativeQuerySandbox:
    return NativeQuerySandbox.start(bundle_of(DOCUMENT), STATE_P, seed=1, limits=limits)


@pytest.fixture(scope="module")
def server() -> Iterator[NativeQuerySandbox]:
    sandbox = started()
    yield sandbox
    sandbox.close()


def images(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def answers(sandbox: NativeQuerySandbox, rows: NDArray[Any]) -> NDArray[np.float32]:
    outcome = sandbox.answer(rows, SECONDS)
    assert outcome.answer_NA is not None, outcome.code
    return outcome.answer_NA.astype(np.float32)


def test_openvino_answers_behind_the_walls_as_torch_does(server: NativeQuerySandbox) -> None:
    assert server.engine is not None
    assert server.engine.kind in {EngineKind.OPENVINO_FP32, EngineKind.OPENVINO_BF16}
    assert (server.engine.reason, server.engine.apart) == (Reason.MEASURED, False)
    assert min(server.engine.rows_per_second_1, server.engine.rows_per_second_16) > 1
    rows = images(ROWS)
    assert (
        difference(answers(server, rows), EagerEngine(DOCUMENT, STATE_P).answer(rows)) < TOLERANCES[server.engine.kind]
    )


def test_an_answer_is_that_of_its_row_alone_whatever_its_neighbours(server: NativeQuerySandbox) -> None:
    assert server.engine is not None
    row = images(1, seed=5)
    alone = answers(server, row)
    for filling in (0, 255):
        for place in range(ROWS):
            rows = np.full((ROWS, 3, 32, 32), filling, np.uint8)
            rows[place] = row[0]
            seen = answers(server, rows)[place : place + 1]
            assert difference(seen, alone) <= APART_TOLERANCES[server.engine.kind]
    np.testing.assert_array_equal(answers(server, row), alone)


def test_a_graph_that_mixes_the_batch_is_refused_before_any_engine() -> None:
    last = DOCUMENT["nodes"][-1]["name"]
    mixed = {"op": "mean", "name": "mixed", "inputs": [last], "axes": [0], "keep": True}
    apart = {"op": "add", "name": "out", "inputs": [last, "mixed"]}
    planted = DOCUMENT | {"nodes": [*DOCUMENT["nodes"], mixed, apart], "output": "out"}
    with pytest.raises(FormatError, match="format.design"):
        NativeQuerySandbox.start(bundle_of(planted), STATE_P, seed=1)


@TIGHT
def test_within_limits_that_are_too_tight_for_openvino_torch_answers() -> None:
    sandbox = started(SandboxLimits(memory_bytes=256 << 20, threads=1))
    try:
        assert sandbox.engine is not None
        assert (sandbox.engine.kind, sandbox.engine.reason) == (EngineKind.EAGER, Reason.FAILED)
        rows = images(2)
        assert difference(answers(sandbox, rows), EagerEngine(DOCUMENT, STATE_P).answer(rows)) < 1e-5
    finally:
        sandbox.close()


def test_a_library_that_ends_its_process_leaves_torch_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **named: Any) -> Workplace:
        if arguments[1].inner_filter is FilterKind.GRAPH:
            raise ConfinementError("confinement.failed")
        return Workplace(*arguments, **named)

    monkeypatch.setattr(native, "Workplace", broken)
    sandbox = started()
    try:
        assert sandbox.engine is None
        assert np.isfinite(answers(sandbox, images(1))).all()
    finally:
        sandbox.close()


def test_the_walls_of_a_graph_hold_against_the_table_s_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile code where OpenVINO would run: it may start threads, which a query may not, and nothing else."""

    def in_graph_walls(manifest: BundleManifest, rows: int, **_: object) -> Any:
        return query_work(manifest, rows, engines=True)

    monkeypatch.setattr(native, "query_work", in_graph_walls)
    calls = [one.name for one in TABLE if "query" in one.sandboxes and one.name in CALL_NAMES]
    with contextlib.closing(play_queries()) as playing:  # calls come first
        played = list(itertools.islice(playing, len(calls)))
    assert [one.attack.name for one in played] == calls
    assert {one.attack.name: one.seen for one in played if not one.blocked} == {"thread": "succeeded"}


def test_openvino_is_bound_for_graphs_alone_and_is_four_libraries() -> None:
    names = sorted(place.removeprefix("/packages/openvino/").split(".")[0] for place in engine_binds())
    assert names == ["_pyopenvino", "libs/libopenvino", "libs/libopenvino_intel_cpu_plugin", "libs/libtbb"]
    for engines in (False, True):
        tree = provider_tree({}, b"{}", b"", randomness=b"", engines=engines)
        assert any("openvino" in place for place in tree.binds) is engines
