"""Promise: a graph of native code answers as the code does; hostile code gets none, and nobody sees it.

The document of a hostile bundle may be anything: provider code runs beside the exporter and can replace it. So lies are
written by code that does so, in the real sandbox; tests/unit/common/test_exported_graph.py has the table of lies.
"""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from common.bundle import GRAPH_FILE, BundleContents, BundleManifest, StateTensor
from common.bundle_packing import read_bundle_directory
from common.door_objects import DoorObjects
from common.errors import FormatError
from common.exchange.steering import pad_design, unpad_design
from common.exported_graph import open_exported
from common.messages.objects import ModelManifest
from common.model_file import decode_document
from common.sandbox.exporting import GraphExport
from common.sandbox.native import NativeQuerySandbox, NativeTrainingSandbox
from common.sandbox.protocol import SandboxLimits, SandboxSeeds
from common.sandboxed.engine_choice import APART_TOLERANCES, TOLERANCES, difference
from common.sandboxed.export_process import EXAMPLE_ROWS, Exporting, _run_unit, example_rows, export_module
from common.sandboxed.graph_model import GraphModel
from common.sandboxed.local_training import build_model
from common.sandboxed.model_state import flatten_state, layout_of, load_state
from common.sandboxed.wire import Configuration, Operation, Record, Status
from common.sealed_object import ObjectKind
from services.paramserver.model_sealing import agreed_graph
from services.trainer_enclave.exporting import JobGraph
from tests.fakes.exported_graphs import lies, linear_graph
from tests.fakes.in_memory_job import make_schedule
from tests.fakes.training_world import TrainingWorld, WorldDoor, small_bundle
from tests.security.sandbox.sandbox_parts import confined

EXAMPLES: Final = Path(__file__).resolve().parents[3] / "examples" / "providers"
BUNDLE: Final = small_bundle()
LIES: Final = lies(BUNDLE.manifest)
HONEST: Final = json.dumps(linear_graph(BUNDLE.manifest)).encode()
SECONDS: Final = 120.0

MODEL: Final = """
import os, sys, time
import torch
from torch import nn
import common.sandboxed.export_process as exporter

class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(18))
        self.more = nn.Parameter(torch.ones(2, 1))

    def forward(self, x):
        {deed}
        return (x[:, :18] * self.weight).sum(1)
"""


def judged(unverified: bytes | None, bundle: BundleManifest) -> bytes | None:
    """What the parameter server makes of what an export sandbox wrote."""
    try:
        return None if unverified is None else agreed_graph({unpad_design(unverified)}, bundle)
    except FormatError:
        return None


def bundle_doing(deed: str) -> BundleContents:
    source = MODEL.format(deed=deed).encode()
    return BundleContents(manifest=BUNDLE.manifest, files={"provider.toml": b"", "linear.py": source})


RESNET: Final = """
import torch
from torch import nn
from torch.nn import functional

def block(given, made, stride):
    inner = nn.Conv2d(given, made, 3, stride, padding=1, bias=False), nn.BatchNorm2d(made), nn.ReLU(inplace=True)
    return nn.Sequential(*inner, nn.Conv2d(made, made, 3, padding=1, bias=False), nn.BatchNorm2d(made))

class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.first, self.second = block(16, 16, 1), block(16, 32, 2)
        self.shortcut = nn.Conv2d(16, 32, 1, 2, bias=False)
        self.auxiliary = nn.Linear(32, 10)  # for training alone
        self.classifier = nn.Linear(32, 10)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def forward(self, image):
        x = self.stem(image.float() / 255 - 0.5)
        x = functional.relu(x + self.first(x))
        x = functional.relu(self.shortcut(x) + self.second(x))
        return self.classifier(functional.adaptive_avg_pool2d(x, 1).flatten(1))
"""


def resnet(directory: Path) -> Path:
    (directory / "resnet.py").write_text(RESNET)
    (directory / "provider.toml").write_text(
        'name = "resnet"\nbundle_version = "1"\nentry = "resnet:ResNet"\nquery_rows = 4\n'
        '[input]\ncolumn = "image"\nshape = [3, 16, 16]\ndtype = "uint8"\n'
        '[label]\ncolumn = "label"\nshape = []\ndtype = "int64"\n[answer]\nshape = [10]\ndtype = "float32"\n'
    )
    return directory


