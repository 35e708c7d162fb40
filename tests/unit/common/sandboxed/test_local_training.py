"""common/sandboxed/local_training: what the fast toolchain changes for a module, and what it leaves alone."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.sandboxed.local_training import losses_of, seed_everything, taken, train_steps
from common.sandboxed.model_state import flatten_state, layout_of, load_state
from common.sandboxed.wire import Course, Record

STEPS, BATCH = 5, 16


class Seen(nn.Module):
    """A convolution, a normalisation, a linear layer; it notes what it was called with and what it made of it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm, self.linear = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)
        self.table = nn.Parameter(torch.zeros(2, 3, 4, 5, 6))
        self.notes: list[tuple[torch.dtype, bool]] = []

    def forward(self, image: Tensor) -> Tensor:
        features = torch.relu(self.norm(self.convolution(image.float() / 255)))
        self.notes.append((features.dtype, features.is_contiguous(memory_format=torch.channels_last)))
        result: Tensor = self.linear(features.mean((2, 3)))
        return result

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self(batch["image"]), batch["label"])


def rows() -> dict[str, NDArray[Any]]:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 4, STEPS * BATCH)
    images = draw.integers(0, 60, (STEPS * BATCH, 3, 8, 8)) + 45 * labels[:, None, None, None]
    return {"image": images.astype(np.uint8), "label": labels}


def trained(*, bf16: bool) -> tuple[Seen, torch.optim.Optimizer, list[float]]:
    seed_everything(1)
    model = Seen()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = [train_steps(model, optimizer, rows(), STEPS, BATCH, bf16=bf16).mean for _ in range(6)]
    return model, optimizer, losses


def test_float32_is_left_as_it_was() -> None:
    model, _, _ = trained(bf16=False)
    assert set(model.notes) == {(torch.float32, False)}


def test_bfloat16_is_the_forward_pass_alone_and_channels_come_last() -> None:
    model, optimizer, _ = trained(bf16=True)
    assert set(model.notes) == {(torch.bfloat16, True)}
    held = [value for group in optimizer.param_groups for value in group["params"]]
    assert all(mine is its for mine, its in zip(model.parameters(), held, strict=True))
    states = [optimizer.state[one]["momentum_buffer"] for one in held if one is not model.table]
    assert {value.dtype for value in (*held, *states)} == {torch.float32}


def test_both_learn_the_same_but_for_rounding() -> None:
    (plain, _, plain_losses), (fast, _, fast_losses) = trained(bf16=False), trained(bf16=True)
    assert layout_of(plain) == layout_of(fast)
    assert fast_losses == pytest.approx(plain_losses, rel=0.05)
    assert fast_losses[-1] < 0.5 * fast_losses[0]
    difference = float(np.linalg.norm(flatten_state(fast) - flatten_state(plain)))
    assert 0 < difference < 0.05 * float(np.linalg.norm(flatten_state(plain)))


def test_a_state_is_the_same_numbers_in_either_order_of_memory() -> None:
    fast, _, _ = trained(bf16=True)
    fresh = Seen()
    load_state(fresh, flatten_state(fast))
    assert torch.equal(fresh.convolution.weight, fast.convolution.weight)
    load_state(fast, np.arange(flatten_state(fast).size, dtype=np.float32))
    assert flatten_state(fast).tolist() == list(range(flatten_state(fast).size))


@pytest.mark.parametrize("bf16", [True, False])
def test_the_mode_crosses_the_control_pipe(bf16: bool) -> None:
    record = Record(7, 2, 3, 4, 1.5, Course(5, 0.5, 0.25, 0.125, bf16))
    assert Record.decode(record.encode()) == record


def test_losses_that_stayed_on_a_device_are_told_once() -> None:
    there = [torch.tensor(2.0), torch.tensor(4.0)]
    assert losses_of(there) == losses_of([2.0, 4.0])
    assert taken(torch.tensor(2.0)) == 2.0
    on_meta = torch.zeros((), device="meta", requires_grad=True)
    kept = taken(on_meta)
    assert isinstance(kept, Tensor)
    assert not kept.requires_grad
