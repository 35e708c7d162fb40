"""common/sandbox/native with ordinary provider code: the example trains and answers, alike in and out of a sandbox."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from common.bundle import BundleContents
from common.bundle_packing import pack_bundle
from common.sandbox.native import NativeQuerySandbox, NativeTrainingSandbox
from common.sandbox.protocol import RoundOutcome, Rows, SandboxSeeds, StateP

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "providers" / "digits_cnn"
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


def test_two_trainers_agree_on_the_first_state_and_learn_together(
    contents: BundleContents, sandbox: NativeTrainingSandbox, digits: tuple[NDArray[np.uint8], NDArray[np.int64]]
) -> None:
    other = start(contents, stream=3)
    state_P = state_of(sandbox.initial_state(SECONDS))
    assert np.array_equal(state_P, state_of(other.initial_state(SECONDS)))
    for number in range(12):
        rounds = [
            one.run_round(state_P, some_rows(digits, 2 * number + slot), STEPS, BATCH, SECONDS)
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


def test_equal_seeds_make_equal_rounds_and_rows_of_another_data_set_are_an_outcome(
    contents: BundleContents, digits: tuple[NDArray[np.uint8], NDArray[np.int64]]
) -> None:
    states = []
    for _ in range(2):
        sandbox = start(contents)
        first = state_of(sandbox.initial_state(SECONDS))
        second = state_of(sandbox.run_round(first, some_rows(digits, 1), STEPS, BATCH, SECONDS))
        states.append(state_of(sandbox.run_round(second, some_rows(digits, 2), STEPS, BATCH, SECONDS)))
        rows = some_rows(digits, 3)
        rows["image"] = rows["image"].astype(np.float64)
        for attempt in (rows, some_rows(digits, 3)):
            assert sandbox.run_round(first, attempt, STEPS, BATCH, SECONDS).code == "provider.input"
    assert np.array_equal(states[0], states[1])


def test_an_enclave_mistake_raises_and_ends_nothing(
    sandbox: NativeTrainingSandbox, digits: tuple[NDArray[np.uint8], NDArray[np.int64]]
) -> None:
    state_P = state_of(sandbox.initial_state(SECONDS))
    with pytest.raises(ValueError, match="more rows"):
        sandbox.run_round(state_P, some_rows(digits, 1), STEPS + 1, BATCH, SECONDS)
    with pytest.raises(ValueError, match="float32"):
        sandbox.run_round(state_P[1:], some_rows(digits, 1), STEPS, BATCH, SECONDS)
    assert sandbox.initial_state(SECONDS).code is None


def test_an_answer_has_as_many_rows_as_the_query(
    contents: BundleContents, sandbox: NativeTrainingSandbox, digits: tuple[NDArray[np.uint8], NDArray[np.int64]]
) -> None:
    server = NativeQuerySandbox.start(contents, state_of(sandbox.initial_state(SECONDS)), seed=5)
    images = digits[0]
    many, single = server.answer(images[:3], SECONDS).answer_NA, server.answer(images[2], SECONDS).answer_NA
    assert many is not None
    assert single is not None
    assert many.shape == (3, 10)
    assert np.allclose(many[2:], single, atol=1e-5)
    for wrong in (images[:17], images[:0], images[:1].astype(np.int16), images[:1, :4]):
        with pytest.raises(ValueError, match="query"):
            server.answer(wrong, SECONDS)
    server.close()