def built(directory: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[BundleContents, nn.Module]:
    """A directory's bundle and its model, here and not in a sandbox: they are ours."""
    monkeypatch.syspath_prepend(str(directory))
    description, files = read_bundle_directory(directory)
    model = build_model(description.entry, seed=1)
    layout = tuple(StateTensor(name=name, shape=shape) for name, shape in layout_of(model))
    return BundleContents(manifest=BundleManifest(**dict(description), layout=layout), files=files), model


def rows_and_state(contents: BundleContents, model: nn.Module) -> tuple[NDArray[np.generic], NDArray[np.float32]]:
    manifest, draw = contents.manifest, np.random.default_rng(3)
    state_P = flatten_state(model) + draw.normal(0, 0.01, manifest.state_count).astype(np.float32) ** 2
    return draw.integers(0, 17, (manifest.query_rows, *manifest.input.shape)).astype(manifest.input.dtype), state_P


def require_close(by_graph: NDArray[np.generic], by_code: NDArray[np.generic]) -> None:
    scale = max(1.0, float(np.abs(by_code.astype(np.float64)).max()))
    np.testing.assert_allclose(by_graph.astype(np.float64), by_code.astype(np.float64), atol=1e-5 * scale)


@pytest.mark.timeout(300)
def test_a_graph_answers_as_the_code_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it in sandboxes: the export, the code's answers, the graph's."""
    contents, model = built(resnet(tmp_path), monkeypatch)
    export = GraphExport.start(contents)
    rows, state_P = rows_and_state(contents, model)
    code = NativeQuerySandbox.start(contents, state_P, seed=1)
    document = judged(export.run(SECONDS), contents.manifest)
    assert document is not None
    graph = open_exported(document, contents.manifest)
    trusted = NativeQuerySandbox.start(graph.contents(), graph.state(state_P), seed=1)
    try:
        by_code, by_graph = (one.answer(rows, SECONDS).answer_NA for one in (code, trusted))
        alone = trusted.answer(rows[:1], SECONDS).answer_NA
    finally:
        code.close()
        trusted.close()
    assert by_code is not None
    assert by_graph is not None
    assert alone is not None
    assert trusted.engine is not None
    tolerance = TOLERANCES.get(trusted.engine.kind, 1e-5)
    assert difference(by_graph.astype(np.float32), by_code.astype(np.float32)) <= tolerance
    apart = difference(alone.astype(np.float32), by_graph[:1].astype(np.float32))
    assert apart <= APART_TOLERANCES[trusted.engine.kind]


@pytest.mark.parametrize("name", ["digits_cnn", "resnet20_cifar"])
def test_the_graph_of_an_example_answers_as_its_code_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same exporter, checks and toolchain, in this process."""
    contents, model = built(EXAMPLES / name, monkeypatch)
    manifest = contents.manifest
    document = export_module(model, example_rows(manifest.input.shape, manifest.input.dtype, manifest.query_rows))
    taken = judged(pad_design(json.dumps(document).encode()), manifest)
    assert taken is not None
    graph = open_exported(taken, manifest)
    rows, state_P = rows_and_state(contents, model)
    trusted = GraphModel(json.loads(graph.contents().files[GRAPH_FILE]))
    load_state(model, state_P)
    load_state(trusted, graph.state(state_P))
    with torch.inference_mode():
        by_code, by_graph, alone = (
            one.eval()(torch.from_numpy(some)).numpy()
            for one, some in ((model, rows), (trusted, rows), (trusted, rows[:1]))
        )
    require_close(by_graph, by_code)
    require_close(alone, by_graph[:1])


def lying(what: str) -> str:
    """A deed that has the exporter write this lie."""
    return f"exporter.json.dumps = lambda *_, **__: bytes.fromhex({LIES[what].hex()!r}).decode('latin1')"


DEEDS: Final = {
    "raises": "raise KeyError('spleen')",
    "leaves": "os._exit(0)",
    "eats memory": "held = [bytearray(b'x') * (1 << 26) for _ in range(1024)]",
    "lies": lying("the mean of the batch"),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("deed", DEEDS)
def test_code_that_does_not_export_gets_no_graph_and_leaves_nothing_behind(deed: str) -> None:
    contents = bundle_doing(DEEDS[deed])
    export = GraphExport.start(contents, SandboxLimits(memory_bytes=1 << 30))
    assert judged(export.run(SECONDS), contents.manifest) is None
    assert confined() == []


@pytest.mark.parametrize("what", ["a tensor of another shape", "no text", "deep"])
def test_a_lie_is_refused_whoever_wrote_it(what: str) -> None:
    assert judged(padded(LIES[what]), BUNDLE.manifest) is None


@pytest.mark.parametrize("kind", [KeyError, SystemExit, KeyboardInterrupt, MemoryError])
def test_whatever_code_raises_is_a_status(kind: type[BaseException]) -> None:
    class Raising(Exporting):
        def document(self, own: Configuration) -> bytes:
            raise kind(own)

    said: list[tuple[int, Status]] = []
    windows: Any = SimpleNamespace(configuration="spleen", write_header=lambda *words: said.append(words))
    _run_unit(windows, Record(1, Operation.GRAPH, 0, 0, 1.0), Raising())
    assert said == [(1, Status.RAISED)]


@pytest.mark.timeout(300)
def test_the_same_code_without_a_deed_exports() -> None:
    contents = bundle_doing("pass")
    document = judged(GraphExport.start(contents).run(SECONDS), contents.manifest)
    assert document is not None
    assert len(open_exported(document, contents.manifest).graph.parameters) == 1


@pytest.mark.timeout(120)
def test_an_export_that_never_ends_is_ended() -> None:
    contents = bundle_doing("time.sleep(1000)")
    graph = JobGraph(lambda: GraphExport.start(contents), 1000.0)
    graph.begin()
    begin = time.monotonic()
    assert GraphExport.start(contents).run(3.0) is None  # meanwhile the other one has come as far
    assert time.monotonic() - begin < 60
    begin = time.monotonic()
    graph.stop()
    assert time.monotonic() - begin < 20
    assert (graph.payload, confined()) == (None, [])


class Plain(nn.Module):
    """Of the bundle's layout; exports as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.more = nn.Parameter(torch.ones(18)), nn.Parameter(torch.ones(2, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, :18] * self.weight).sum(1)


class Counting(Plain):
    """Answers by how often it was asked."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return super().forward(x) + self.seen


class Remembering(Plain):
    """Answers with the rows of the query before."""

    last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        before, self.last = self.last, x
        return super().forward(x if before is None else before)


class Mixing(Plain):
    """A row's answer depends on the rows before it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.cumsum(0))


class Centred(Plain):
    """A row's answer depends on the mean of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0, keepdim=True))


class Batched(Plain):
    """Takes the statistics of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.batch_norm(x, None, None, training=True))


class Drawing(Plain):
    """A dropout that goes on in evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.dropout(x, 0.5, training=True))


class Counted(Plain):
    """A row's answer depends on how many rows there are."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * len(x))


def exported(module: nn.Module) -> bytes | None:
    """What an honest exporter makes of it, as the parameter server takes it."""
    try:
        document = json.dumps(export_module(module, torch.randn(EXAMPLE_ROWS + 1, 20))).encode()
    except Exception:
        return None
    return judged(pad_design(document), BUNDLE.manifest)


def test_modules_that_keep_mix_or_draw_have_no_graph() -> None:
    assert exported(Plain()) is not None
    for kind in (Counting, Mixing, Centred, Batched, Drawing, Counted):
        assert exported(kind()) is None, kind


def test_a_module_that_remembers_has_no_graph_or_one_that_does_not() -> None:
    document = exported(Remembering())
    if document is not None:
        graph = open_exported(document, BUNDLE.manifest).graph
        assert [one.name for one in graph.parameters] == ["weight"]


@pytest.mark.timeout(120)
def test_the_graph_of_a_job_is_sealed_and_a_lie_is_not(tmp_path: Path) -> None:
    honest = open_exported(HONEST, BUNDLE.manifest).document
    seen = {
        what: job_with(tmp_path / str(number), written)
        for number, (what, written) in enumerate(
            {"honest": HONEST, "lie": LIES["the mean of the batch"], "none": None}.items()
        )
    }
    assert {what: document for what, (document, *_) in seen.items()} == {
        "honest": honest, "lie": b"", "none": b"",
    }  # fmt: skip
    assert len({tuple(public) for _, *public in seen.values()}) == 1, "outcome, frames and sizes are the same"


def job_with(directory: Path, written: bytes | None) -> tuple[bytes, object, int, int]:
    """The sealed document; outcome, size of the model and of frames, as a host sees them."""
    directory.mkdir()
    schedule = make_schedule(tick_milliseconds=20, rounds=3, frame_bytes=16384, ticks_per_round=10, warmup_ticks=60)
    world = TrainingWorld(directory, schedule, exported=padded(written))
    ended = world.run()
    assert ended.manifest is not None
    last = world.read_reports()[-1]
    assert (last.outcome, last.codes) == ("finished", ())
    reference = ModelManifest.decode(ended.manifest.payload).object
    payload = DoorObjects(WorldDoor(world)).load(reference, world.keys["model"], ObjectKind.MODEL)
    (frame_bytes,) = {size for way, size in world.frames if way == "up"}
    return decode_document(payload, world.bundle.manifest), ended.outcome, len(payload), frame_bytes


def padded(written: bytes | None) -> bytes | None:
    if written is None:
        return None
    return len(written).to_bytes(4, "little") + written.ljust((128 << 10) - 4, b"\0")


def test_exports_of_a_bundle_without_code_are_not_begun() -> None:
    contents = open_exported(HONEST, BUNDLE.manifest).contents()
    with pytest.raises(FormatError, match=r"format\.bundle"):
        GraphExport.start(contents)
    with pytest.raises(FormatError, match=r"format\.bundle"):
        NativeTrainingSandbox.start(contents, rows_per_round=1, seeds=SandboxSeeds(1, 2))
