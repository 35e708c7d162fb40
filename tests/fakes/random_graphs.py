"""Valid model graphs at random: every operation of the allow-list on values that suit it (side: library)."""

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.model_graph import nodes as n
from common.model_graph.checking import parameters_of
from common.model_graph.graph import GraphInput, ModelGraph
from common.model_graph.parameters import Filled, Normal, Parameter
from common.model_graph.rules import RULES
from common.model_graph.values import INTEGERS, Operands, RuleError, Value
from common.sandboxed.graph_model import GraphModel

MOST_VALUES = 4096
INPUTS = [("uint8", (6, 6)), ("int64", (5,)), ("bool", (4,)), ("float32", (3, 8, 8)), ("float32", (6,)),
          ("float64", (2, 3, 4)), ("int16", (2, 4, 4)), ("float32", ()), ("int32", ())]  # fmt: skip


class GraphMaker:
    """Adds nodes one after the other; a choice that a rule refuses is made again."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        dtype, shape = chance.choice(INPUTS)
        self.input = GraphInput.model_validate({"dtype": dtype, "shape": shape})
        self.values = {"input": Value(shape, dtype)}
        self.parameters: dict[str, Parameter] = {}
        self.nodes: list[Any] = []

    def graph(self, count: int) -> ModelGraph:
        """About `count` nodes, and those alone that the last float value depends on."""
        for _ in range(count):
            self._add()
        if self.values[self._last()].dtype != "float32":
            self._keep(n.Affine(name="last", inputs=(self._last(),)))
        return self._pruned(self._last())

    def _last(self) -> str:
        return next(reversed(self.values))

    def _add(self) -> None:
        for _ in range(30):
            maker = self.chance.choice(MAKERS)
            name = self._last() if self.chance.random() < 0.7 else self.chance.choice(list(self.values))
            known = dict(self.parameters)
            try:
                self._keep(maker(self, f"{maker.__name__.strip('_')}_{len(self.nodes)}", name))
            except (RuleError, ValueError, IndexError, TooLargeError):
                self.parameters = known
                continue
            return

    def _keep(self, node: Any) -> None:
        shapes = {one.name: one.shape for one in self.parameters.values()}
        inputs = tuple(self.values.get(name) or Value(shapes[name], batched=False) for name in node.inputs)
        made = RULES[node.op](node, Operands(inputs, shapes)).value
        if made.count > MOST_VALUES or len(made.shape) > 6:
            raise TooLargeError
        self.nodes.append(node)
        self.values[node.name] = made

    def _pruned(self, output: str) -> ModelGraph:
        wanted, kept = {output}, []
        for node in reversed(self.nodes):
            if node.name in wanted:
                kept.append(node)
                wanted.update(node.inputs)
                wanted.update(name for _, name in parameters_of(node))
        parameters = tuple(one for one in self.parameters.values() if one.name in wanted)
        return ModelGraph(input=self.input, parameters=parameters, nodes=tuple(reversed(kept)), output=output)

    def parameter(self, name: str, shape: tuple[int, ...], *, trained: bool = True) -> str:
        """A new parameter."""
        initial = Normal(deviation=0.3) if trained else Filled(kind="ones")
        self.parameters[name] = Parameter(name=name, shape=shape, initial=initial, trained=trained)
        return name

    def maybe(self, name: str, shape: tuple[int, ...]) -> str | None:
        """A new parameter, or none."""
        return self.parameter(name, shape) if self.chance.random() < 0.6 else None

    def shape(self, name: str) -> tuple[int, ...]:
        return self.values[name].shape

    def axis(self, name: str) -> int:
        return self.chance.randint(1, len(self.shape(name)))

    def pair(self, low: int, high: int) -> tuple[int, int]:
        return self.chance.randint(low, high), self.chance.randint(low, high)


class TooLargeError(Exception):
    """For a test."""


Maker = Callable[[GraphMaker, str, str], Any]


def _conv2d(make: GraphMaker, name: str, given: str) -> n.Conv2d:
    channels, kernel = make.shape(given)[0], make.pair(1, 3)
    groups = make.chance.choice([one for one in range(1, channels + 1) if channels % one == 0])
    made = groups * make.chance.randint(1, 3)
    return n.Conv2d(
        name=name, inputs=(given,), weight=make.parameter(f"{name}.w", (made, channels // groups, *kernel)),
        bias=make.maybe(f"{name}.b", (made,)), stride=make.pair(1, 2), padding=make.pair(0, 2),
        dilation=make.pair(1, 2), groups=groups,
    )  # fmt: skip


def _linear(make: GraphMaker, name: str, given: str) -> n.Linear:
    made = make.chance.randint(1, 7)
    weight = make.parameter(f"{name}.w", (made, make.shape(given)[-1]))
    return n.Linear(name=name, inputs=(given,), weight=weight, bias=make.maybe(f"{name}.b", (made,)))


def _batch_norm(make: GraphMaker, name: str, given: str) -> n.BatchNorm:
    shape = make.shape(given)[:1]
    return n.BatchNorm(
        name=name, inputs=(given,), weight=make.maybe(f"{name}.w", shape), bias=make.maybe(f"{name}.b", shape),
        running_mean=make.parameter(f"{name}.mean", shape, trained=False),
        running_var=make.parameter(f"{name}.var", shape, trained=False),
    )  # fmt: skip


def _layer_norm(make: GraphMaker, name: str, given: str) -> n.LayerNorm:
    dimensions = make.axis(given)
    shape = make.shape(given)[-dimensions:]
    weight, bias = make.maybe(f"{name}.w", shape), make.maybe(f"{name}.b", shape)
    return n.LayerNorm(name=name, inputs=(given,), dimensions=dimensions, weight=weight, bias=bias, epsilon=1e-2)


def _group_norm(make: GraphMaker, name: str, given: str) -> n.GroupNorm:
    shape = make.shape(given)[:1]
    groups = make.chance.choice([one for one in range(1, shape[0] + 1) if shape[0] % one == 0])
    weight, bias = make.maybe(f"{name}.w", shape), make.maybe(f"{name}.b", shape)
    return n.GroupNorm(name=name, inputs=(given,), groups=groups, weight=weight, bias=bias, epsilon=1e-2)


def _pointwise(make: GraphMaker, name: str, given: str) -> n.Pointwise:
    return n.Pointwise.model_validate(
        {"op": make.chance.choice(["relu", "silu", "tanh", "sigmoid"]), "name": name, "inputs": (given,)}
    )


def _gelu(make: GraphMaker, name: str, given: str) -> n.Gelu:
    return n.Gelu(name=name, inputs=(given,), approximate=make.chance.choice(("none", "tanh")))


def _max_pool2d(make: GraphMaker, name: str, given: str) -> n.MaxPool2d:
    return n.MaxPool2d(
        name=name, inputs=(given,), kernel=make.pair(1, 3), stride=make.pair(1, 3), padding=make.pair(0, 1)
    )


def _avg_pool2d(make: GraphMaker, name: str, given: str) -> n.AvgPool2d:
    return n.AvgPool2d(
        name=name, inputs=(given,), kernel=make.pair(1, 3), stride=make.pair(1, 3), padding=make.pair(0, 1),
        count_padding=make.chance.random() < 0.5,
    )  # fmt: skip


def _adaptive_avg_pool2d(make: GraphMaker, name: str, given: str) -> n.AdaptiveAvgPool2d:
    return n.AdaptiveAvgPool2d(name=name, inputs=(given,), size=make.pair(1, 4))


def _flatten(make: GraphMaker, name: str, given: str) -> n.Flatten:
    return n.Flatten(name=name, inputs=(given,), start_axis=make.axis(given))


def _reshape(make: GraphMaker, name: str, given: str) -> n.Reshape:
    left = make.values[given].count
    shape: list[int] = []
    while left > 1 and len(shape) < 4:
        shape.append(make.chance.choice([one for one in range(2, left + 1) if left % one == 0]))
        left //= shape[-1]
    return n.Reshape(name=name, inputs=(given,), shape=(*shape, left) if left > 1 else tuple(shape))


def _permute(make: GraphMaker, name: str, given: str) -> n.Permute:
    axes = list(range(1, len(make.shape(given)) + 1))
    make.chance.shuffle(axes)
    return n.Permute(name=name, inputs=(given,), axes=(0, *axes))


def _slice(make: GraphMaker, name: str, given: str) -> n.Slice:
    axis = make.axis(given)
    begin = make.chance.randrange(make.shape(given)[axis - 1])
    end = make.chance.randint(begin + 1, make.shape(given)[axis - 1])
    return n.Slice(name=name, inputs=(given,), axis=axis, begin=begin, end=end)


def _pad(make: GraphMaker, name: str, given: str) -> n.Pad:
    amounts = tuple(make.pair(0, 2) for _ in make.shape(given))
    return n.Pad(name=name, inputs=(given,), amounts=amounts, value=0.5)


def _elementwise(make: GraphMaker, name: str, given: str) -> n.Elementwise:
    op = make.chance.choice(["add", "sub", "mul"])
    if make.chance.random() < 0.5:
        shape = make.shape(given)[make.chance.randint(0, len(make.shape(given))) :]
        shape = tuple(make.chance.choice([1, side]) for side in shape)
        other = make.parameter(f"{name}.p", shape)
    else:
        other = make.chance.choice(list(make.values))
    inputs = (given, other) if make.chance.random() < 0.5 else (other, given)
    return n.Elementwise.model_validate({"op": op, "name": name, "inputs": inputs})


def _matmul(make: GraphMaker, name: str, given: str) -> n.Matmul:
    if make.chance.random() < 0.6:
        other = make.parameter(f"{name}.p", (make.shape(given)[-1], make.chance.randint(1, 5)))
    else:
        other = make.chance.choice(list(make.values))
    return n.Matmul(name=name, inputs=(given, other))


def _concat(make: GraphMaker, name: str, given: str) -> n.Concat:
    others = [make.chance.choice([given, *make.values]) for _ in range(make.chance.randint(1, 2))]
    return n.Concat(name=name, inputs=(given, *others), axis=make.axis(given))


def _embedding(make: GraphMaker, name: str, _: str) -> n.Embedding:
    given = make.chance.choice([one for one, value in make.values.items() if value.dtype in INTEGERS])
    return n.Embedding(name=name, inputs=(given,), weight=make.parameter(f"{name}.w", (9, 3)))


def _one_hot(make: GraphMaker, name: str, _: str) -> n.OneHot:
    given = make.chance.choice([one for one, value in make.values.items() if value.dtype in INTEGERS])
    return n.OneHot(name=name, inputs=(given,), classes=make.chance.randint(2, 6))


def _affine(make: GraphMaker, name: str, given: str) -> n.Affine:
    if make.chance.random() < 0.5 or not make.shape(given):
        return n.Affine(name=name, inputs=(given,), scale=(0.3,), shift=(-0.1,))
    axis = make.axis(given)
    side = make.shape(given)[axis - 1]
    scale = tuple(make.chance.uniform(-1, 1) for _ in range(side))
    return n.Affine(name=name, inputs=(given,), scale=scale, shift=scale[::-1], axis=axis)


def _dropout(make: GraphMaker, name: str, given: str) -> n.Dropout:
    return n.Dropout(name=name, inputs=(given,), probability=0.5)


def _softmax(make: GraphMaker, name: str, given: str) -> n.Softmax:
    return n.Softmax.model_validate(
        {"op": make.chance.choice(["softmax", "log_softmax"]), "name": name, "inputs": (given,),
         "axis": make.axis(given)}
    )  # fmt: skip


def _reduction(make: GraphMaker, name: str, given: str) -> n.Reduction:
    axes = sorted({make.axis(given) for _ in range(2)})
    return n.Reduction.model_validate(
        {"op": make.chance.choice(["mean", "sum", "amax"]), "name": name, "inputs": (given,), "axes": tuple(axes),
         "keep": make.chance.random() < 0.5}
    )  # fmt: skip


MAKERS: list[Maker] = [
    _conv2d, _conv2d, _linear, _batch_norm, _layer_norm, _group_norm, _pointwise, _pointwise, _gelu, _max_pool2d,
    _avg_pool2d, _adaptive_avg_pool2d, _flatten, _reshape, _reshape, _permute, _slice, _pad, _elementwise, _elementwise,
    _matmul, _concat, _embedding, _one_hot, _affine, _dropout, _softmax, _reduction,
]  # fmt: skip


def random_graph(seed: int, count: int) -> ModelGraph:
    """A valid graph of about `count` nodes."""
    return GraphMaker(random.Random(seed)).graph(count)


def model_of(graph: ModelGraph, seed: int = 0) -> GraphModel:
    """The graph in torch, for answers, with statistics that are not trivial."""
    torch.manual_seed(seed)
    model = GraphModel(json.loads(graph.encode()))
    for name, tensor in model.state_dict().items():
        if name.endswith(".mean"):
            tensor.normal_(0, 0.5)
        if name.endswith(".var"):
            tensor.uniform_(0.5, 2)
    return model.eval()


def rows_for(graph: ModelGraph, count: int, seed: int = 0) -> Tensor:
    """Input rows."""
    numbers = np.random.default_rng(seed)
    shape = (count, *graph.input.shape)
    if graph.input.dtype.startswith("float"):
        return torch.from_numpy(np.asarray(numbers.normal(size=shape), dtype=graph.input.dtype))
    low, high = (0, 2) if graph.input.dtype == "bool" else (0, 12)
    return torch.from_numpy(np.asarray(numbers.integers(low, high, shape), dtype=graph.input.dtype))
