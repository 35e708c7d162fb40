"""A design in the native sandbox: it trains and answers as provider code does, by the same two protocols."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from common.bundle import BundleContents, BundleDescription
from common.bundle_packing import pack_bundle
from common.design_bundle import bundle_of_design, require_design
from common.errors import FormatError
from common.model_graph.design import Design
from common.model_graph.graph import ModelGraph
from common.model_graph.nodes import BatchNorm
from common.model_graph.parameters import Filled, Parameter
from common.sandbox.native import NativeQuerySandbox, NativeTrainingSandbox
from common.sandbox.protocol import RoundOutcome, Rows, SandboxSeeds, StateP
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


def start(contents: BundleContents, stream: int = 2) -> NativeTrainingSandbox:
    seeds = SandboxSeeds(initial=1, stream=stream)
    return NativeTrainingSandbox.start(contents, rows_per_round=STEPS * BATCH, seeds=seeds)


@pytest.fixture(scope="module")
def sandbox(contents: BundleContents) -> Iterator[NativeTrainingSandbox]:
    started = start(contents)
    yield started
    started.close()


def some_rows(digits: tuple[NDArray[np.uint8], NDArray[np.int64]], seed: int) -> Rows:
    images, labels = digits
    chosen = np.random.default_rng(seed).integers(360, len(labels), STEPS * BATCH)
    return {"image": images[chosen], "label": labels[chosen]}


def state_of(outcome: RoundOutcome) -> StateP:
    assert outcome.state_P is not None, outcome.code
    return outcome.state_P


def test_two_trainers_agree_on_the_first_state_learn_together_and_answer(
    contents: BundleContents, sandbox: NativeTrainingSandbox, digits: tuple[NDArray[np.uint8], NDArray[np.int64]]
) -> None:
    other = start(contents, stream=3)
    state_P = state_of(sandbox.initial_state(SECONDS))
    assert np.array_equal(state_P, state_of(other.initial_state(SECONDS)))
    for number in range(12):
        rounds = [
            one.run_round(state_P, some_rows(digits, 2 * number + slot), STEPS, BATCH, SECONDS, Course(number))
            for slot, one in enumerate((sandbox, other))
        ]
        state_P = np.mean([state_of(outcome) for outcome in rounds], axis=0, dtype=np.float32)
    other.close()
    metrics = rounds[0].metrics
    assert metrics is not None
    assert (metrics.steps_done, metrics.loss_mean < 0.5) == (STEPS, True)
    server = NativeQuerySandbox.start(contents, state_P, seed=5)
    answers = [server.answer(digits[0][begin : begin + 16], SECONDS).answer_NA for begin in range(0, 320, 16)]
    server.close()
    right = np.concatenate([one for one in answers if one is not None]).argmax(axis=1) == digits[1][:320]
    assert len(right) == 320
    assert right.mean() > 0.93


def test_a_round_depends_on_seed_number_and_state_alone_but_for_the_optimisers_memory(
    contents: BundleContents, digits: tuple[NDArray[np.uint8], NDArray[np.int64]]
) -> None:
    first, second = start(contents), start(contents)
    state_P = state_of(first.initial_state(SECONDS))
    rows = some_rows(digits, 1)
    ahead = state_of(first.run_round(state_P, rows, STEPS, BATCH, SECONDS, Course(7)))
    assert np.array_equal(ahead, state_of(second.run_round(state_P, rows, STEPS, BATCH, SECONDS, Course(7))))
    third = start(contents)
    assert not np.array_equal(ahead, state_of(third.run_round(state_P, rows, STEPS, BATCH, SECONDS, Course(8))))
    fourth = start(contents, stream=9)
    assert not np.array_equal(ahead, state_of(fourth.run_round(state_P, rows, STEPS, BATCH, SECONDS, Course(7))))
    for one in (first, second, third, fourth):
        one.close()


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
    sandbox = start(bundle_of_design(contents.manifest, changed))
    state_P = state_of(sandbox.initial_state(SECONDS))
    rows = {name: values[:BATCH] for name, values in some_rows(digits, 1).items()}
    steps = [
        state_of(sandbox.run_round(state_P, rows, 1, BATCH, SECONDS, Course(number, learning_rate=factor))) - state_P
        for number, factor in enumerate((1.0, 0.25, 1.0))
    ]
    sandbox.close()
    assert np.abs(steps[0]).max() > 1e-3
    assert np.allclose(steps[1], steps[0] / 4, atol=1e-6)
    assert np.allclose(steps[2], steps[0], atol=1e-7)


def test_running_statistics_are_part_of_the_state(
    contents: BundleContents, digits: tuple[NDArray[np.uint8], NDArray[np.int64]]
) -> None:
    normed = _with_batch_norm(require_design(contents)[0])
    bundle = bundle_of_design(contents.manifest, normed)
    sandbox = start(bundle)
    state_P = state_of(sandbox.initial_state(SECONDS))
    before, after = (
        _statistics(bundle, one)
        for one in (state_P, state_of(sandbox.run_round(state_P, some_rows(digits, 1), STEPS, BATCH, SECONDS)))
    )
    sandbox.close()
    assert np.array_equal(before, np.zeros(16))
    assert np.abs(after).min() > 0


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
