"""What a launch opens is what it was placed for: each lie about bundle, model or weights is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.bundle import BundleContents, BundleManifest, ColumnSpec, StateTensor, TensorSpec
from common.crypto.digests import sha256
from common.door_objects import DoorObjects
from common.errors import AppraisalError, AuthenticityError, FormatError, Refusal
from common.identifiers import ModelId
from common.key_retrieval import Launch
from common.messages.objects import ModelManifest, ObjectRef
from common.messages.placement import Placement
from common.messages.signed import sign
from common.model_file import encode_model
from common.sandboxed.engine_report import Precision
from common.sandboxed.quantised_layout import Finding, Findings
from common.sealed_object import ObjectKind, seal_object
from common.untrusted.blobs import BlobStore
from common.untrusted.relay import common_handlers
from services.query_enclave.model import NoModel, OpenedModel, open_model
from tests.fakes.answering import AnswersAtOnce
from tests.fakes.broker_world import QUERY, BrokerWorld
from tests.fakes.plain_designs import FEATURES, another_answer, designing_bundle, linear_design, too_large_design
from tests.fakes.query_service import FinishedModel

CONTENTS = BundleContents(
    manifest=BundleManifest(
        name="test", bundle_version="1", entry="module:Model",
        input=ColumnSpec(column="x", shape=(3,), dtype="float32"),
        label=ColumnSpec(column="y", shape=(), dtype="int64"), answer=TensorSpec(shape=(2,), dtype="float32"),
        layout=(StateTensor(name="weight", shape=(2, 3)),),
    ),
    files={"provider.toml": b"", "module.py": b""},
)  # fmt: skip


class StoreDoor(AnswersAtOnce):
    """A door whose relay has the object store."""

    def __init__(self, store: BlobStore) -> None:
        self._handlers = common_handlers(store, None)

    def call(self, name: str, body: bytes, *, seconds: float = 60.0) -> bytes:
        """What the relay answers."""
        assert seconds > 0
        return self._handlers[name](body)


class Case:
    """A finished model and a launch that was admitted for it."""

    def __init__(self, directory: Path, contents: BundleContents = CONTENTS, design: bytes = b"") -> None:
        self.world, self.store = BrokerWorld(directory), BlobStore(directory / "objects")
        self.model = FinishedModel(self.world, self.store, contents, design)
        self.launch = self.world.launch(QUERY, self.model.job_id)
        assert self.launch.placement is not None
        self.placement = Placement.decode(self.launch.placement.payload)

    def open(self, asked: ModelId | None = None) -> OpenedModel:
        """Open it, as the enclave does."""
        return open_model(self.launch, self.placement, asked or self.model.model_id, DoorObjects(StoreDoor(self.store)))

    def lie(self, **changes: Any) -> None:
        """Let terms and placement name a manifest that says something else: what only a broken broker could do."""
        assert self.launch.terms.model_manifest is not None
        manifest = ModelManifest.decode(self.launch.terms.model_manifest.payload).model_copy(update=changes)
        signed = sign(manifest, self.launch.signing_key)
        terms = self.launch.terms.model_copy(update={"model_manifest": signed})
        self.launch = Launch(**{**vars(self.launch), "terms": terms})
        self.placement = self.placement.model_copy(update={"manifest": signed.digest})


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """One case."""
    return Case(tmp_path)


def test_bundle_and_state_come_out(case: Case) -> None:
    opened = case.open()
    np.testing.assert_array_equal(opened.state_P, case.model.state_P)
    assert opened.contents == opened.served == CONTENTS
    assert opened.manifest == case.model.manifest


GRAPH = {
    "type": "model-graph", "version": 1, "input": {"shape": [3], "dtype": "float32"},
    "parameters": [{"name": "weight", "shape": [2, 3], "initial": {"kind": "stored"}, "trained": False}],
    "nodes": [{"op": "linear", "name": "out", "inputs": ["input"], "weight": "weight"}], "output": "out",
}  # fmt: skip


def test_a_graph_is_served_and_no_code_with_it(tmp_path: Path) -> None:
    case = Case(tmp_path, design=json.dumps(GRAPH).encode())
    opened = case.open()
    assert opened.served is not None
    assert (opened.by_provider_code, sorted(opened.served.files)) == (False, ["graph.json", "provider.toml"])
    assert opened.contents == CONTENTS, "queries keep the bundle's shapes"
    np.testing.assert_array_equal(opened.state_P, case.model.state_P)


@pytest.mark.parametrize(
    "document", [b"{}", b"[" * 9999, json.dumps(GRAPH).replace("[2, 3]", "[3, 2]").encode(), b"\xff", b""]
)
def test_a_graph_that_is_none_leaves_the_code(tmp_path: Path, document: bytes) -> None:
    opened = Case(tmp_path, design=document).open()
    assert (opened.served, opened.by_provider_code) == (CONTENTS, True)


def test_another_model_than_asked_is_refused(case: Case) -> None:
    with pytest.raises(AppraisalError, match=r"appraisal\.placement"):
        case.open(ModelId.new())


def test_a_placement_for_another_manifest_is_refused(case: Case) -> None:
    case.placement = case.placement.model_copy(update={"manifest": sha256(b"another")})
    with pytest.raises(AppraisalError, match=r"appraisal\.placement"):
        case.open()


@pytest.mark.parametrize(
    ("changes", "kind", "code"),
    [
        ({"weights": sha256(b"others")}, AuthenticityError, r"authenticity\.sealed_object"),
        ({"bundle_root": sha256(b"other")}, AppraisalError, r"appraisal\.placement"),
        ({"model_id": ModelId("model_" + "1" * 32)}, AppraisalError, r"appraisal\.placement"),
    ],
)
def test_a_manifest_that_lies_is_refused(case: Case, changes: dict[str, Any], kind: type[Refusal], code: str) -> None:
    case.lie(**changes)
    with pytest.raises(kind, match=code):
        case.open()


def other_weights(case: Case) -> bytes:
    """A model file for the same bundle with other weights."""
    return encode_model(-case.model.state_P, CONTENTS.manifest)[0]


@pytest.mark.parametrize("payload", [other_weights, lambda _case: b"no model"])
def test_another_object_under_the_model_key_is_refused(case: Case, payload: Callable[[Case], bytes]) -> None:
    sealed = seal_object(payload(case), case.launch.keys["model"], ObjectKind.MODEL)
    for number, leaf in enumerate(sealed.leaves()):
        case.store.write_leaf(sealed.root, number, leaf)
    case.store.commit(sealed.root, sealed.chunk_count + 1)
    case.lie(object=ObjectRef(root=sealed.root, chunk_count=sealed.chunk_count))
    with pytest.raises(Refusal):
        case.open()


def test_a_design_is_served_with_its_part_of_the_state(tmp_path: Path) -> None:
    case = Case(tmp_path, designing_bundle(), linear_design().encode())
    opened = case.open()
    assert opened.served is not None
    assert opened.served.has_design
    assert opened.contents == designing_bundle()
    np.testing.assert_array_equal(opened.state_P, case.model.state_P[:FEATURES])


@pytest.mark.parametrize("document", ["", "{}", too_large_design(), another_answer(), linear_design(FEATURES + 1)])
def test_what_designed_nothing_that_can_answer_is_placed_and_refuses_each_query(tmp_path: Path, document: str) -> None:
    opened = Case(tmp_path, designing_bundle(), document.encode()).open()
    assert opened.served is None
    assert NoModel().answer(np.zeros((1, FEATURES), np.float32), 1.0).code == "provider.output"


RANGES_V2 = np.array([[-1.0, 0.5], [0.0, 2.0]], np.float32)
KEPT = Findings(Finding.JUDGED, 200, 90.0, 89.9, RANGES_V2)


def sealed_with(case: Case, findings: Findings | None, **changes: Any) -> None:
    """The model has these findings of int8, and its manifest says what `changes` say."""
    payload, weights = encode_model(case.model.state_P, CONTENTS.manifest, json.dumps(GRAPH).encode(), findings)
    sealed = seal_object(payload, case.launch.keys["model"], ObjectKind.MODEL)
    for number, leaf in enumerate(sealed.leaves()):
        case.store.write_leaf(sealed.root, number, leaf)
    case.store.commit(sealed.root, sealed.chunk_count + 1)
    case.lie(object=ObjectRef(root=sealed.root, chunk_count=sealed.chunk_count), weights=weights, **changes)


@pytest.mark.parametrize(
    ("findings", "ordered", "precision", "ranges"),
    [
        (None, "float32", Precision.FLOAT32, ()),
        (None, "bfloat16", Precision.BFLOAT16, ()),
        (KEPT, "int8", Precision.INT8, ((-1.0, 0.5), (0.0, 2.0))),
        (Findings(Finding.NOTHING), "int8", Precision.FLOAT32, ()),
    ],
)
def test_a_model_is_answered_as_was_ordered_and_judged(
    case: Case, findings: Findings | None, ordered: str, precision: Precision, ranges: tuple[Any, ...]
) -> None:
    sealed_with(case, findings, answers_in=ordered)
    opened = case.open()
    assert (opened.precision, opened.ranges) == (precision, ranges)


@pytest.mark.parametrize(("findings", "ordered"), [(KEPT, "float32"), (KEPT, "bfloat16"), (None, "int8")])
def test_findings_that_were_not_ordered_or_are_not_there_are_refused(
    case: Case, findings: Findings | None, ordered: str
) -> None:
    sealed_with(case, findings, answers_in=ordered)
    with pytest.raises(FormatError, match=r"format\.model"):
        case.open()
