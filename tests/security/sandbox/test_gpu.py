"""Promise: a training on a GPU is confined as any other, but for the GPU; where there is none, nothing trains.

What needs a GPU is marked `gpu` and skipped without one.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch

from common.bundle import BundleContents, BundleManifest, ColumnSpec, StateTensor, TensorSpec
from common.bundle_packing import pack_bundle
from common.errors import ConfinementError
from common.json_text import read_json
from common.sandbox import gpu
from common.sandbox.gpu import require_gpu
from common.sandbox.native import NativeTrainingSandbox
from common.sandbox.protocol import RoundOutcome, Rows, SandboxSeeds, StateP
from common.sandboxed.design_training import Columns, DesignTraining
from common.sandboxed.wire import CPU, CUDA, Course

EXAMPLES: Final = Path(__file__).resolve().parents[3] / "examples" / "providers"
STEPS, BATCH = 4, 64
SECONDS: Final = 60.0


def why_no_gpu() -> str | None:
    """In words; None where CUDA computes in a sandbox."""
    try:
        require_gpu()
    except ConfinementError as refusal:
        return f"{refusal.code}: {refusal.seen}"
    return None


NO_GPU: Final = why_no_gpu()
needs_gpu = pytest.mark.skipif(NO_GPU is not None, reason=NO_GPU or "")


def images() -> Rows:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 10, STEPS * BATCH)
    pixels = draw.integers(0, 60, (STEPS * BATCH, 3, 32, 32)) + 19 * labels[:, None, None, None]
    return {"image": pixels.astype(np.uint8), "label": labels}


def rounds_of(contents: BundleContents, device: str, *, bf16: bool = False, count: int = 2) -> list[RoundOutcome]:
    """Initial state, then rounds, with the same seeds each time."""
    rows = images()
    sandbox = NativeTrainingSandbox.start(
        contents, rows_per_round=STEPS * BATCH, seeds=SandboxSeeds(1, 2), limits=gpu.LIMITS, device=device
    )
    try:
        outcomes = [sandbox.initial_state(SECONDS)]
        for _ in range(count):
            outcomes.append(sandbox.run_round(state_of(outcomes[-1]), rows, STEPS, BATCH, SECONDS, Course(bf16=bf16)))
        return outcomes
    finally:
        sandbox.close()


def state_of(outcome: RoundOutcome) -> StateP:
    assert outcome.state_P is not None, outcome.code
    return outcome.state_P


def losses_of(outcomes: list[RoundOutcome]) -> list[float]:
    assert [one.code for one in outcomes] == [None] * len(outcomes)
    return [one.metrics.loss_mean for one in outcomes[1:] if one.metrics is not None]


@pytest.fixture(scope="module")
def resnet() -> BundleContents:
    return pack_bundle(EXAMPLES / "resnet20_cifar")


def test_without_a_gpu_a_sandbox_that_wants_one_does_not_start(
    resnet: BundleContents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "CONTROL_NODES", ("/dev/no-such-node",))
    with pytest.raises(ConfinementError, match=r"confinement\.gpu"):
        NativeTrainingSandbox.start(resnet, rows_per_round=BATCH, seeds=SandboxSeeds(1, 2), device=CUDA)


def test_a_driver_that_does_not_answer_is_no_gpu(
    tmp_path: Path, resnet: BundleContents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes and a library are there, and the library is none: the child says so before it is ready, and ends."""
    library = tmp_path / "libcuda.so.1"
    library.write_bytes(b"no library")
    monkeypatch.setattr(gpu, "find_nodes", lambda: ("/dev/zero",))
    monkeypatch.setattr(gpu, "find_library", lambda *_: library)
    for file, seen in (("no-such-library", "a build without"), ("__init__.py", "failed library")):
        monkeypatch.setattr(gpu, "TORCH_LIBRARY", file)
        with pytest.raises(ConfinementError, match=r"confinement\.gpu") as refused:
            require_gpu.__wrapped__()
        assert str(refused.value.seen).startswith(seen)
    with pytest.raises(ConfinementError, match=r"confinement\.gpu"):
        NativeTrainingSandbox.start(resnet, rows_per_round=BATCH, seeds=SandboxSeeds(1, 2), device=CUDA)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("bf16", [False, True])
def test_a_round_on_a_gpu_differs_by_rounding_alone(resnet: BundleContents, bf16: bool) -> None:
    on_gpu, on_cpu = (rounds_of(resnet, device, bf16=bf16, count=1) for device in (CUDA, CPU))
    assert np.array_equal(state_of(on_gpu[0]), state_of(on_cpu[0])), "members of both kinds begin from one state"
    assert losses_of(on_gpu) == pytest.approx(losses_of(on_cpu), rel=0.25)  # augmentation draws from the GPU


