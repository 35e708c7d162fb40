"""A graph's rules in order, within bounds: the proof that inference is stateless and row by row (side: library).

In this order; each refusal is `format.design`, names the node or parameter, and nothing was allocated before it:
  (1) names are different, none is `input`; the parameters are within bounds;
  (2) each node reads the input, parameters or nodes before it, and its rule (rules.py) holds;
  (3) after each node: shape, activations and operations so far are within bounds;
  (4) the running statistics of a batch norm belong to it alone and are not trained; nothing else of the state is ever
      written in inference or, but by the optimiser, in training;
  (5) the output is float32 with the batch axis, and every node and parameter contributes to it.
By induction over (2), place i of the output's batch axis depends on row i of the input and on parameters only; by (4)
computing an answer changes nothing. Rules know graphs, not torch's kernels: tests/security/test_model_graph.py shows
on random graphs that torch does what the rules say.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from common.errors import FormatError
from common.model_graph import nodes
from common.model_graph.graph import INPUT, ModelGraph
from common.model_graph.parameters import MAX_RANK, Parameter
from common.model_graph.rules import RULES
from common.model_graph.values import Made, Operands, RuleError, Shape, Value

PARAMETER_FIELDS: Final = ("weight", "bias", "running_mean", "running_var")
STATISTICS: Final = ("running_mean", "running_var")


@dataclass(frozen=True)
class GraphBounds:
    """Most that a graph may need: values of the state, operations and activation bytes of one row."""

    state_values: int = 1 << 28
    flops_per_row: int = 1 << 40
    activation_bytes_per_row: int = 1 << 28


STANDARD_BOUNDS: Final = GraphBounds()


@dataclass(frozen=True)
class GraphFacts:
    """What a checked graph is and costs. Activations: input and the results of all nodes together, which is what
    training keeps; the workspace of a kernel is not counted.
    """

    values: Mapping[str, Value] = field(repr=False)
    output: Value
    state_values: int
    trained_values: int
    flops_per_row: int
    activation_bytes_per_row: int

    @property
    def state_bytes(self) -> int:
        """Bytes of the state."""
        return 4 * self.state_values


def check_graph(graph: ModelGraph, bounds: GraphBounds = STANDARD_BOUNDS) -> GraphFacts:
    """The facts of a valid graph. Raises `FormatError` (format.design)."""
    return _Check(graph, bounds).run()


def parameters_of(node: nodes.Node) -> Iterator[tuple[str, str]]:
    """(field, parameter) of the parameters that a node names beside its inputs."""
    for name in PARAMETER_FIELDS:
        if (value := getattr(node, name, None)) is not None:
            yield name, value


def refused(place: str, expected: object, seen: object) -> FormatError:
    """A refusal that says where."""
    return FormatError("format.design", expected=f"{place}: {expected}", seen=seen)


class _Check:
    """One pass over a graph."""

    def __init__(self, graph: ModelGraph, bounds: GraphBounds) -> None:
        self._graph, self._bounds = graph, bounds
        self._shapes: dict[str, Shape] = {one.name: one.shape for one in graph.parameters}
        self._values: dict[str, Value] = {}
        self._read: set[str] = set()
        self._statistics: dict[str, str] = {}
        self._flops = self._activation_bytes = 0

    def run(self) -> GraphFacts:
        graph = self._graph
        self._require_names()  # (1)
        state_values = self._count_state()
        self._keep(INPUT, Made(Value(graph.input.shape, graph.input.dtype)))
        for node in graph.nodes:
            self._keep(node.name, self._made_by(node))  # (2, 3)
        self._require_statistics()  # (4)
        output = self._require_output()  # (5)
        trained = sum(Value(one.shape).count for one in graph.parameters if one.trained)
        return GraphFacts(self._values, output, state_values, trained, self._flops, self._activation_bytes)

    def _require_names(self) -> None:
        seen = {INPUT}
        for kind, names in (("parameter", self._graph.parameters), ("node", self._graph.nodes)):
            for one in names:
                if one.name in seen:
                    raise refused(f"{kind} `{one.name}`", "a name of its own", "one that is taken")
                seen.add(one.name)

    def _count_state(self) -> int:
        total = 0
        for one in self._graph.parameters:
            total += Value(one.shape).count
            if total > self._bounds.state_values:
                raise refused(f"parameter `{one.name}`", f"at most {self._bounds.state_values} values in all", total)
        return total

    def _made_by(self, node: nodes.Node) -> Made:
        try:
            inputs = tuple(self._operand(name) for name in node.inputs)
            self._read.update(node.inputs)
            for place, name in parameters_of(node):
                self._read.add(name)
                if place in STATISTICS:
                    self._claim(node, name)
            return RULES[node.op](node, Operands(inputs, self._shapes))
        except RuleError as broken:
            raise refused(f"node `{node.name}` ({node.op})", broken.expected, broken.seen) from None

    def _operand(self, name: str) -> Value:
        if name in self._values:
            return self._values[name]
        if name in self._shapes:
            return Value(self._shapes[name], batched=False)
        raise RuleError("inputs that are the graph's input, parameters or nodes before it", f"`{name}`")

    def _claim(self, node: nodes.Node, name: str) -> None:
        if name in self._statistics:
            raise RuleError("running statistics of its own", f"`{name}`, which `{self._statistics[name]}` writes")
        self._statistics[name] = node.name

    def _keep(self, name: str, made: Made) -> None:
        place, bounds = f"value `{name}`", self._bounds
        if len(made.value.shape) > MAX_RANK:
            raise refused(place, f"rows of at most {MAX_RANK} axes", made.value.shape)
        self._activation_bytes += made.value.row_bytes
        self._flops += made.flops
        if self._activation_bytes > bounds.activation_bytes_per_row:
            raise refused(
                place, f"at most {bounds.activation_bytes_per_row} bytes of activations a row", self._activation_bytes
            )
        if self._flops > bounds.flops_per_row:
            raise refused(place, f"at most {bounds.flops_per_row} operations a row", self._flops)
        self._values[name] = made.value

    def _require_statistics(self) -> None:
        elsewhere: set[str] = set()
        for node in self._graph.nodes:
            elsewhere.update(node.inputs)
            elsewhere.update(name for place, name in parameters_of(node) if place not in STATISTICS)
        for one in self._graph.parameters:
            if one.name in self._statistics:
                _require_statistic(one, read_elsewhere=one.name in elsewhere)

    def _require_output(self) -> Value:
        names = [*(one.name for one in self._graph.parameters), *(one.name for one in self._graph.nodes)]
        for name in names:
            if name not in self._read and name != self._graph.output:
                raise refused(f"`{name}`", "that the output depends on it", "that nothing reads it")
        output = self._graph.output
        if output == INPUT or output not in self._values or output in self._read:
            raise refused("output", "a node that no other node reads", f"`{output}`")
        if self._values[output].dtype != "float32":
            raise refused(f"output `{output}`", "float32", self._values[output].dtype)
        return self._values[output]


def _require_statistic(one: Parameter, *, read_elsewhere: bool) -> None:
    place = f"parameter `{one.name}`"
    if one.trained:
        raise refused(place, "`trained` false: it is a running statistic", "true")
    if read_elsewhere:
        raise refused(place, "that one batch norm alone reads what it writes", "another use")
