"""Build a provider's model and train it some local steps: what a sandbox runs, and the plain twin (side: sandbox).

B rows of a batch, N = steps x B rows of a round.

A provider's class is an `nn.Module` with `training_step(batch) -> loss` (or a dict with "loss"),
`configure_optimizers() -> Optimizer`, `forward(x_BX) -> answer_BA`, and optionally `augment(batch) -> batch`. A batch
is a dict of tensors by column name, of the dtypes that provider.toml names.
"""

import importlib
import random
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass(frozen=True)
class Losses:
    """Mean over the round's steps, and the last step's."""

    mean: float
    last: float


def seed_everything(seed: int) -> None:
    """Seed torch, NumPy and `random`, which provider code may use."""
    torch.manual_seed(seed & 0x7FFF_FFFF_FFFF_FFFF)
    np.random.seed(seed & 0xFFFF_FFFF)  # noqa: NPY002 - the global generator is what provider code finds
    random.seed(seed)


def build_model(entry: str, seed: int) -> nn.Module:
    """Import "module:Class" from `sys.path` and construct it under `seed`. Raises what provider code raises."""
    module, _, name = entry.partition(":")
    model_class = getattr(importlib.import_module(module), name)
    seed_everything(seed)
    return cast("nn.Module", model_class())


def train_steps(
    model: nn.Module, optimizer: Optimizer, rows: dict[str, NDArray[Any]], steps: int, batch: int
) -> Losses:
    """Train on N rows in the order given, `batch` rows a step. Raises what provider code raises."""
    model.train()
    losses = []
    for step in range(steps):
        chosen = slice(step * batch, (step + 1) * batch)
        loss = _loss_of(model, {name: torch.from_numpy(np.array(values[chosen])) for name, values in rows.items()})
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        losses.append(loss.item())
    return Losses(float(np.mean(losses)), losses[-1])


def _loss_of(model: Any, batch: dict[str, Tensor]) -> Tensor:
    if hasattr(model, "augment"):
        with torch.no_grad():
            batch = model.augment(batch)
    result = model.training_step(batch)
    return cast("Tensor", result["loss"] if isinstance(result, dict) else result)
