"""What a design learns under confinement, against the same design in plain PyTorch (side: owner).

`examples/providers/auto_cnn` designs a network for `IMAGES` images of CIFAR-10 and steers it for `EPOCHS` epochs, with
one trainer, in rounds (bench/designed_job); its model answers all test images in the query sandbox. Beside it, on the
other core, bench/plain_design trains the same document with weights, order and augmentation of its own, the same number
of steps, and no steering. Keys: `auto_cnn_accuracy` (top-1, mean over the seeds), `auto_cnn_plain_accuracy`,
`auto_cnn_difference` (the first minus the second; the bar stands in bench/sandbox), and what they were measured on.
"""

import json
import multiprocessing
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import numpy as np
from numpy.typing import NDArray

from bench import cifar10
from bench.designed_job import DesignedJob, Taught, answers, begun
from client.checking.designs import MemoryStore
from client.scheduling import ScheduleWishes, plan_schedule
from common.bundle import DESCRIPTION_FILE, DESIGN_FILE, BundleContents, BundleManifest
from common.bundle_packing import pack_bundle
from common.crypto.digests import sha256
from common.crypto.keys import SecretKey
from common.messages.order import Schedule
from common.sandbox.wasm.compiled import CompiledDesign
from common.sealed_object import padded_chunk_count
from services.trainer_enclave.dataset import Columns

EXAMPLE: Final = Path(__file__).resolve().parents[1] / "examples" / "providers" / "auto_cnn"
DESCRIPTION: Final = """
name = "auto-cnn-cifar"
bundle_version = "1.0"
kind = "wasm"
entry = "auto_cnn:AutoCnn"
max_parameters = 200000
query_rows = 250
input = { column = "image", shape = [3, 32, 32], dtype = "uint8" }
label = { column = "label", shape = [], dtype = "int64" }
answer = { shape = [10], dtype = "float32" }
"""
"""The example's provider.toml, for images of another shape."""

IMAGES: Final = 10_000
TEST_IMAGES: Final = 10_000
EPOCHS: Final = 10
BATCH: Final = 50
STEPS: Final = 100
"""Of a round: two rounds are an epoch."""

STEP_MILLISECONDS: Final = 150
"""What the order allows for a step. With it comes the bound on a design's operations (common/job_design.py)."""

SEEDS: Final = (1, 2)


@dataclass(frozen=True)
class AccuracyFigures:
    """Means over seeds; `auto_cnn_by_seed` has (sealed, plain) of each. Seconds: of everything, and of each training.

    All are None where there are no images: `auto_cnn_left_out` says why.
    """

    auto_cnn_accuracy: float | None = None
    auto_cnn_plain_accuracy: float | None = None
    auto_cnn_difference: float | None = None
    auto_cnn_by_seed: tuple[tuple[float, float], ...] | None = None
    auto_cnn_images: int | None = None
    auto_cnn_test_images: int | None = None
    auto_cnn_epochs: int | None = None
    auto_cnn_steps: int | None = None
    auto_cnn_parameters: int | None = None
    auto_cnn_adjusted_rounds: int | None = None
    auto_cnn_seconds: float | None = None
    auto_cnn_sealed_seconds: float | None = None
    auto_cnn_plain_seconds: float | None = None
    auto_cnn_left_out: str | None = None


@dataclass(frozen=True)
class Images:
    """Training rows and test rows: images [N, C, H, W] and labels [N]."""

    train: cifar10.Images
    test: cifar10.Images


@dataclass(frozen=True)
class Comparison:
    """One seed: accuracies and seconds of both trainings, and what the sealed one left."""

    sealed: float
    plain: float
    sealed_seconds: float
    plain_seconds: float
    steps: int
    taught: Taught


