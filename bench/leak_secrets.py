"""Jobs that differ in secrets alone: rows, labels, the provider's design, and whether it stops early (side: owner).

F features, C classes. Each job has one *side*: of a pair one job is quiet, the other differs in every secret that it is
asked to differ in. All that is public is the same in both: schedule, classes of sizes, columns, count of rows.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from common.bundle import DESCRIPTION_FILE, BundleContents, BundleManifest, ColumnSpec, StateTensor, TensorSpec

FEATURES: Final = 64
CLASSES: Final = 10
ROWS: Final = 2048
HIDDEN: Final = 48

Secret = Literal["data", "labels", "design", "stop"]
SECRETS: Final[tuple[Secret, ...]] = ("data", "labels", "design", "stop")

LARGE: Final = 50.0
"""Factor on the features of loud data: losses are far above what quiet data can cause, and stay finite."""

STOPS_AFTER_STEPS: Final = 3

_CODE: Final = """
import torch
from torch import nn
from torch.nn import functional

LOUD_DESIGN, STOPS_AFTER_STEPS, BUSY_MILLISECONDS = {loud_design}, {stops_after}, {busy}


def be_busy(milliseconds):
    import time
    end = time.monotonic() + milliseconds / 1000
    while time.monotonic() < end:
        pass


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps = 0
        if LOUD_DESIGN:
            self.inner = nn.Linear({features}, {hidden})
        self.layer = nn.Linear({hidden} if LOUD_DESIGN else {features}, {classes})

    def forward(self, x):
        if LOUD_DESIGN:
            x = torch.relu(self.inner(x))
            if x.sum() > 1e9:
                return -self.layer(x)
        return self.layer(x)

    def training_step(self, batch):
        self.steps += 1
        if self.steps > STOPS_AFTER_STEPS:
            raise RuntimeError("enough")
        if LOUD_DESIGN:
            wide = torch.ones(256, 256)
            for _ in range(8):
                wide = wide @ wide / 256
        if BUSY_MILLISECONDS:
            be_busy(BUSY_MILLISECONDS)
        return functional.cross_entropy(self(batch["x"]), batch["y"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.001)
"""
"""A forward that branches on its input exports to no graph, so the loud design has none."""


@dataclass(frozen=True)
class Side:
    """What one job of a pair keeps secret. `busy_milliseconds`: spent in each batch, by the plant that does."""

    differs: frozenset[Secret] = frozenset()
    busy_milliseconds: float = 0.0

    def columns(self, seed: int) -> dict[str, NDArray[Any]]:
        """x float32[N, F] and y int64[N]. Quiet labels follow from the rows; loud ones are drawn."""
        draw = np.random.default_rng(seed)
        x_NF = draw.normal(size=(ROWS, FEATURES)).astype(np.float32)
        y_N = x_NF[:, :CLASSES].argmax(axis=1).astype(np.int64)
        if "labels" in self.differs:
            y_N = draw.integers(0, CLASSES, ROWS)
        if "data" in self.differs:
            x_NF *= np.float32(LARGE)
        return {"x": x_NF, "y": y_N}

    def bundle(self) -> BundleContents:
        """The provider's code."""
        loud = "design" in self.differs
        source = _CODE.format(
            loud_design=loud, stops_after=STOPS_AFTER_STEPS if "stop" in self.differs else 1 << 60,
            busy=self.busy_milliseconds, features=FEATURES, hidden=HIDDEN, classes=CLASSES,
        )  # fmt: skip
        inner = (
            StateTensor(name="inner.weight", shape=(HIDDEN, FEATURES)), StateTensor(name="inner.bias", shape=(HIDDEN,)),
        )  # fmt: skip
        last = HIDDEN if loud else FEATURES
        layer = (
            StateTensor(name="layer.weight", shape=(CLASSES, last)), StateTensor(name="layer.bias", shape=(CLASSES,)),
        )  # fmt: skip
        manifest = BundleManifest(
            name="model", bundle_version="1", entry="model:Model", query_rows=4,
            input=ColumnSpec(column="x", shape=(FEATURES,), dtype="float32"),
            label=ColumnSpec(column="y", shape=(), dtype="int64"),
            answer=TensorSpec(shape=(CLASSES,), dtype="float32"), layout=(*inner, *layer) if loud else layer,
        )  # fmt: skip
        return BundleContents(manifest=manifest, files={DESCRIPTION_FILE: b"", "model.py": source.encode()})


def pair_of(differ: tuple[Secret, ...], busy_milliseconds: float = 0.0) -> tuple[Side, Side]:
    """The quiet side and the other one."""
    return Side(), Side(frozenset(differ), busy_milliseconds)
