"""What int8 costs in accuracy: a ResNet-20 that was trained on CIFAR-10, asked about all test images (side: owner).

Trained by the product's toolchain (common/sandboxed/design_training), in bfloat16 where the processor can; calibrated
and judged by its functions, with rows of the training part alone. Keys: `int8_drop_points` (top-1 of eager float32
minus top-1 of int8, in percent points, on `TEST_IMAGES` images that neither training nor calibration has seen), both
accuracies, and what they were measured on. `int8_left_out` where there are no images, or no units for int8.
"""

import time
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray

from bench import cifar10

TRAINING_IMAGES: Final = 50_000
TEST_IMAGES: Final = 10_000
CALIBRATION_IMAGES: Final = 512
BATCH: Final = 128
JUDGING_SECONDS: Final = 600.0
SEED: Final = 1


def measure_accuracy(epochs: int, images: int = TRAINING_IMAGES) -> dict[str, Any]:
    """Train for `epochs` passes over so many images, and compare."""
    import torch

    from bench.resnet_graphs import resnet20
    from common.sandboxed.engine_report import EngineKind
    from common.sandboxed.openvino_engine import computes_in

    reason = cifar10.missing() or (None if computes_in(EngineKind.OPENVINO_INT8) else "no units for int8 here")
    if reason is not None:
        return {"int8_left_out": reason}
    torch.set_num_threads(1)
    graph, rows = resnet20(), cifar10.training_images(images)
    begin = time.perf_counter()
    state_P = train(graph, rows, epochs)
    seconds = time.perf_counter() - begin
    figures = compare(graph, state_P, rows[0][:CALIBRATION_IMAGES], cifar10.held_out_images(TEST_IMAGES))
    return figures | {"int8_epochs": epochs, "int8_images": images, "int8_training_seconds": round(seconds)}


def train(graph: dict[str, Any], images: cifar10.Images, epochs: int) -> NDArray[np.float32]:
    """The state of `graph` after so many passes, with crops, flips, and a rate that falls to nothing."""
    from common.exchange.toolchain import Toolchain, own_toolchain
    from common.sandboxed.design_training import Columns, DesignTraining
    from common.sandboxed.model_state import flatten_state
    from common.sandboxed.wire import Course

    pixels, labels = images
    steps, bf16 = len(pixels) // BATCH, own_toolchain() is Toolchain.BF16
    training = DesignTraining(_design(graph, epochs * steps), Columns("image", "label"), SEED, SEED)
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(len(pixels))[: steps * BATCH]
        rows: dict[str, NDArray[Any]] = {"image": pixels[order], "label": labels[order]}
        loss = training.train(rows, steps, BATCH, Course(epoch, bf16=bf16)).mean
        click.echo(f"epoch {epoch + 1} of {epochs}: loss {loss:.3f}", err=True)
    return flatten_state(training.model)


def _design(graph: dict[str, Any], steps: int) -> dict[str, Any]:
    crop = {"kind": "random_crop", "axes": (2, 3), "padding": 4}
    optimiser = {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    return {
        "graph": graph,
        "loss": {"kind": "cross_entropy", "label_smoothing": 0.0},
        "optimiser": optimiser,
        "schedule": {"kind": "cosine", "warmup_steps": 100, "steps": steps, "final_factor": 0.0},
        "augmentation": [crop, {"kind": "flip", "axis": 3, "probability": 0.5}],
        "batch_rows": BATCH,
        "gradient_clip": None,
    }


def compare(
    graph: dict[str, Any], state_P: NDArray[np.float32], calibration: NDArray[np.uint8], test: cifar10.Images
) -> dict[str, Any]:
    """Top-1 of both on `test`, as the product judges it, and of what is served: the engine that is chosen for it."""
    from common.sandboxed.engine_choice import choose_engine
    from common.sandboxed.engine_report import Precision
    from common.sandboxed.quantising import is_right, quantise

    pixels, labels = test
    found = quantise(graph, state_P, calibration, test, JUDGING_SECONDS)
    ranges = () if found.ranges_V2 is None else tuple((float(low), float(high)) for low, high in found.ranges_V2)
    engine, report = choose_engine(graph, state_P, Precision.INT8, ranges)
    parts = range(0, len(pixels), BATCH)
    served = np.concatenate([is_right(engine.answer(pixels[at : at + BATCH]), labels[at : at + BATCH]) for at in parts])
    return {
        "int8_drop_points": round(found.float32_percent - found.int8_percent, 2),
        "int8_top1": round(found.int8_percent, 2),
        "int8_float32_top1": round(found.float32_percent, 2),
        "int8_served_top1": round(100 * float(served.mean()), 2),
        "int8_served_by": report.kind.name.lower(),
        "int8_test_images": found.rows,
    }
