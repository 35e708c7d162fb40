"""A design trained in plain PyTorch, by code that shares none with the toolchain (side: owner).

B rows of a step, N images, C channels, H x W pixels, A classes.

The document's chain of nodes becomes layers of torch.nn with parameters of their own, drawn anew; optimiser, schedule
and loss are torch's; rows are shuffled, cropped and mirrored here, one by one. Known are the nodes that auto_cnn
writes; anything else is refused, for a comparison with another model would mean nothing. The document is one as our
encoder writes it, with all its defaults.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """Steps in all, rows of a step, and what draws weights, order and augmentation."""

    steps: int
    batch_rows: int
    seed: int


@dataclass(frozen=True)
class PlainResult:
    """Answers [N, A] for the images that were asked about, and seconds of the training."""

    answers: NDArray[np.float32]
    seconds: float


class Affine(nn.Module):
    """The document's `affine` with one constant for all places."""

    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, values: Tensor) -> Tensor:
        return values.float() * self.scale + self.shift


class Shaped(nn.Module):
    """Each row in another shape."""

    def __init__(self, shape: list[int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, values: Tensor) -> Tensor:
        return values.reshape(len(values), *self.shape)


class SpatialMean(nn.Module):
    """[B, C, H, W] to [B, C]."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW.mean((2, 3))


def build(graph: Document) -> nn.Sequential:
    """The graph as layers. Raises `ValueError` for one that is no chain of known nodes."""
    known = {one["name"]: one for one in graph["parameters"]}
    layers, last = list[nn.Module](), "input"
    for node in graph["nodes"]:
        if node["inputs"] != [last] or node["op"] not in _LAYERS:
            raise ValueError(f"no chain of known nodes: {node['op']} {node['name']}")
        layers.append(_LAYERS[node["op"]](node, known))
        last = node["name"]
    if last != graph["output"]:
        raise ValueError("the last node is not the output")
    return nn.Sequential(*layers)


def _affine(node: Document, _: Document) -> nn.Module:
    (scale,), (shift,) = node["scale"], node["shift"]
    return Affine(scale, shift)


def _convolution(node: Document, known: Document) -> nn.Module:
    weight = known[node["weight"]]
    made, taken, *kernel = weight["shape"]
    plain = (node["bias"], node["groups"], weight["initial"]["kind"]) == (None, 1, "kaiming_normal")
    if not plain or node["dilation"] != [1, 1]:
        raise ValueError(f"not a plain convolution: {node['name']}")
    layer = nn.Conv2d(taken, made, tuple(kernel), tuple(node["stride"]), tuple(node["padding"]), bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer


def _batch_norm(node: Document, known: Document) -> nn.Module:
    (channels,) = known[node["running_mean"]]["shape"]
    return nn.BatchNorm2d(channels, eps=node["epsilon"], momentum=node["momentum"])


def _linear(node: Document, known: Document) -> nn.Module:
    made, taken = known[node["weight"]]["shape"]
    layer = nn.Linear(taken, made)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _mean(node: Document, _: Document) -> nn.Module:
    if (node["axes"], node["keep"]) != ([2, 3], False):
        raise ValueError("not a mean over the places of an image")
    return SpatialMean()


_LAYERS: Final[Mapping[str, Callable[[Document, Document], nn.Module]]] = {
    "affine": _affine,
    "reshape": lambda node, _: Shaped(node["shape"]),
    "conv2d": _convolution,
    "batch_norm": _batch_norm,
    "relu": lambda _, __: nn.ReLU(),
    "max_pool2d": lambda node, _: nn.MaxPool2d(tuple(node["kernel"]), tuple(node["stride"])),
    "mean": _mean,
    "linear": _linear,
}


def train_plainly(
    design: Document, rows: tuple[NDArray[np.generic], NDArray[np.int64]], asked: NDArray[np.generic], plan: Plan
) -> PlainResult:
    """Build, train on `rows` (images [N, ...], labels [N]) and answer for `asked`.

    Rows are taken epoch by epoch, in a new order each time; what fills no step at an epoch's end goes into the next.
    """
    torch.set_num_threads(1)
    torch.manual_seed(plan.seed)
    begin = time.perf_counter()
    model, draw = build(design["graph"]), np.random.default_rng(plan.seed)
    optimiser, schedule = _optimiser(design, model)
    images, labels = (torch.from_numpy(values) for values in rows)
    criterion = nn.CrossEntropyLoss(label_smoothing=design["loss"]["label_smoothing"])
    order = np.empty(0, np.int64)
    for _ in range(plan.steps):
        while len(order) < plan.batch_rows:
            order = np.concatenate([order, draw.permutation(len(labels))])
        chosen, order = order[: plan.batch_rows], order[plan.batch_rows :]
        batch = torch.stack([_augmented(images[one], design["augmentation"], draw) for one in chosen])
        optimiser.zero_grad()
        criterion(model(batch), labels[chosen]).backward()
        optimiser.step()
        schedule.step()
    seconds = time.perf_counter() - begin
    model.eval()
    with torch.inference_mode():
        told = torch.cat([model(torch.from_numpy(asked[at : at + 250])) for at in range(0, len(asked), 250)])
    return PlainResult(told.numpy(), seconds)


def _optimiser(design: Document, model: nn.Module) -> tuple[torch.optim.Optimizer, LRScheduler]:
    own, course = design["optimiser"], design["schedule"]
    if (own["kind"], course["kind"], design["loss"]["kind"]) != ("sgd", "cosine", "cross_entropy"):
        raise ValueError("another optimiser, schedule or loss than auto_cnn's")
    if (design["gradient_clip"], design["batch_rows"]) != (None, None):
        raise ValueError("steps of another kind than auto_cnn's")
    rate = own["learning_rate"]
    optimiser = torch.optim.SGD(
        model.parameters(), rate, own["momentum"], weight_decay=own["weight_decay"], nesterov=own["nesterov"]
    )
    return optimiser, warm_cosine(optimiser, course, rate)


def warm_cosine(optimiser: torch.optim.Optimizer, course: Document, rate: float) -> LRScheduler:
    """The document's `cosine` by torch's own schedulers."""
    cosine = CosineAnnealingLR(optimiser, course["steps"], course["final_factor"] * rate)
    warmup = course["warmup_steps"]
    if not warmup:
        return cosine
    rise = LinearLR(optimiser, 1 / warmup, 1.0, max(1, warmup - 1))
    return SequentialLR(optimiser, [rise, cosine], [warmup])


def _augmented(image: Tensor, augmentation: list[Document], draw: np.random.Generator) -> Tensor:
    """One image after another, each with its own draw."""
    for one in augmentation:
        if one["kind"] == "flip":
            axis = one["axis"] - 1  # the document counts the batch as axis 0
            image = image.flip(axis) if draw.random() < one["probability"] else image
        elif one["kind"] == "random_crop" and one["axes"] == [2, 3]:
            margin = one["padding"]
            _, height, width = image.shape
            padded = nn.functional.pad(image, (margin,) * 4)
            down, right = draw.integers(0, 2 * margin + 1, 2)
            image = padded[:, down : down + height, right : right + width]
        else:
            raise ValueError(f"another augmentation than auto_cnn's: {one}")
    return image
