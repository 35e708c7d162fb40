"""Jobs that differ in secrets alone: what the data says, and what the code does when it has seen it (side: owner).

The provider's code is one and the same, and obeys the labels: that is the deliberate sender of the threat model, who
knows the data and wants the host to hear of it. One more bundle, of the same size class, does not even import.

Design code is another bundle, and obeys as well: it finds the way in its profile. Where it eats, it designs nonsense;
where it prints, it stops early.

Who prints goes on training: nobody reads it. Who reaches out tries each way, and raises only when all were refused. Who
eats memory takes all that it may have and does not fill it, which a busy machine is too slow for: tests/security does.
"""

import json
import secrets
from enum import IntEnum
from pathlib import Path
from typing import Final

import numpy as np

from tests.fakes.wasm_components import answering, component, quoted, steering

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


_DESIGN: Final = {
    "type": "design",
    "version": 1,
    "graph": {
        "type": "model-graph",
        "version": 1,
        "input": {"shape": [8, 8], "dtype": "uint8"},
        "parameters": [{"name": "w", "shape": [10, 64], "initial": {"kind": "xavier_uniform"}}],
        "nodes": [
            {"op": "affine", "name": "pixels", "inputs": ["input"], "scale": [0.004]},
            {"op": "flatten", "name": "flat", "inputs": ["pixels"]},
            {"op": "linear", "name": "out", "inputs": ["flat"], "weight": "w"},
        ],
        "output": "out",
    },
    "loss": {"kind": "cross_entropy"},
    "optimiser": {"kind": "sgd", "learning_rate": 0.1},
}

_LABEL_MAX: Final = 48
"""Of the profile, by the component model's layout of records (design.wit)."""

_DESIGNS: Final = f"""
  (global $way (mut i32) (i32.const 0))
  (data (i32.const 2048) {quoted(b"nonsense")})
  (data (i32.const 528) {quoted((2048).to_bytes(4, "little") + (8).to_bytes(4, "little"))})
  (data (i32.const 832) {quoted(bytes([2]))})
  (func (export "design") (param i32) (result i32)
    (global.set $way (i32.trunc_f64_s (f64.load offset={_LABEL_MAX} (local.get 0))))
    (if (i32.eq (global.get $way) (i32.const {Way.RAISES})) (then unreachable))
    (loop $again (br_if $again (i32.eq (global.get $way) (i32.const {Way.HANGS}))))
    (select (i32.const 528) (i32.const 512) (i32.eq (global.get $way) (i32.const {Way.EATS}))))
"""
"""512 points to the design, 528 to nonsense; 832 is `stop`, 768 `continue`."""

_STEERS: Final = f"(select (i32.const 832) (i32.const 768) (i32.eq (global.get $way) (i32.const {Way.PRINTS})))"


def write_design_code(destination: Path) -> Path:
    """The obedient design code, as a component."""
    destination.mkdir()
    text = answering(json.dumps(_DESIGN)).split("(func", 1)[0]
    (destination / "wayward.wasm").write_bytes(component(design=text + _DESIGNS, after=steering(_STEERS)))
    (destination / "provider.toml").write_text('kind = "wasm"\nmax_parameters = 640\n' + _DESCRIPTION)
    return destination


def write_data(destination: Path, way: Way) -> Path:
    """Fresh random images, all labelled with the way."""
    image = np.frombuffer(secrets.token_bytes(ROWS * 64), np.uint8).reshape(ROWS, 8, 8)
    np.savez(destination, image=image, label=np.full(ROWS, int(way), np.int64))
    return destination
