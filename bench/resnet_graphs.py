"""Residual networks as model graphs, for measurements of engines (side: owner).

He, Zhang, Ren, Sun, CVPR 2016 (arXiv 1512.03385): ResNet-50 of table 1, its stride in the 3 x 3 convolution as all
frameworks have it since; ResNet-20 of section 4.2 with 1 x 1 convolutions on its shortcuts (option B). The weights are
random, normalised layer by layer as after an initialisation: what is measured does not depend on them.
"""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.model_graph import nodes as n
from common.model_graph.graph import GraphInput, ModelGraph
from common.model_graph.parameters import Filled, Kaiming, Parameter

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Network:
    """A graph that grows node by node; each method returns the name of what it made."""

    def __init__(self, side: int) -> None:
        self.input = GraphInput(shape=(3, side, side), dtype="uint8")
        self.nodes: list[n.Node] = []
        self.parameters: list[Parameter] = []
        scale = tuple(1 / 255 / one for one in _DEVIATION)
        shift = tuple(-mean / one for mean, one in zip(_MEAN, _DEVIATION, strict=True))
        self.pixels = self._keep(n.Affine(name="pixels", inputs=("input",), scale=scale, shift=shift, axis=1))

    def _keep(self, node: Any) -> str:
        self.nodes.append(node)
        name: str = node.name
        return name

    def _parameter(self, name: str, shape: tuple[int, ...], initial: Any) -> str:
        self.parameters.append(Parameter(name=name, shape=shape, initial=initial, trained="running" not in name))
        return name

    def convolution(self, given: str, shape: tuple[int, int, int], stride: int, *, active: bool) -> str:
        """Convolution of `shape` (out, in, kernel side), batch norm and, if `active`, ReLU."""
        made, taken, side = shape
        name, padding = f"conv{len(self.nodes)}", side // 2
        weight = self._parameter(f"{name}.weight", (made, taken, side, side), Kaiming(kind="kaiming_normal"))
        self._keep(n.Conv2d(name=name, inputs=(given,), weight=weight, stride=(stride,) * 2, padding=(padding,) * 2))
        zeros, ones = Filled(kind="zeros"), Filled(kind="ones")
        norm = n.BatchNorm(
            name=f"{name}.normed",
            inputs=(name,),
            weight=self._parameter(f"{name}.norm.weight", (made,), ones),
            bias=self._parameter(f"{name}.norm.bias", (made,), zeros),
            running_mean=self._parameter(f"{name}.norm.running_mean", (made,), zeros),
            running_var=self._parameter(f"{name}.norm.running_var", (made,), ones),
        )
        last = self._keep(norm)
        return self.relu(last) if active else last

    def relu(self, given: str) -> str:
        return self._keep(n.Pointwise(op="relu", name=f"{given}.relu", inputs=(given,)))

    def sum(self, left: str, right: str) -> str:
        return self._keep(n.Elementwise(op="add", name=f"{left}.sum", inputs=(left, right)))

    def pool(self, given: str) -> str:
        return self._keep(n.MaxPool2d(name="pool", inputs=(given,), kernel=(3, 3), stride=(2, 2), padding=(1, 1)))

    def finish(self, given: str, channels: int, classes: int) -> dict[str, Any]:
        """The document, with its classifier."""
        mean = self._keep(n.Reduction(op="mean", name="mean", inputs=(given,), axes=(2, 3)))
        weight = self._parameter("fc.weight", (classes, channels), Kaiming(kind="kaiming_normal"))
        bias = self._parameter("fc.bias", (classes,), Filled(kind="zeros"))
        output = self._keep(n.Linear(name="logits", inputs=(mean,), weight=weight, bias=bias))
        graph = ModelGraph(input=self.input, parameters=tuple(self.parameters), nodes=tuple(self.nodes), output=output)
        document: dict[str, Any] = json.loads(graph.encode())
        return document


def resnet50(side: int = 224, classes: int = 1000) -> dict[str, Any]:
    """25,557,032 weights and 53,120 running statistics."""
    network = _Network(side)
    value = network.pool(network.convolution(network.pixels, (64, 3, 7), 2, active=True))
    channels = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        inner = 64 << stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            made = network.convolution(value, (inner, channels, 1), 1, active=True)
            made = network.convolution(made, (inner, inner, 3), stride, active=True)
            made = network.convolution(made, (4 * inner, inner, 1), 1, active=False)
            shortcut = value if block else network.convolution(value, (4 * inner, channels, 1), stride, active=False)
            value, channels = network.relu(network.sum(made, shortcut)), 4 * inner
    return network.finish(value, channels, classes)


def resnet20() -> dict[str, Any]:
    """For 32 x 32 images of ten classes: 272,474 weights and 1,568 running statistics."""
    return small_resnet(32, (16, 32, 64), 3)


def small_resnet(side: int, widths: tuple[int, ...], blocks: int) -> dict[str, Any]:
    """So many blocks at each width, each stage but the first at half the side; ten classes."""
    network = _Network(side)
    value, channels = network.convolution(network.pixels, (widths[0], 3, 3), 1, active=True), widths[0]
    for wider in widths:
        for _ in range(blocks):
            stride = 1 if channels == wider else 2
            made = network.convolution(value, (wider, channels, 3), stride, active=True)
            made = network.convolution(made, (wider, wider, 3), 1, active=False)
            shortcut = value if stride == 1 else network.convolution(value, (wider, channels, 1), 2, active=False)
            value, channels = network.relu(network.sum(made, shortcut)), wider
    return network.finish(value, channels, 10)


def random_state(document: dict[str, Any], seed: int = 0) -> NDArray[np.float32]:
    """The state, drawn as its initialisers say, with running statistics of zero and one."""
    draw = np.random.default_rng(seed)
    return np.concatenate([_drawn(one, draw) for one in document["parameters"]])


def _drawn(parameter: dict[str, Any], draw: np.random.Generator) -> NDArray[np.float32]:
    shape, initial = parameter["shape"], parameter["initial"]
    if initial["kind"] in {"zeros", "ones"}:
        return np.full(int(np.prod(shape)), initial["kind"] == "ones", np.float32)
    deviation = initial["gain"] / np.sqrt(np.prod(shape[1:]))
    return draw.normal(0.0, deviation, int(np.prod(shape))).astype(np.float32)
