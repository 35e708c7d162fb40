"""The bench's two sides agree on what a design is, and each learns scikit-learn's digits from it."""

import importlib.util
import json
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bench import sandbox_accuracy
from bench.designed_job import DesignedJob, begun
from bench.plain_design import Plan, build, train_plainly, warm_cosine
from bench.sandbox import missed
from bench.sandbox_accuracy import Images, compare, measure_accuracy, schedule_for
from common.bundle import COMPONENT_FILE, BundleContents, BundleManifest, design_layout
from common.crypto.keys import SecretKey
from common.job_design import design_bounds
from common.model_graph.reading import parse_design
from common.sandboxed.design_training import rate_factor
from common.sandboxed.graph_model import GraphModel
from tests.fakes.in_memory_job import make_schedule
from tests.fakes.wasm_components import answering, component, steering

SCHEDULE = make_schedule(
    rounds=6, steps_per_round=24, batch_rows=50, ticks_per_round=60, frame_bytes=16384, state_class=1 << 16
)


def digits() -> Images:
    from sklearn.datasets import load_digits

    loaded = load_digits()
    order = np.random.default_rng(0).permutation(len(loaded.target))
    images, labels = loaded.images.astype(np.uint8)[order], loaded.target.astype(np.int64)[order]
    return Images((images[597:], labels[597:]), (images[:597], labels[:597]))


def example() -> Any:
    specification = importlib.util.spec_from_file_location("auto_cnn", sandbox_accuracy.EXAMPLE / "auto_cnn.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.AutoCnn()


def document_for(shape: tuple[int, ...], rows: int, schedule: Any, manifest: BundleManifest) -> str:
    """What the example writes, by plain Python."""
    bounds = design_bounds(manifest, schedule)
    column = SimpleNamespace(shape=shape, dtype="uint8", min=0.0, max=255.0, mean=120.0, std=64.0)
    profile = SimpleNamespace(
        columns=[column], answer=(10,), rows=rows, trainers=1, rounds=schedule.rounds,
        steps_per_round=schedule.steps_per_round, batch_rows=schedule.batch_rows, max_parameters=bounds.state_values,
        max_flops_per_row=bounds.flops_per_row,
    )  # fmt: skip
    return json.dumps(example().design(profile))


def manifest_for(shape: tuple[int, ...], limit: int = 8_000) -> BundleManifest:
    fields = {
        "name": "auto-cnn", "bundle_version": "1", "kind": "wasm", "entry": "auto_cnn:AutoCnn", "max_parameters": limit,
        "query_rows": 199, "input": {"column": "image", "shape": shape, "dtype": "uint8"},
        "label": {"column": "label", "shape": [], "dtype": "int64"}, "answer": {"shape": [10], "dtype": "float32"},
        "layout": [one.model_dump() for one in design_layout(limit)],
    }  # fmt: skip
    return BundleManifest.model_validate_json(json.dumps(fields))


def encoded(text: str, manifest: BundleManifest, schedule: Any) -> Any:
    """The document as our encoder writes it."""
    design, _ = parse_design(text.encode(), design_bounds(manifest, schedule))
    return json.loads(design.encode())


def bundle_of(text: str, manifest: BundleManifest, **functions: Any) -> BundleContents:
    """A component that says just this: to build the example takes CPython and ten seconds."""
    code = component(design=answering(text), **functions)
    return BundleContents(manifest=manifest, files={COMPONENT_FILE: code, "provider.toml": b""})


@pytest.mark.timeout(240)
def test_both_sides_learn_digits_from_one_design() -> None:
    images, manifest = digits(), manifest_for((8, 8))
    text = document_for((8, 8), 1200, SCHEDULE, manifest)
    compared = compare(bundle_of(text, manifest), images, SCHEDULE, 1)
    assert min(compared.sealed, compared.plain) > 0.9
    assert (len(compared.taught.losses), compared.taught.adjusted_rounds, compared.steps) == (6, 0, 144)
    assert compared.taught.losses[-1] < compared.taught.losses[0]


@pytest.mark.timeout(120)
def test_a_job_that_fails_is_no_figure() -> None:
    manifest = manifest_for((8, 8))
    text = document_for((8, 8), 1200, SCHEDULE, manifest)
    images, labels = digits().train
    bundle = bundle_of(text, manifest, after=steering("unreachable"))
    job = DesignedJob(bundle, {"image": images, "label": labels}, SCHEDULE, SecretKey(bytes(32)))
    with begun(job), pytest.raises(RuntimeError, match=r"round 1: provider\.raised"):
        job.teach()
    nothing = DesignedJob(bundle_of("{}", manifest), {"image": images, "label": labels}, SCHEDULE, SecretKey(bytes(32)))
    with pytest.raises(RuntimeError, match="round 0"), begun(nothing):
        pass


def test_the_plain_side_builds_what_the_toolchain_builds() -> None:
    """The same weights, other code: the same answers, in training and afterwards."""
    manifest = manifest_for((3, 32, 32), 200_000)
    schedule = schedule_for(manifest, 12)
    graph = encoded(document_for((3, 32, 32), 10_000, schedule, manifest), manifest, schedule)["graph"]
    torch.manual_seed(3)
    ours, plain = GraphModel(graph), build(graph)
    theirs = [one for name, one in plain.state_dict().items() if not name.endswith("num_batches_tracked")]
    assert [one.shape for one in theirs] == [one.shape for one in ours.state_dict().values()]
    for mine, other in zip(ours.state_dict().values(), theirs, strict=True):
        other.copy_(mine)
    images = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8)
    for training in (True, False):
        assert torch.allclose(ours.train(training)(images), plain.train(training)(images), atol=1e-4)


