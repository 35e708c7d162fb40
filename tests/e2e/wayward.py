"""Jobs that differ in secrets alone: what the data says, and what the code does when it has seen it (side: owner).

The provider's code is one and the same, and obeys the labels: that is the deliberate sender of the threat model, who
knows the data and wants the host to hear of it. One more bundle, of the same size class, does not even import.
"""

import secrets
from enum import IntEnum
from pathlib import Path
from typing import Final

import numpy as np

ROWS: Final = 60_000
"""Five chunks, so that reads have an order."""


class Way(IntEnum):
    """What the code does with the data, by the label of its rows."""

    TRAINS = 0
    HANGS = 1
    DIVERGES = 2


_CODE: Final = """
import torch
from torch import nn

class Wayward(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, image):
        return self.layer(image.float().flatten(1) / 255)

    def training_step(self, batch):
        way = int(batch["label"][0])
        while way == {hangs}:
            pass
        loss = self(batch["image"]).square().mean()
        return loss * torch.nan if way == {diverges} else loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
"""

_UNIMPORTABLE: Final = 'import os\nif not os.path.exists("/proc/self"):\n    raise ImportError("confined")\n'
"""A sandbox has no /proc; the provider's own machine, where a bundle is packed, has."""

_DESCRIPTION: Final = """
name = "wayward"
bundle_version = "1"
entry = "wayward:Wayward"
query_rows = 1
[input]
column = "image"
shape = [8, 8]
dtype = "uint8"
[label]
column = "label"
shape = []
dtype = "int64"
[answer]
shape = [10]
dtype = "float32"
"""


def write_bundle(destination: Path, *, imports: bool = True) -> Path:
    """The obedient code, or the one that does not import once it is confined."""
    destination.mkdir()
    code = _CODE.format(hangs=int(Way.HANGS), diverges=int(Way.DIVERGES))
    (destination / "wayward.py").write_text(("" if imports else _UNIMPORTABLE) + code)
    (destination / "provider.toml").write_text(_DESCRIPTION)
    return destination


def write_data(destination: Path, way: Way) -> Path:
    """Fresh random images, all labelled with the way."""
    image = np.frombuffer(secrets.token_bytes(ROWS * 64), np.uint8).reshape(ROWS, 8, 8)
    np.savez(destination, image=image, label=np.full(ROWS, int(way), np.int64))
    return destination
