"""Designs and graphs in the enclave's own process: the same numbers as in a sandbox, and no provider code at all."""

import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from common.bundle import BundleContents
from common.bundle_packing import pack_bundle
from common.errors import ConfinementError
from common.sandbox import enclosed as enclosed_sandbox
from common.sandbox.enclosed import EnclosedQuerySandbox, EnclosedTrainingSandbox
from common.sandbox.native import NativeTrainingSandbox
from common.sandbox.protocol import RoundOutcome, Rows, SandboxLimits, SandboxSeeds, StateP
from common.sandboxed.engines import EagerEngine
from common.sandboxed.graph_model import GraphModel
from common.sandboxed.wire import Course

PROVIDERS = Path(__file__).resolve().parents[3] / "examples" / "providers"
STEPS, BATCH, ROUNDS = 4, 16, 3
SECONDS, SEEDS = 60.0, SandboxSeeds(initial=5, stream=7)
COURSES = [Course(number, learning_rate=1.0 - 0.2 * number, weight_decay=0.5) for number in range(ROUNDS)]


@pytest.fixture(scope="module")
def contents() -> BundleContents:
    return pack_bundle(PROVIDERS / "digits_design")


def rows_of(contents: BundleContents, seed: int) -> Rows:
    numbers, manifest = np.random.default_rng(seed), contents.manifest
    images = numbers.integers(0, 17, (STEPS * BATCH, *manifest.input.shape)).astype(manifest.input.dtype)
    return {
        manifest.input.column: images,
        manifest.label.column: numbers.integers(0, 10, STEPS * BATCH).astype(manifest.label.dtype),
    }


def enclosed(contents: BundleContents) -> EnclosedTrainingSandbox:
    return EnclosedTrainingSandbox.start(contents, rows_per_round=STEPS * BATCH, seeds=SEEDS, limits=SandboxLimits())


def state_of(outcome: RoundOutcome) -> StateP:
    assert outcome.state_P is not None, outcome.code
    return outcome.state_P


def trained(sandbox: NativeTrainingSandbox | EnclosedTrainingSandbox, contents: BundleContents) -> list[bytes]:
    """The states of some rounds, and their losses, to the bit."""
    state_P = state_of(sandbox.initial_state(SECONDS))
    seen = [state_P.tobytes()]
    for number, course in enumerate(COURSES):
        outcome = sandbox.run_round(state_P, rows_of(contents, number), STEPS, BATCH, SECONDS, course)
        state_P = state_of(outcome)
        seen += [state_P.tobytes(), repr(outcome.metrics).encode()]
    sandbox.close()
    return seen


def test_it_trains_as_a_sandbox_does_to_the_bit(contents: BundleContents) -> None:
    native = NativeTrainingSandbox.start(contents, rows_per_round=STEPS * BATCH, seeds=SEEDS)
    assert trained(native, contents) == trained(enclosed(contents), contents)


def test_it_answers_as_eager_torch_does_to_the_bit(contents: BundleContents) -> None:
    state_P = state_of(enclosed(contents).initial_state(SECONDS))
    sandbox = EnclosedQuerySandbox.start(contents, state_P, rows=4 * contents.manifest.query_rows)
    images: NDArray[np.generic] = rows_of(contents, 1)[contents.manifest.input.column][:5]
    answer = sandbox.answer(images, SECONDS)
    each = contents.manifest.query_rows
    padded = np.zeros((-(-len(images) // each) * each, *images.shape[1:]), images.dtype)
    padded[: len(images)] = images
    assert answer.answer_NA is not None
    assert answer.answer_NA.tobytes() == EagerEngine(sandbox._graph, state_P).answer(padded)[: len(images)].tobytes()
    sandbox.close()
    assert sandbox.answer(images, SECONDS).code == "provider.killed"


def test_its_first_question_need_not_wait_for_torch(contents: BundleContents, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the toolchain comes from a slow disk."""
    state_P, toolchain = state_of(enclosed(contents).initial_state(SECONDS)), enclosed_sandbox._toolchain

    def slow(name: str) -> object:
        time.sleep(2.0)
        return toolchain(name)

    monkeypatch.setattr(enclosed_sandbox, "_toolchain", slow)
    sandbox = EnclosedQuerySandbox.start(contents, state_P)
    assert sandbox.answer(rows_of(contents, 1)[contents.manifest.input.column][:1], 1.5).code is None
    sandbox.close()


def test_provider_code_is_refused() -> None:
    contents = pack_bundle(PROVIDERS / "digits_cnn")
    state_P = np.zeros(contents.manifest.state_count, np.float32)
    with pytest.raises(ConfinementError, match="confinement.pair"):
        enclosed(contents)
    with pytest.raises(ConfinementError, match="confinement.pair"):
        EnclosedQuerySandbox.start(contents, state_P)


def test_rows_of_another_kind_are_the_datas_fault(contents: BundleContents) -> None:
    sandbox, rows = enclosed(contents), rows_of(contents, 0)
    state_P = state_of(sandbox.initial_state(SECONDS))
    wrong = rows | {contents.manifest.input.column: rows[contents.manifest.input.column].astype(np.float64)}
    assert sandbox.run_round(state_P, wrong, STEPS, BATCH, SECONDS).code == "provider.input"
    assert sandbox.run_round(state_P, rows, STEPS, BATCH, SECONDS).code == "provider.input"  # for good


def test_what_is_late_has_failed_for_good(contents: BundleContents) -> None:
    sandbox, rows = enclosed(contents), rows_of(contents, 0)
    state_P = state_of(sandbox.initial_state(SECONDS))
    assert sandbox.run_round(state_P, rows, STEPS, BATCH, 0.0).code == "provider.timeout"
    assert sandbox.run_round(state_P, rows, STEPS, BATCH, SECONDS).code == "provider.timeout"


def test_a_loss_that_is_no_number_is_no_output(contents: BundleContents) -> None:
    sandbox = enclosed(contents)
    state_P = np.full_like(state_of(sandbox.initial_state(SECONDS)), 3e38)
    assert sandbox.run_round(state_P, rows_of(contents, 0), STEPS, BATCH, SECONDS).code == "provider.output"


def test_another_state_is_a_mistake(contents: BundleContents) -> None:
    with pytest.raises(ValueError, match="layout"):
        EnclosedQuerySandbox.start(contents, np.zeros(3, np.float32))


def test_the_graph_is_the_one_that_was_checked(contents: BundleContents) -> None:
    state_P = state_of(enclosed(contents).initial_state(SECONDS))
    sandbox = EnclosedQuerySandbox.start(contents, state_P)
    assert GraphModel(sandbox._graph).state_dict().keys() == {tensor.name for tensor in contents.manifest.layout}
