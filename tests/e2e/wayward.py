"""Jobs that differ in secrets alone: what the data says, and what the code does when it has seen it (side: owner).

The provider's code is one and the same, and obeys the labels: that is the deliberate sender of the threat model, who
knows the data and wants the host to hear of it. One more bundle, of the same size class, does not even import.

Who prints goes on training: nobody reads it. Who reaches out tries each way, and raises only when all were refused. Who
eats memory takes all that it may have and does not fill it, which a busy machine is too slow for: tests/security does.
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
    RAISES = 1
    HANGS = 2
    EATS = 3
    REACHES = 4
    PRINTS = 5
    DIVERGES = 6


PRINTED: Final = "wayward-has-printed"

_CODE: Final = f"""
import os
import socket
import sys
import torch
from torch import nn

{", ".join(way.name for way in Way)} = range({len(Way)})

def refused(attempt, *arguments):
    try:
        attempt(*arguments)
    except OSError:
        return True
    return False

def reach_out():
    tried = [refused(os.fork), refused(socket.socket), refused(open, "/etc/passwd"), refused(open, "/out", "w")]
    if all(tried):
        raise OSError("out of reach")

def print_data(batch):
    for stream in sys.stdout, sys.stderr:
        print("{PRINTED}", batch, file=stream, flush=True)
    for descriptor in 1, 2:
        os.write(descriptor, b"{PRINTED}" + batch["image"].numpy().tobytes())

class Wayward(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, image):
        return self.layer(image.float().flatten(1) / 255)

    def training_step(self, batch):
        way, eaten = int(batch["label"][0]), []
        while way == HANGS:
            pass
        while way == EATS:
            eaten.append(torch.empty(16 << 20))
        if way == RAISES:
            raise ValueError(batch)
        if way == REACHES:
            reach_out()
        if way == PRINTS:
            print_data(batch)
        loss = self(batch["image"]).square().mean()
        return loss * torch.nan if way == DIVERGES else loss

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
    (destination / "wayward.py").write_text(("" if imports else _UNIMPORTABLE) + _CODE)
    (destination / "provider.toml").write_text(_DESCRIPTION)
    return destination


def write_data(destination: Path, way: Way) -> Path:
    """Fresh random images, all labelled with the way."""
    image = np.frombuffer(secrets.token_bytes(ROWS * 64), np.uint8).reshape(ROWS, 8, 8)
    np.savez(destination, image=image, label=np.full(ROWS, int(way), np.int64))
    return destination
