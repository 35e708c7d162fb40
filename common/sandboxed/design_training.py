"""Training as a design says, by trusted code (side: sandbox).

B rows of a step, N rows of a round. Random numbers of a round come from the stream's seed and the round's number
alone, so a round is the same whatever happened before it. Those of initialisers and augmentation are the processor's,
on whatever device the model is; dropout on a GPU draws from the GPU's generator, which has the same seed.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW, Optimizer

from common.sandboxed.graph_model import GraphModel
from common.sandboxed.local_training import (
    Losses,
    channels_last,
    forward_in,
    losses_of,
    put_channels_last,
    seed_everything,
    taken,
)
from common.sandboxed.wire import CPU, PLAIN_COURSE, Course

_ROUND_STRIDE: Final = 0x9E37_79B9_7F4A_7C15
"""2^64 / golden ratio: the seeds of rounds lie far apart (Knuth, The Art of Computer Programming, 6.4)."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns that a model reads."""

    input: str
    label: str


class DesignTraining:
    """One design's model with its optimiser; `design` is JSON that an enclave has checked."""

    def __init__(
        self, design: Mapping[str, Any], columns: Columns, seed_initial: int, seed_stream: int, device: str = CPU
    ) -> None:
        self._design, self._columns, self._seed, self._device = design, columns, seed_stream, device
        seed_everything(seed_initial)
        self.model = GraphModel(design["graph"]).to(device)
        self._optimizer = _make_optimizer(self.model, design["optimiser"])

    def train(self, rows: Mapping[str, NDArray[Any]], steps: int, batch: int, course: Course = PLAIN_COURSE) -> Losses:
        """One round over N = steps x batch rows in the order given, in steps of about the design's `batch_rows`."""
        seed_everything((self._seed + course.round * _ROUND_STRIDE) % (1 << 64))
        self.model.train()
        if course.bf16:
            put_channels_last(self.model)
        own_steps = -(-steps * batch // (self._design["batch_rows"] or batch))
        losses = list[Tensor | float]()
        for number, chosen in enumerate(np.array_split(np.arange(steps * batch), own_steps)):
            self._set_rates(course.round * own_steps + number, course)
            part = slice(chosen[0], chosen[-1] + 1)
            inputs, labels = (np.array(rows[name][part]) for name in (self._columns.input, self._columns.label))
            losses.append(self._step(self._moved(inputs), self._moved(labels), course))
        return losses_of(losses)

    def _moved(self, values: NDArray[Any]) -> Tensor:
        """Steps of a design differ in size, so its batches have no buffers of their own: the driver stages them."""
        return torch.from_numpy(values).to(self._device, non_blocking=True)

    def _step(self, inputs: Tensor, labels: Tensor, course: Course) -> Tensor | float:
        for one in self._design["augmentation"]:
            inputs = _AUGMENTATIONS[one["kind"]](inputs, one, course.augmentation)
        with forward_in(bf16=course.bf16, device=self._device):
            outputs = self.model(channels_last(inputs) if course.bf16 else inputs)
        loss = _loss(outputs.float(), labels, self._design["loss"])
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if (most := self._design["gradient_clip"]) is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), most)
        self._optimizer.step()
        return taken(loss)

    def _set_rates(self, step: int, course: Course) -> None:
        own = self._design["optimiser"]
        for group in self._optimizer.param_groups:
            group["lr"] = own["learning_rate"] * rate_factor(self._design["schedule"], step) * course.learning_rate
            group["weight_decay"] = own["weight_decay"] * course.weight_decay


def rate_factor(schedule: Mapping[str, Any], step: int) -> float:
    """What a schedule makes of the learning rate at a step of the job, counted from 0."""
    warmup = schedule["warmup_steps"]
    if step < warmup:
        return float((step + 1) / warmup)
    after = step - warmup
    if schedule["kind"] == "cosine":
        final = schedule["final_factor"]
        share = min(after, schedule["steps"]) / schedule["steps"]
        return float(final + (1 - final) * (1 + math.cos(math.pi * share)) / 2)
    if schedule["kind"] == "step":
        return float(schedule["factor"] ** (after // schedule["every"]))
    return 1.0


def _make_optimizer(model: GraphModel, optimiser: Mapping[str, Any]) -> Optimizer:
    rate, decay = optimiser["learning_rate"], optimiser["weight_decay"]
    if optimiser["kind"] == "sgd":
        momentum, nesterov = optimiser["momentum"], optimiser["nesterov"]
        return SGD(model.parameters(), lr=rate, momentum=momentum, nesterov=nesterov, weight_decay=decay)
    made = Adam if optimiser["kind"] == "adam" else AdamW
    betas = (optimiser["beta1"], optimiser["beta2"])
    return made(model.parameters(), lr=rate, betas=betas, eps=optimiser["epsilon"], weight_decay=decay)


def _loss(outputs: Tensor, labels: Tensor, loss: Mapping[str, Any]) -> Tensor:
    if loss["kind"] == "cross_entropy":
        classes_second = outputs.movedim(-1, 1)
        return functional.cross_entropy(classes_second, labels.long(), label_smoothing=loss["label_smoothing"])
    wanted = labels.to(torch.float32)
    if loss["kind"] == "mse":
        return functional.mse_loss(outputs, wanted)
    return functional.binary_cross_entropy_with_logits(outputs, wanted)


def _random_crop(x: Tensor, crop: Mapping[str, Any], strength: float) -> Tensor:
    margin = round(crop["padding"] * strength)
    moved = x.movedim(crop["axes"], (-2, -1))
    height, width = moved.shape[-2:]
    x_BMHW = moved.reshape(len(x), -1, height, width)
    padded = x_BMHW.new_zeros(*x_BMHW.shape[:2], height + 2 * margin, width + 2 * margin)
    padded[:, :, margin : margin + height, margin : margin + width] = x_BMHW
    down_B, right_B = torch.randint(0, 2 * margin + 1, (2, len(x))).to(x.device, non_blocking=True)
    rows = torch.arange(len(x), device=x.device).reshape(-1, 1, 1, 1)
    planes = torch.arange(padded.shape[1], device=x.device).reshape(1, -1, 1, 1)
    tall = (down_B.reshape(-1, 1) + torch.arange(height, device=x.device)).reshape(len(x), 1, -1, 1)
    wide = (right_B.reshape(-1, 1) + torch.arange(width, device=x.device)).reshape(len(x), 1, 1, -1)
    return padded[rows, planes, tall, wide].reshape(moved.shape).movedim((-2, -1), crop["axes"])


def _flip(x: Tensor, flip: Mapping[str, Any], strength: float) -> Tensor:
    turned_B = (torch.rand(len(x)) < flip["probability"] * strength).to(x.device, non_blocking=True)
    return torch.where(turned_B.reshape(-1, *[1] * (x.dim() - 1)), x.flip(flip["axis"]), x)


_AUGMENTATIONS: Final[Mapping[str, Callable[[Tensor, Mapping[str, Any], float], Tensor]]] = {
    "random_crop": _random_crop,
    "flip": _flip,
}
