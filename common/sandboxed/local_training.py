"""Build a provider's model and train it some local steps: what a sandbox runs, and the plain twin (side: sandbox).

B rows of a batch, N = steps x B rows of a round.

A provider's class is an `nn.Module` with `training_step(batch) -> loss` (or a dict with "loss"),
`configure_optimizers() -> Optimizer`, `forward(x_BX) -> answer_BA`, and optionally `augment(batch) -> batch`. A batch
is a dict of tensors by column name, of the dtypes that provider.toml names.

The fast toolchain (`bf16`): tensors of four axes channels last, forward pass and loss in bfloat16 autocast. Parameters,
gradients and optimiser stay float32, and augmentation is as ever.
"""

import importlib
import random
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import numpy.random  # imported on first use else, and then a tree of what is imported lacks it
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

IMAGE_AXES: Final = 4
"""Batch, channels, height, width."""


@dataclass(frozen=True)
class Losses:
    """Mean over the round's steps, and the last step's."""

    mean: float
    last: float


def seed_everything(seed: int) -> None:
    """Seed torch, NumPy and `random`, which provider code may use."""
    torch.manual_seed(seed & 0x7FFF_FFFF_FFFF_FFFF)
    numpy.random.seed(seed & 0xFFFF_FFFF)  # noqa: NPY002 - the global generator is what provider code finds
    random.seed(seed)


def build_model(entry: str, seed: int) -> nn.Module:
    """Import "module:Class" from `sys.path` and construct it under `seed`. Raises what provider code raises."""
    module, _, name = entry.partition(":")
    model_class = getattr(importlib.import_module(module), name)
    seed_everything(seed)
    return cast("nn.Module", model_class())


def train_steps(
    model: nn.Module, optimizer: Optimizer, rows: dict[str, NDArray[Any]], steps: int, batch: int, *, bf16: bool = False
) -> Losses:
    """Train on N rows in the order given, `batch` rows a step. Raises what provider code raises."""
    model.train()
    if bf16:
        put_channels_last(model)
    losses = []
    for step in range(steps):
        chosen = slice(step * batch, (step + 1) * batch)
        columns = {name: torch.from_numpy(np.array(values[chosen])) for name, values in rows.items()}
        loss = _loss_of(model, columns, bf16=bf16)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        losses.append(loss.item())
    return Losses(float(np.mean(losses)), losses[-1])


def put_channels_last(model: nn.Module) -> None:
    """Of tensors with four axes the memory changes, and neither the shape nor who holds them."""
    for value in (*model.parameters(), *model.buffers()):
        value.data = channels_last(value.data)


def channels_last(values: Tensor) -> Tensor:
    """The same values; with four axes, channels last in memory."""
    return values.contiguous(memory_format=torch.channels_last) if values.dim() == IMAGE_AXES else values


def forward_in(*, bf16: bool) -> torch.autocast:
    """Where forward pass and loss are computed."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bf16)


def _loss_of(model: Any, batch: dict[str, Tensor], *, bf16: bool) -> Tensor:
    if hasattr(model, "augment"):
        with torch.no_grad():
            batch = model.augment(batch)
    if bf16:
        batch = {name: channels_last(values) for name, values in batch.items()}
    with forward_in(bf16=bf16):
        result = model.training_step(batch)
    return cast("Tensor", result["loss"] if isinstance(result, dict) else result)