@pytest.mark.parametrize("warmup", [0, 1, 7])
def test_the_plain_schedule_is_the_documents(warmup: int) -> None:
    course = {"kind": "cosine", "steps": 40, "final_factor": 0.05, "warmup_steps": warmup}
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    schedule, seen = warm_cosine(optimiser, course, 0.2), []
    for _ in range(40):
        seen.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert seen == pytest.approx([0.2 * rate_factor(course, step) for step in range(40)])


def test_the_plain_side_refuses_what_it_does_not_know() -> None:
    manifest = manifest_for((8, 8))
    design = encoded(document_for((8, 8), 1200, SCHEDULE, manifest), manifest, SCHEDULE)
    images, labels = digits().train
    adam = design | {"optimiser": {"kind": "adamw"}}
    turned = design | {"augmentation": [{"kind": "flip", "axis": 2, "probability": 0.5}, {"kind": "mixup"}]}
    branched = design["graph"] | {"output": design["graph"]["nodes"][0]["name"]}
    for changed in (adam, turned, design | {"graph": branched}):
        with pytest.raises(ValueError, match="another|not the output"):
            train_plainly(changed, (images, labels), images, Plan(1, 50, 1))


def test_without_images_there_is_a_reason_and_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.cifar10.missing", lambda: "no CIFAR-10 here")
    figures = measure_accuracy()
    assert (figures.auto_cnn_left_out, figures.auto_cnn_accuracy) == ("no CIFAR-10 here", None)
    assert missed(asdict(figures)) == []


def test_a_bar_holds_either_way_and_only_for_what_was_measured() -> None:
    for difference, names in (
        (-0.03, ["auto_cnn_difference"]),
        (-0.02, []),
        (0.02, []),
        (0.03, ["auto_cnn_difference"]),
    ):
        assert missed({"auto_cnn_difference": difference}) == names
    assert missed({"native_start_ms": 101, "wasm_call_ms": 4.9, "attacks_got_through": ("one",)}) == [
        "native_start_ms", "attacks_blocked",
    ]  # fmt: skip
    assert missed({}) == missed({"attacks_native_total": 80, "attacks_wasm_total": 81}) == []
    assert missed({"attacks_wasm_total": 79}) == ["attacks_wasm_total"]