def measure_accuracy(epochs: int = EPOCHS, seeds: tuple[int, ...] = SEEDS) -> AccuracyFigures:
    """Both accuracies. Raises `RuntimeError` with the code of what went wrong in the sandboxes."""
    if (reason := cifar10.missing()) is not None:
        return AccuracyFigures(auto_cnn_left_out=reason)
    begin = time.perf_counter()
    images = Images(cifar10.training_images(IMAGES), cifar10.held_out_images(TEST_IMAGES))
    bundle = example_bundle()
    compiled = CompiledDesign(SecretKey.generate(), MemoryStore(), sha256(bundle.encode()))
    schedule = schedule_for(bundle.manifest, epochs)
    compared = list[Comparison]()
    for seed in seeds:
        compared.append(compare(bundle, images, schedule, seed, compiled))
        click.echo(f"seed {seed}: {compared[-1].sealed:.4f} sealed, {compared[-1].plain:.4f} plain")
    sealed, plain = (statistics.fmean(getattr(one, side) for one in compared) for side in ("sealed", "plain"))
    return AccuracyFigures(
        auto_cnn_accuracy=sealed,
        auto_cnn_plain_accuracy=plain,
        auto_cnn_difference=sealed - plain,
        auto_cnn_by_seed=tuple((one.sealed, one.plain) for one in compared),
        auto_cnn_images=IMAGES,
        auto_cnn_test_images=TEST_IMAGES,
        auto_cnn_epochs=epochs,
        auto_cnn_steps=compared[0].steps,
        auto_cnn_parameters=compared[0].taught.state_P.size,
        auto_cnn_adjusted_rounds=sum(one.taught.adjusted_rounds for one in compared),
        auto_cnn_seconds=time.perf_counter() - begin,
        auto_cnn_sealed_seconds=statistics.fmean(one.sealed_seconds for one in compared),
        auto_cnn_plain_seconds=statistics.fmean(one.plain_seconds for one in compared),
    )


def compare(
    bundle: BundleContents, images: Images, schedule: Schedule, seed: int, compiled: CompiledDesign | None = None
) -> Comparison:
    """One job, and the same design in a plain process beside it."""
    from bench.plain_design import Plan, train_plainly  # torch: nothing that the other benches need

    (train_NCHW, labels), (test_NCHW, test_labels) = images.train, images.test
    columns: Columns = {bundle.manifest.input.column: train_NCHW, bundle.manifest.label.column: labels}
    job = DesignedJob(bundle, columns, schedule, SecretKey(seed.to_bytes(32, "big")), compiled)
    steps = schedule.rounds * schedule.steps_per_round
    with begun(job) as begun_job, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as beside:
        document = json.loads(begun_job.served.files[DESIGN_FILE])
        plan = Plan(steps, schedule.batch_rows, seed)
        plain = beside.submit(train_plainly, document, (train_NCHW, labels), test_NCHW, plan)
        begin = time.perf_counter()
        taught = begun_job.teach()
        seconds = time.perf_counter() - begin
        told = answers(taught, test_NCHW)
        result = plain.result()
    return Comparison(
        top_1(told, test_labels), top_1(result.answers, test_labels), seconds, result.seconds, steps, taught
    )


def top_1(answers_NA: NDArray[np.generic], labels_N: NDArray[np.int64]) -> float:
    """Share of rows whose largest answer is the label's."""
    return float((answers_NA.argmax(axis=1) == labels_N).mean())


def example_bundle() -> BundleContents:
    """The example, built for these images as a provider would."""
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(EXAMPLE / "auto_cnn.py", place)
        Path(place, DESCRIPTION_FILE).write_text(DESCRIPTION)
        return pack_bundle(Path(place))


def schedule_for(bundle: BundleManifest, epochs: int) -> Schedule:
    """Two rounds an epoch."""
    wishes = ScheduleWishes(
        rounds=epochs * IMAGES // (STEPS * BATCH), steps=STEPS, batch=BATCH, step_milliseconds=STEP_MILLISECONDS
    )
    return plan_schedule(wishes, padded_chunk_count(bundle.state_count), design_chunks=1)
