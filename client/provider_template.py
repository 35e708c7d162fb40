"""A new provider's directory: a small model that packs, passes its check and trains as it is (side: owner).

The comments in it teach the contract (docs/providers.md); the tests build, check and train what is written here.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from client.checking.events import TemplateWritten
from client.events import Event
from common.bundle import DESCRIPTION_FILE
from common.errors import ConflictError

Kind = Literal["native", "wasm"]
"""How its code is confined: PyTorch code, or code that designs."""

_DESCRIPTION: Final = """\
# What an owner and the sandbox need to know of your code. Sealed with it: nobody else reads this.
name = "{name}"
bundle_version = "0.1"           # yours to count; every publication has a name of its own anyway
{entry}
query_rows = 8                   # rows of one query: fewer are filled up, so that size and time tell nothing

[input]                          # the column that the model reads: name, shape of one row and type as in the data set
column = "features"
shape = [16]
dtype = "float32"

[label]                          # the column that it learns to tell; [] is one number a row
column = "label"
shape = []
dtype = "int64"

[answer]                         # what the model gives for one row
shape = [2]
dtype = "float32"
"""

_ENTRIES: Final[dict[Kind, str]] = {
    "native": 'entry = "model:Model"            # module of this directory, and the nn.Module in it',
    "wasm": """\
kind = "wasm"                    # the code designs and steers; it never sees a row
entry = "model:Model"            # module of this directory, and the class in it
max_parameters = 4096            # most values of a state; the sealed model has this size, whatever is designed""",
}

_MODULE: Final = '''\
"""Provider code: ordinary PyTorch. It trains on rows that nobody shows you, and you never see what came of it.

What the sandbox gives: torch, NumPy, the standard library, this directory (read-only, beside `__file__`), and a scratch
folder while training (`tempfile.gettempdir()`). What it does not give: network, processes, other files, a console, a
way to end early. Randomness from torch, NumPy and `random` is seeded: equal seeds must make equal states.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

Batch = dict[str, Tensor]
"""Tensors by column name, the batch first, of the types that provider.toml names."""


class Model(nn.Module):
    """Constructed without arguments, under a seed that all trainers of a job share.

    Its state (parameters and float buffers of `state_dict()`) must keep its names and shapes: it is averaged over
    trainers after every round, and comes back to you in place.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, features: Tensor) -> Tensor:
        """Answers [B, 2] for rows [B, 16]. Users see these; it is called in eval mode, without gradients."""
        logits: Tensor = self.layers(features)
        return logits

    def augment(self, batch: Batch) -> Batch:
        """Optional: changes a batch before each step, without gradients."""
        return {**batch, "features": batch["features"] + 0.01 * torch.randn_like(batch["features"])}

    def training_step(self, batch: Batch) -> Tensor:
        """The loss of one batch (or a dict with "loss"); backward and optimiser step are done for you."""
        return functional.cross_entropy(self(batch["features"]), batch["label"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Called once; the optimiser lives through all rounds of a launch."""
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
'''

_DESIGN_MODULE: Final = '''\
"""Design code: plain Python that sees a profile of the data and says what to build. Trusted code builds and trains it.

It is built into a WebAssembly component, with all that this module imports. There is no system in it: no file, clock,
network or randomness, and no import in a call. What it prints or raises nobody hears; an exception fails the job. Try
it as plain Python: it is.
"""


class Model:
    """Constructed once while building; each job begins with a copy of what it was then."""

    def __init__(self):
        self.best = None
        self.stalled = 0

    def design(self, profile):
        """A `design` (docs/model-graph.md), as a dict, for this profile: columns, classes, rows, bounds.

        Called once in a job, in every trainer; all must come to the same.
        """
        (features,) = profile.columns[0].shape
        (answers,) = profile.answer
        hidden = max(1, min(32, (profile.max_parameters - answers) // (features + answers + 1)))
        return {
            "type": "design",
            "version": 1,
            "graph": {
                "type": "model-graph",
                "version": 1,
                "input": {"shape": [features], "dtype": profile.columns[0].dtype},
                "parameters": [
                    {"name": "hidden.weight", "shape": [hidden, features], "initial": {"kind": "kaiming_uniform"}},
                    {"name": "hidden.bias", "shape": [hidden], "initial": {"kind": "zeros"}},
                    {"name": "out.weight", "shape": [answers, hidden], "initial": {"kind": "kaiming_uniform"}},
                    {"name": "out.bias", "shape": [answers], "initial": {"kind": "zeros"}},
                ],
                "nodes": [
                    {
                        "op": "linear", "name": "hidden", "inputs": ["input"], "weight": "hidden.weight",
                        "bias": "hidden.bias",
                    },
                    {"op": "relu", "name": "on", "inputs": ["hidden"]},
                    {"op": "linear", "name": "out", "inputs": ["on"], "weight": "out.weight", "bias": "out.bias"},
                ],
                "output": "out",
            },
            "loss": {"kind": "cross_entropy"},
            "optimiser": {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9},
        }

    def after_epoch(self, metrics):
        """None to go on, "stop", or factors of what the design says; called after each epoch with the job's loss."""
        if self.best is None or metrics.loss_mean < self.best:
            self.best, self.stalled = metrics.loss_mean, 0
            return None
        self.stalled += 1
        return {"learning_rate": 0.5} if self.stalled >= 2 else None
'''

_MODULES: Final[dict[Kind, str]] = {"native": _MODULE, "wasm": _DESIGN_MODULE}


def write_template(directory: Path, name: str | None, kind: Kind) -> Iterator[Event]:
    """Write provider.toml and its module into a new or empty directory. Ends with `TemplateWritten`.

    Raises `ConflictError` (conflict.provider_directory).
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConflictError("conflict.provider_directory", expected="a new or empty directory", seen=directory)
    chosen = name or _plain_name(directory)
    files = {DESCRIPTION_FILE: _DESCRIPTION.format(name=chosen, entry=_ENTRIES[kind]), "model.py": _MODULES[kind]}
    directory.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (directory / file).write_text(text)
    yield TemplateWritten(directory=str(directory), name=chosen, kind=kind, files=tuple(files))


def _plain_name(directory: Path) -> str:
    """The directory's name, as far as a bundle may be named so."""
    return re.sub(r"[^a-z0-9]+", "-", directory.resolve().name.lower()).strip("-")[:64] or "model"
