"""What torch does for each operation of a model graph (side: sandbox).

B rows of a batch. A node is the JSON object of common/model_graph/nodes.py; enclaves have checked it before it comes
here, so nothing is checked again. Each function gets the model (its parameters, and whether it trains), the node and
the input tensors, B in front. It may use no random numbers but torch's, which the enclave seeds, and only dropout does.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional

Node = Mapping[str, Any]


class Host(Protocol):
    """The model, as its operations see it."""

    training: bool

    def parameter(self, name: str | None) -> Tensor | None:
        """A tensor of the state."""
        ...


Operation = Callable[..., Tensor]


def _conv2d(host: Host, node: Node, x_BCHW: Tensor) -> Tensor:
    """Channels lie together in memory from here on: what follows keeps that, and small convolutions are faster so."""
    return functional.conv2d(
        x_BCHW.contiguous(memory_format=torch.channels_last),
        _required(host, node, "weight"),
        host.parameter(node["bias"]),
        node["stride"],
        node["padding"],
        node["dilation"],
        node["groups"],
    )


def _linear(host: Host, node: Node, x: Tensor) -> Tensor:
    return functional.linear(x, _required(host, node, "weight"), host.parameter(node["bias"]))


def _batch_norm(host: Host, node: Node, x: Tensor) -> Tensor:
    return functional.batch_norm(
        x,
        host.parameter(node["running_mean"]),
        host.parameter(node["running_var"]),
        host.parameter(node["weight"]),
        host.parameter(node["bias"]),
        training=host.training,
        momentum=node["momentum"],
        eps=node["epsilon"],
    )


def _layer_norm(host: Host, node: Node, x: Tensor) -> Tensor:
    shape = x.shape[x.dim() - node["dimensions"] :]
    weight, bias = host.parameter(node["weight"]), host.parameter(node["bias"])
    return functional.layer_norm(x, list(shape), weight, bias, node["epsilon"])


def _group_norm(host: Host, node: Node, x: Tensor) -> Tensor:
    weight, bias = host.parameter(node["weight"]), host.parameter(node["bias"])
    return functional.group_norm(x, node["groups"], weight, bias, node["epsilon"])


def _gelu(_: Host, node: Node, x: Tensor) -> Tensor:
    return functional.gelu(x, approximate=node["approximate"])


def _max_pool2d(_: Host, node: Node, x_BCHW: Tensor) -> Tensor:
    return functional.max_pool2d(x_BCHW, node["kernel"], node["stride"], node["padding"])


def _avg_pool2d(_: Host, node: Node, x_BCHW: Tensor) -> Tensor:
    return functional.avg_pool2d(
        x_BCHW, node["kernel"], node["stride"], node["padding"], count_include_pad=node["count_padding"]
    )


def _adaptive_avg_pool2d(_: Host, node: Node, x_BCHW: Tensor) -> Tensor:
    return functional.adaptive_avg_pool2d(x_BCHW, node["size"])


def _flatten(_: Host, node: Node, x: Tensor) -> Tensor:
    return x.flatten(node["start_axis"])


def _reshape(_: Host, node: Node, x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], *node["shape"])


def _permute(_: Host, node: Node, x: Tensor) -> Tensor:
    return x.permute(*node["axes"])


def _slice(_: Host, node: Node, x: Tensor) -> Tensor:
    return x.narrow(node["axis"], node["begin"], node["end"] - node["begin"])


def _pad(_: Host, node: Node, x: Tensor) -> Tensor:
    last_first = [side for amounts in reversed(node["amounts"]) for side in amounts]
    return functional.pad(x, last_first, value=node["value"])


def _concat(_: Host, node: Node, *parts: Tensor) -> Tensor:
    return torch.cat(parts, dim=node["axis"])


def _embedding(host: Host, node: Node, x: Tensor) -> Tensor:
    weight = _required(host, node, "weight")
    return functional.embedding(x.long().clamp(0, len(weight) - 1), weight)


def _one_hot(_: Host, node: Node, x: Tensor) -> Tensor:
    chosen = x.long().clamp(0, node["classes"] - 1)
    places: Tensor = functional.one_hot(chosen, node["classes"])
    return places.to(torch.float32)


def _affine(_: Host, node: Node, x: Tensor) -> Tensor:
    places = node["axis"]  # None: one constant each
    shape = [-1 if axis == places else 1 for axis in range(x.dim())] if places is not None else []
    scale, shift = (
        torch.tensor(node[name], dtype=torch.float32, device=x.device).reshape(shape) for name in ("scale", "shift")
    )
    return x.to(torch.float32) * scale + shift


def _dropout(host: Host, node: Node, x: Tensor) -> Tensor:
    return functional.dropout(x, node["probability"], training=host.training)


def _softmax(_: Host, node: Node, x: Tensor) -> Tensor:
    return functional.softmax(x, dim=node["axis"])


def _log_softmax(_: Host, node: Node, x: Tensor) -> Tensor:
    return functional.log_softmax(x, dim=node["axis"])


def _reduced(reduce: Callable[..., Tensor]) -> Operation:
    return lambda _, node, x: reduce(x, dim=node["axes"], keepdim=node["keep"])


def _plain(function: Callable[..., Tensor]) -> Operation:
    return lambda _, __, *inputs: function(*inputs)


def _required(host: Host, node: Node, field: str) -> Tensor:
    tensor = host.parameter(node[field])
    if tensor is None:
        raise ValueError(f"{field} is missing")
    return tensor


OPERATIONS: Final[Mapping[str, Operation]] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "relu": _plain(functional.relu),
    "silu": _plain(functional.silu),
    "tanh": _plain(torch.tanh),
    "sigmoid": _plain(torch.sigmoid),
    "gelu": _gelu,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "flatten": _flatten,
    "reshape": _reshape,
    "permute": _permute,
    "slice": _slice,
    "pad": _pad,
    "add": _plain(torch.add),
    "sub": _plain(torch.sub),
    "mul": _plain(torch.mul),
    "matmul": _plain(torch.matmul),
    "concat": _concat,
    "embedding": _embedding,
    "one_hot": _one_hot,
    "affine": _affine,
    "dropout": _dropout,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "mean": _reduced(torch.mean),
    "sum": _reduced(torch.sum),
    "amax": _reduced(torch.amax),
}
"""By `op`: as many as common/model_graph/rules.py has rules."""
