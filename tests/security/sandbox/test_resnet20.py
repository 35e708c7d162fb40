"""examples/providers/resnet20_cifar trains in the sandbox, on real images where there are any."""

from pathlib import Path
from typing import Final

import numpy as np
import pytest

from bench import cifar10
from common.bundle import BundleContents
from common.bundle_packing import pack_bundle
from common.sandbox.native import NativeQuerySandbox, NativeTrainingSandbox
from common.sandbox.protocol import Rows, SandboxSeeds
from common.sandboxed.wire import Course

EXAMPLE: Final = Path(__file__).resolve().parents[3] / "examples" / "providers" / "resnet20_cifar"
STEPS, BATCH, ROUNDS = 6, 32, 3
SECONDS: Final = 60.0


@pytest.fixture(scope="module")
def contents() -> BundleContents:
    return pack_bundle(EXAMPLE)


def test_it_is_the_network_of_the_paper(contents: BundleContents) -> None:
    """269,722 parameters, and mean and variance of 688 normalised channels twice over."""
    counts = {tensor.name: tensor.count for tensor in contents.manifest.layout}
    running = sum(count for name, count in counts.items() if ".running_" in name or "_norm.running" in name)
    assert (contents.manifest.state_count - running, running) == (269_722, 2 * 688)


def test_a_confined_round_in_bfloat16_differs_by_rounding_alone(contents: BundleContents) -> None:
    noise = np.random.default_rng(0)
    images = noise.integers(0, 256, (BATCH, 3, 32, 32), dtype=np.uint8)
    rows: Rows = {"image": images, "label": noise.integers(0, 10, BATCH)}
    losses = {}
    for bf16 in (False, True):
        sandbox = NativeTrainingSandbox.start(contents, rows_per_round=BATCH, seeds=SandboxSeeds(1, 2))
        try:
            initial = sandbox.initial_state(SECONDS)
            assert initial.state_P is not None, initial.code
            outcome = sandbox.run_round(initial.state_P, rows, 1, BATCH, SECONDS, Course(bf16=bf16))
            assert outcome.metrics is not None, outcome.code
            losses[bf16] = outcome.metrics.loss_mean
        finally:
            sandbox.close()
    assert losses[True] != losses[False]
    assert losses[True] == pytest.approx(losses[False], rel=0.01)


@pytest.mark.skipif(cifar10.missing() is not None, reason=cifar10.missing() or "")
def test_it_learns_from_real_images_and_answers(contents: BundleContents) -> None:
    images, labels = cifar10.training_images(STEPS * BATCH)
    rows: Rows = {"image": images, "label": labels}
    sandbox = NativeTrainingSandbox.start(contents, rows_per_round=STEPS * BATCH, seeds=SandboxSeeds(1, 2))
    try:
        outcome, losses = sandbox.initial_state(SECONDS), []
        for _ in range(ROUNDS):
            assert outcome.state_P is not None, outcome.code
            outcome = sandbox.run_round(outcome.state_P, rows, STEPS, BATCH, SECONDS)
            assert outcome.metrics is not None, outcome.code
            losses.append(outcome.metrics.loss_mean)
    finally:
        sandbox.close()
    assert losses[-1] < losses[0]
    assert outcome.state_P is not None
    server = NativeQuerySandbox.start(contents, outcome.state_P, seed=5)
    try:
        answer_NA = server.answer(images[:16], SECONDS).answer_NA
    finally:
        server.close()
    assert answer_NA is not None
    assert answer_NA.shape == (16, 10)
    assert np.ptp(answer_NA) > 0
