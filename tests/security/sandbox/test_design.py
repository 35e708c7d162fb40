"""A design in the native sandbox: it trains and answers as provider code does, by the same two protocols."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from common.bundle import DESIGN_FILE, BundleContents, BundleDescription
from common.bundle_packing import pack_bundle
from common.design_bundle import bundle_of_design, require_design
from common.errors import FormatError
from common.model_graph.design import Design
from common.model_graph.graph import ModelGraph
from common.model_graph.nodes import BatchNorm
from common.model_graph.parameters import Filled, Parameter
from common.sandbox.native import NativeQuerySandbox, NativeTrainingSandbox
from common.sandbox.protocol import RoundOutcome, Rows, SandboxSeeds, StateP
from common.sandboxed.design_training import Columns, DesignTraining
from common.sandboxed.model_state import flatten_state, load_state
from common.sandboxed.wire import Course

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "providers" / "digits_design"
STEPS, BATCH = 20, 32
SECONDS = 30.0


@pytest.fixture(scope="module")
def contents() -> BundleContents:
    return pack_bundle(EXAMPLE)


@pytest.fixture(scope="module")
def digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    loaded = load_digits()
    order = np.random.default_rng(0).permutation(len(loaded.target))
    return loaded.images.astype(np.uint8)[order], loaded.target.astype(np.int64)[order]


@pytest.fixture(scope="module")
def normed(contents: BundleContents) -> BundleContents:
    """With a batch normalisation in it, so that the state has statistics, too."""
    return bundle_of_design(contents.manifest, _with_batch_norm(require_design(contents)[0]))


def start(contents: BundleContents, stream: int = 2) -> NativeTrainingSandbox:
    seeds = SandboxSeeds(initial=1, stream=stream)
    return NativeTrainingSandbox.start(contents, rows_per_round=STEPS * BATCH, seeds=seeds)


class Toolchain:
    """What the sandbox runs, in this process."""

    def __init__(self, contents: BundleContents, stream: int = 2) -> None:
        torch.set_num_threads(1)
        names = Columns(contents.manifest.input.column, contents.manifest.label.column)
        design = json.loads(contents.files[DESIGN_FILE])
        self._training = DesignTraining(design, names, seed_initial=1, seed_stream=stream)
        self.initial_P = flatten_state(self._training.model)

    def round(self, rows: Rows, course: Course, steps: int = STEPS) -> StateP:
        """From the first state."""
        load_state(self._training.model, self.initial_P)
        self._training.train(rows, steps, BATCH, course)
        return flatten_state(self._training.model)


def some_rows(digits: tuple[NDArray[np.uint8], NDArray[np.int64]], seed: int) -> Rows:
    images, labels = digits
    chosen = np.random.default_rng(seed).integers(360, len(labels), STEPS * BATCH)
    return {"image": images[chosen], "label": labels[chosen]}


def state_of(outcome: RoundOutcome) -> StateP:
    assert outcome.state_P is not None, outcome.code
    return outcome.state_P


def test_sandboxes_train_what_the_toolchain_trains_learn_together_and_answer(
    normed: BundleContents, digits: tuple[NDArray[np.uint8], NDArray[np.int64]]
) -> None:
    sandboxes = [start(normed, stream) for stream in (2, 3)]
    initial_P = state_P = state_of(sandboxes[0].initial_state(SECONDS))
    assert np.array_equal(state_P, state_of(sandboxes[1].initial_state(SECONDS)))
    for number in range(12):
        course = Course(7 + number, learning_rate=0.5 if number == 0 else 1.0)
        rows = [some_rows(digits, 2 * number + slot) for slot in range(2)]
        rounds = [
            one.run_round(state_P, some, STEPS, BATCH, SECONDS, course)
            for one, some in zip(sandboxes, rows, strict=True)
        ]
        if number == 0:
            for slot, outcome in enumerate(rounds):
                here = Toolchain(normed, stream=2 + slot)
                assert np.array_equal(here.initial_P, initial_P)
                assert np.allclose(state_of(outcome), here.round(rows[slot], course), atol=1e-6)
        state_P = np.mean([state_of(outcome) for outcome in rounds], axis=0, dtype=np.float32)
    for one in sandboxes:
        one.close()
    assert np.array_equal(_statistics(normed, initial_P), np.zeros(16))
    assert np.abs(_statistics(normed, state_P)).min() > 0
    metrics = rounds[0].metrics
    assert metrics is not None
    assert (metrics.steps_done, metrics.loss_mean < 0.5) == (STEPS, True)
    server = NativeQuerySandbox.start(normed, state_P, seed=5)
    answers = [server.answer(digits[0][begin : begin + 16], SECONDS).answer_NA for begin in range(0, 320, 16)]
    server.close()
    right = np.concatenate([one for one in answers if one is not None]).argmax(axis=1) == digits[1][:320]
    assert len(right) == 320
    assert right.mean() > 0.93


def test_a_round_depends_on_seed_number_and_state_alone_but_for_the_optimisers_memory(
    contents: BundleContents, digits: tuple[NDArray[np.uint8], NDArray[np.int64]]
) -> None:
    rows = some_rows(digits, 1)
    first = Toolchain(contents)
    ahead = first.round(rows, Course(7))
    assert np.array_equal(ahead, Toolchain(contents).round(rows, Course(7)))
    for other in (
        Toolchain(contents).round(rows, Course(8)),
        Toolchain(contents, stream=9).round(rows, Course(7)),
        first.round(rows, Course(7)),
    ):
        assert not np.allclose(ahead, other, atol=1e-3)


def test_the_learning_rate_follows_the_course_from_round_to_round(
    contents: BundleContents, digits: tuple[NDArray[np.uint8], NDArray[np.int64]]
) -> None:
    """Without momentum, augmentation and dropout, one step's difference is the rate times the gradient."""
    design, _ = require_design(contents)
    plain = design.optimiser.model_copy(update={"momentum": 0.0, "weight_decay": 0.0})
    nodes = tuple(
        node.model_copy(update={"probability": 0.0}) if node.op == "dropout" else node for node in design.graph.nodes
    )
    graph = design.graph.model_copy(update={"nodes": nodes})
    changed = design.model_copy(update={"optimiser": plain, "augmentation": (), "graph": graph})
    here = Toolchain(bundle_of_design(contents.manifest, changed))
    rows = {name: values[:BATCH] for name, values in some_rows(digits, 1).items()}
    steps = [
        here.round(rows, Course(number, learning_rate=factor), steps=1) - here.initial_P
        for number, factor in enumerate((1.0, 0.25, 1.0))
    ]
    assert np.abs(steps[0]).max() > 1e-3
    assert np.allclose(steps[1], steps[0] / 4, atol=1e-6)
    assert np.allclose(steps[2], steps[0], atol=1e-7)