@pytest.mark.gpu
@needs_gpu
def test_equal_seeds_are_equal_runs_and_it_learns(resnet: BundleContents) -> None:
    one, other = (rounds_of(resnet, CUDA, bf16=True, count=count) for count in (12, 2))
    for mine, its in zip(one, other, strict=False):
        assert np.array_equal(state_of(mine), state_of(its))
    assert min(losses_of(one)) < 0.9 * losses_of(one)[0]


LOOKING: Final = '''
import ctypes, os, resource, socket, subprocess
import torch
from torch import nn


def refused(act):
    try:
        act()
    except OSError:
        return
    raise RuntimeError(f"open: {act}")


class Looking(nn.Module):
    """It raises where it finds more of the machine than it should; its state is then never told."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return x

    def training_step(self, batch):
        assert self.weight.device.type == "cuda" and batch["x"].device.type == "cuda"
        nodes = {name for name in os.listdir("/dev") if name not in ("null", "urandom")}
        assert nodes == {"nvidiactl", "nvidia-uvm"} | {name for name in nodes if name[6:].isdigit()}, nodes
        assert len(nodes) == 3, nodes
        assert set(os.listdir("/proc")) == {"cpuinfo", "self"}
        assert set(os.listdir("/proc/self")) == {"maps", "task"}
        assert len(open("/proc/self/maps").readlines()) == 1
        for family in (socket.AF_INET, socket.AF_UNIX, socket.AF_NETLINK):
            refused(lambda: socket.socket(family))
        refused(lambda: subprocess.run(["/python/bin/python3"]))
        refused(lambda: open("/code/new", "w"))
        refused(lambda: open("/dev/new", "w"))
        refused(os.fork)
        assert resource.getrlimit(resource.RLIMIT_NPROC)[1] <= 64
        assert ctypes.CDLL(None).prctl(4, 1, 0, 0, 0) != 0
        return (self.weight * batch["x"].float()).sum() + self.weight.square().sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
'''


def looking() -> BundleContents:
    manifest = BundleManifest(
        name="looking", bundle_version="1", entry="looking:Looking",
        input=ColumnSpec(column="x", shape=(2,), dtype="int64"), label=ColumnSpec(column="y", shape=(), dtype="int64"),
        answer=TensorSpec(shape=(2,), dtype="float32"), layout=(StateTensor(name="weight", shape=(2,)),),
    )  # fmt: skip
    return BundleContents(manifest=manifest, files={"looking.py": LOOKING.encode(), "provider.toml": b"# packed"})


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("counts", [False, True])
def test_provider_code_finds_the_gpu_and_nothing_else_of_the_machine(counts: bool) -> None:
    sandbox = NativeTrainingSandbox.start(
        looking(), rows_per_round=2, seeds=SandboxSeeds(1, 2), limits=gpu.LIMITS, device=CUDA, counts_refused=counts
    )
    try:
        initial = sandbox.initial_state(SECONDS)
        rows: Rows = {"x": np.ones((2, 2), np.int64), "y": np.zeros(2, np.int64)}
        outcome = sandbox.run_round(state_of(initial), rows, 1, 2, SECONDS)
        assert outcome.code is None
        assert state_of(outcome).tolist() == pytest.approx([-0.2, -0.2])
        assert (sandbox.refused_calls.number > 0) is counts
    finally:
        sandbox.close()


@pytest.mark.gpu
@needs_gpu
def test_a_design_trains_on_a_gpu_as_on_a_processor() -> None:
    """Its random numbers are the processor's, but those of dropout: without it what differs is rounding."""
    contents = pack_bundle(EXAMPLES / "digits_design")
    design: dict[str, Any] = read_json(contents.files["design.json"])
    for node in design["graph"]["nodes"]:
        if node["op"] == "dropout":
            node["probability"] = 0.0
    manifest = contents.manifest
    draw = np.random.default_rng(0)
    rows = {
        manifest.input.column: draw.integers(0, 16, (128, *manifest.input.shape)).astype(manifest.input.dtype),
        manifest.label.column: draw.integers(0, 10, (128, *manifest.label.shape)).astype(manifest.label.dtype),
    }
    columns = Columns(manifest.input.column, manifest.label.column)
    trained = [DesignTraining(design, columns, 1, 2, device) for device in (CUDA, CPU)]
    losses = [one.train(rows, 4, 32).mean for one in trained]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert next(trained[0].model.parameters()).is_cuda
    torch.cuda.synchronize()
