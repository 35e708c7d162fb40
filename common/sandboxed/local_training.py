"""Build a provider's model and train it some local steps: what a sandbox runs, and the plain twin (side: sandbox).

B rows of a batch, N = steps x B rows of a round.

A provider's class is an `nn.Module` with `training_step(batch) -> loss` (or a dict with "loss"),
`configure_optimizers() -> Optimizer`, `forward(x_BX) -> answer_BA`, and optionally `augment(batch) -> batch`. A batch
is a dict of tensors by column name, of the dtypes that provider.toml names.

The fast toolchain (`bf16`): tensors of four axes channels last, forward pass and loss in bfloat16 autocast. Parameters,
gradients and optimiser stay float32, and augmentation is as ever.

On a GPU (`device`) model and batches are there, and losses stay there until the round is over, so that no step waits
for its own loss. A model is built on the processor and moved, so that all members of a job begin from one state.
"""

import importlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import numpy.random  # imported on first use else, and then a tree of what is imported lacks it
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from common.sandboxed.gpu import Batch, PinnedFeed
from common.sandboxed.wire import CPU

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


def build_model(entry: str, seed: int, device: str = CPU) -> nn.Module:
    """Import "module:Class" from `sys.path`, construct it under `seed`, move it. Raises what provider code raises."""
    module, _, name = entry.partition(":")
    model_class = getattr(importlib.import_module(module), name)
    seed_everything(seed)
    model = cast("nn.Module", model_class())
    return model if device == CPU else model.to(device)


def train_steps(
    model: nn.Module,
    optimizer: Optimizer,
    rows: Mapping[str, NDArray[Any]],
    steps: int,
    batch: int,
    *,
    bf16: bool = False,
    device: str = CPU,
) -> Losses:
    """Train on N rows in the order given, `batch` rows a step. Raises what provider code raises."""
    model.train()
    if bf16:
        put_channels_last(model)
    losses = list[Tensor | float]()
    for columns in batches(rows, steps, batch, device):
        loss = _loss_of(model, columns, bf16=bf16, device=device)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        losses.append(taken(loss))
    return losses_of(losses)


def batches(rows: Mapping[str, NDArray[Any]], steps: int, batch: int, device: str) -> Iterable[Batch]:
    """Copies of N rows in the order given, `batch` at a time, on the device."""
    return _copies(rows, steps, batch) if device == CPU else PinnedFeed(rows, steps, batch)


def _copies(rows: Mapping[str, NDArray[Any]], steps: int, batch: int) -> Iterator[Batch]:
    for step in range(steps):
        chosen = slice(step * batch, (step + 1) * batch)
        yield {name: torch.from_numpy(np.array(values[chosen])) for name, values in rows.items()}


def taken(loss: Tensor) -> Tensor | float:
    """A step's loss; one that is on a GPU stays there."""
    return loss.item() if loss.device.type == CPU else loss.detach()


def losses_of(losses: Sequence[Tensor | float]) -> Losses:
    """Of a round, as its steps were `taken`: with a GPU this waits for all of them, once."""
    on_gpu = [one for one in losses if isinstance(one, Tensor)]
    told = torch.stack(on_gpu).tolist() if on_gpu else [one for one in losses if not isinstance(one, Tensor)]
    return Losses(float(np.mean(told)), told[-1])


def put_channels_last(model: nn.Module) -> None:
    """Of tensors with four axes the memory changes, and neither the shape nor who holds them."""
    for value in (*model.parameters(), *model.buffers()):
        value.data = channels_last(value.data)


def channels_last(values: Tensor) -> Tensor:
    """The same values; with four axes, channels last in memory."""
    return values.contiguous(memory_format=torch.channels_last) if values.dim() == IMAGE_AXES else values


def forward_in(*, bf16: bool, device: str = CPU) -> torch.autocast:
    """Where forward pass and loss are computed."""
    return torch.autocast(device, torch.bfloat16, enabled=bf16)


def _loss_of(model: Any, batch: Batch, *, bf16: bool, device: str) -> Tensor:
    if hasattr(model, "augment"):
        with torch.no_grad():
            batch = model.augment(batch)
    if bf16:
        batch = {name: channels_last(values) for name, values in batch.items()}
    with forward_in(bf16=bf16, device=device):
        result = model.training_step(batch)
    return cast("Tensor", result["loss"] if isinstance(result, dict) else result)