def _with_batch_norm(design: Design) -> Design:
    graph = design.graph
    ones, zeros = Filled(kind="ones"), Filled(kind="zeros")
    added = (
        Parameter(name="norm.running_mean", shape=(16,), initial=zeros, trained=False),
        Parameter(name="norm.running_var", shape=(16,), initial=ones, trained=False),
    )
    norm = BatchNorm(
        name="norm", inputs=("features.0",), running_mean="norm.running_mean", running_var="norm.running_var"
    )
    nodes = []
    for node in graph.nodes:
        nodes += [norm, node.model_copy(update={"inputs": ("norm",)})] if node.name == "features.1" else [node]
    changed = ModelGraph(
        input=graph.input, parameters=(*graph.parameters, *added), nodes=tuple(nodes), output=graph.output
    )
    return design.model_copy(update={"graph": changed})


def _statistics(bundle: BundleContents, state_P: StateP) -> NDArray[np.float32]:
    before = sum(one.count for one in bundle.manifest.layout[:-2])
    return state_P[before : before + 16]


def test_a_design_that_is_not_what_its_manifest_says_starts_nothing(contents: BundleContents) -> None:
    raw = contents.files["design.json"]
    layout = contents.manifest.layout
    spoilt = {
        "another encoding": contents.model_copy(update={"files": {**contents.files, "design.json": raw + b"\n"}}),
        "another axis": contents.model_copy(
            update={"files": {**contents.files, "design.json": raw.replace(b'"start_axis":1', b'"start_axis":0')}}
        ),
        "another layout": replace_manifest(contents, layout=(*layout[1:], layout[0])),
        "other rows": replace_manifest(contents, input=contents.manifest.input.model_copy(update={"shape": (64,)})),
        "other answers": replace_manifest(contents, answer=contents.manifest.answer.model_copy(update={"shape": (9,)})),
        "other labels": replace_manifest(
            contents, label=contents.manifest.label.model_copy(update={"dtype": "float32"})
        ),
    }
    for name, bundle in spoilt.items():
        with pytest.raises(FormatError, match=r"format\.design"):
            start(bundle)
        assert name


def replace_manifest(contents: BundleContents, **changes: object) -> BundleContents:
    return contents.model_copy(update={"manifest": contents.manifest.model_copy(update=changes)})


def test_a_designs_bundle_holds_no_code(contents: BundleContents) -> None:
    with pytest.raises(ValueError, match="alone"):
        BundleContents(manifest=contents.manifest, files={**contents.files, "more.py": b""})
    assert isinstance(contents.manifest, BundleDescription)
