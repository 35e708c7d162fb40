"""Hostile bundles, and how tests put them into sandboxes (side: library)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from common.bundle import BundleContents, BundleManifest, ColumnSpec, StateTensor, TensorSpec
from common.sandbox.native import NativeQuerySandbox, NativeTrainingSandbox
from common.sandbox.protocol import QueryOutcome, RoundOutcome, SandboxLimits, SandboxSeeds
from tests.security.sandbox.attacks.calls import CALL_NAMES
from tests.security.sandbox.attacks.table import ENDINGS
from tests.security.sandbox.hostile_bundle import bounds, poison
from tests.security.sandbox.hostile_bundle.deed_names import NAMES

SLOTS = 64
_OTHERS = re.compile(r"deploy\.embedded\.supervisor|multiprocessing\.resource_tracker")
DEADLINE_SECONDS = 30.0
LIMITS = SandboxLimits(memory_bytes=bounds.MEMORY_BYTES, threads=bounds.THREADS, file_bytes=bounds.SCRATCH_BYTES)
SEEDS = SandboxSeeds(initial=1, stream=2)

TIGHT = pytest.mark.skipif(
    torch.version.cuda is not None, reason="torch's build for CUDA takes more than the least memory to be imported"
)
"""Bounds that are measured for torch's build for processors (docs/gpu.md)."""


def hostile_bundle(**more_files: str) -> BundleContents:
    """The hostile bundle; `more_files` (module name -> source) replace or add modules."""
    folder = Path(__file__).with_name("hostile_bundle")
    files = {path.name: path.read_bytes() for path in sorted(folder.glob("*.py"))}
    files |= {f"{name}.py": source.encode() for name, source in more_files.items()} | {"provider.toml": b"# packed"}
    files["call_names.py"] = f"CALLS = {CALL_NAMES!r}\n".encode()
    files |= {path: poison.content(name) for name, path in poison.FILES.items()}
    manifest = BundleManifest(
        name="hostile",
        bundle_version="1",
        entry="hostile:Hostile",
        input=ColumnSpec(column="x", shape=(2,), dtype="int64"),
        label=ColumnSpec(column="y", shape=(), dtype="int64"),
        answer=TensorSpec(shape=(SLOTS,), dtype="float32"),
        layout=(StateTensor(name="report", shape=(SLOTS,)),),
    )
    return BundleContents(manifest=manifest, files=dict(sorted(files.items())))


def confined() -> list[psutil.Process]:
    """Every process below this one, but for the private brokers that other tests of it share, and Python's own helper
    that lives on once any test has started a process pool.
    """
    own = [one for one in psutil.Process().children() if not _OTHERS.search(" ".join(one.cmdline()))]
    return [each for one in own for each in (one, *one.children(recursive=True))]


class HostileTrainer:
    """A training sandbox with the hostile bundle."""

    def __init__(self, contents: BundleContents, limits: SandboxLimits = LIMITS) -> None:
        self.sandbox = NativeTrainingSandbox.start(contents, rows_per_round=1, seeds=SEEDS, limits=limits)

    def round(self, deed: str, argument: int = 0, *, seconds: float = DEADLINE_SECONDS) -> RoundOutcome:
        rows = {"x": np.array([[NAMES.index(deed), argument]]), "y": np.array([0])}
        return self.sandbox.run_round(np.zeros(SLOTS, np.float32), rows, 1, 1, seconds)


@contextmanager
def hostile_trainer(limits: SandboxLimits = LIMITS, **more_files: str) -> Iterator[HostileTrainer]:
    trainer = HostileTrainer(hostile_bundle(**more_files), limits)
    try:
        yield trainer
    finally:
        trainer.sandbox.close()


def ending(name: str) -> int:
    """The argument of the deed "end" for it."""
    return list(ENDINGS).index(name)


class HostileServer:
    """A query sandbox with the hostile bundle."""

    def __init__(self) -> None:
        self.sandbox = NativeQuerySandbox.start(hostile_bundle(), np.zeros(SLOTS, np.float32), seed=3, limits=LIMITS)

    def query(self, deed: str, argument: int = 0, *, seconds: float = DEADLINE_SECONDS) -> QueryOutcome:
        return self.sandbox.answer(np.array([NAMES.index(deed), argument]), seconds)

    def numbers(self, deed: str, argument: int = 0) -> list[float]:
        """The answer of a query that must be answered."""
        outcome = self.query(deed, argument)
        assert outcome.answer_NA is not None, outcome.code
        return [float(number) for number in outcome.answer_NA[0]]
