"""A graph that grows node by node, each checked by its rule where it is added (side: owner).

Parameters get an initialiser by their first use, torch's default for its layer; those without one are `stored`, so that
the graph can be served with its weights, but not trained from nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import TypeAdapter

from common.errors import FormatError
from common.messages.base import Message
from common.model_graph import nodes
from common.model_graph.checking import GraphFacts, check_graph, parameters_of, refused
from common.model_graph.graph import INPUT, GraphInput, ModelGraph
from common.model_graph.parameters import Filled, Initial, Kaiming, Normal, Parameter, Stored, Uniform
from common.model_graph.rules import RULES
from common.model_graph.values import Operands, RuleError, Shape, Value, need
from common.sandboxed.graph_names import fitting_name

GRAPH_FILE: Final = "graph.json"
WEIGHTS_FILE: Final = "weights.safetensors"

_NODE: Final[TypeAdapter[nodes.Node]] = TypeAdapter(nodes.Node)

_TORCHS_GAIN: Final = 3**-0.5
"""torch.nn.Linear and Conv2d: Kaiming's uniform with a = sqrt(5), so sqrt(2 / (1 + 5))."""


@dataclass(frozen=True)
class Converted:
    """A checked graph with its weights: float32 arrays by parameter, in the graph's order."""

    graph: ModelGraph
    facts: GraphFacts
    weights: Mapping[str, NDArray[np.float32]] = field(repr=False)

    def write(self, directory: Path) -> None:
        """graph.json and weights.safetensors."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / GRAPH_FILE).write_bytes(self.graph.encode())
        (directory / WEIGHTS_FILE).write_bytes(safetensors.numpy.save(dict(self.weights)))


class GraphBuilder:
    """Names are made to fit and to differ. `where` is the place in the original, for refusals.

    A `Writer` of common/sandboxed/graph_writing.py, which trusts a rule more than what torch says of a value.
    """

    def __init__(self, given: GraphInput) -> None:
        self._given = given
        self.values = {INPUT: Value(given.shape, given.dtype)}
        self._nodes: list[nodes.Node] = []
        self._arrays: dict[str, NDArray[np.float32]] = {}
        self._trained: dict[str, bool] = {}

    def parameter(self, where: str, name: str, array: NDArray[Any], *, trained: bool) -> str:
        """A new parameter with this value."""
        if array.dtype != np.float32:
            raise refused(where, "parameters of float32", array.dtype)
        made = self._free(name)
        self._arrays[made], self._trained[made] = array, trained
        return made

    def array(self, name: str) -> NDArray[np.float32] | None:
        """The value of a parameter; None: it is none."""
        return self._arrays.get(name)

    def shape_of(self, name: str) -> Shape:
        """Of a row, or of a parameter."""
        value, array = self.values.get(name), self._arrays.get(name)
        return value.shape if value is not None else () if array is None else array.shape

    def dtype_of(self, name: str) -> str:
        """Of a value."""
        return self.values[name].dtype

    def is_row(self, name: str) -> bool:
        """Whether it is no parameter."""
        return name in self.values

    def note(self, where: str, name: str, shape: tuple[int | str, ...], dtype: str) -> None:
        """Nothing: the rule has said it."""

    def add(self, where: str, op: str | Callable[..., Any], *inputs: str, name: str, **fields: Any) -> str:
        """Add a node, of an operation or a class; returns its name.

        Raises `FormatError` (format.design) where its rule is broken.
        """
        try:
            fields |= {"name": self._free(name), "inputs": inputs}
            node = _NODE.validate_python(fields | {"op": op}) if isinstance(op, str) else op(**fields)
            shapes = {one: array.shape for one, array in self._arrays.items()}
            for one in inputs:
                need(one in self.values or one in shapes, "values of the graph", f"`{one}`")
            operands = tuple(self.values.get(one) or Value(shapes[one], batched=False) for one in inputs)
            self.values[node.name] = RULES[node.op](node, Operands(operands, shapes)).value
        except RuleError as broken:
            raise refused(where, broken.expected, broken.seen) from None
        except ValueError as cause:
            raise refused(where, "attributes within the bounds of docs/formats.md", str(cause)[:200]) from None
        self._nodes.append(node)
        return str(node.name)

    def finish(self, output: str) -> Converted:
        """The graph of all that the output depends on, checked. Raises `FormatError` (format.design)."""
        wanted, kept = {output}, []
        for node in reversed(self._nodes):
            if node.name in wanted:
                kept.append(node)
                wanted.update((*node.inputs, *(name for _, name in parameters_of(node))))
        kept.reverse()
        names = [name for name in self._arrays if name in wanted]
        graph = ModelGraph(
            input=self._given,
            parameters=tuple(self._described(name, kept) for name in names),
            nodes=tuple(kept),
            output=output,
        )
        return Converted(graph, check_graph(graph), {name: self._arrays[name] for name in names})

    def _described(self, name: str, kept: list[nodes.Node]) -> Parameter:
        uses = ((place, node) for node in kept for place, one in parameters_of(node) if one == name)
        place, node = next(uses, ("", None))
        trained = self._trained[name] and place not in {"running_mean", "running_var"}
        shape = self._arrays[name].shape
        initial = self._initial(place, node) if trained or place.startswith("running") else Stored()
        return Parameter(name=name, shape=shape, initial=initial, trained=trained)

    def _initial(self, place: str, node: Any) -> Initial:
        if isinstance(node, nodes.Conv2d | nodes.Linear):
            if place == "weight":
                return Kaiming(kind="kaiming_uniform", gain=_TORCHS_GAIN)
            return Uniform(bound=float(np.prod(self._arrays[node.weight].shape[1:])) ** -0.5)
        if isinstance(node, nodes.Embedding):
            return Normal(deviation=1.0)
        if node is None:
            return Stored()
        return Filled(kind="ones" if place in {"weight", "running_var"} else "zeros")

    def _free(self, wanted: str) -> str:
        return fitting_name(wanted, {INPUT, *self._arrays, *(node.name for node in self._nodes)})


def one_of_allowed(kind: type[Message], op: str) -> Callable[..., Any]:
    """A node class that stands for several operations, for one of them."""
    return lambda **fields: kind.model_validate({"op": op, **fields})


def not_allowed(where: str, operation: str) -> FormatError:
    """An operation that has no counterpart in the allow-list."""
    return refused(where, "an operation of the allow-list (docs/model-graph.md)", operation)
