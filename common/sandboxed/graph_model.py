"""A model graph as a torch module (side: sandbox).

B rows of a batch, X shape of an input row, A of an output row. The graph is JSON that an enclave has checked; its state
are the parameters in the document's order, under the document's names.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from common.sandboxed.graph_operations import OPERATIONS

INPUT: Final = "input"


def read_design(folder: str, name: str) -> dict[str, Any]:
    """The design of a bundle, from JSON that an enclave has checked."""
    design: dict[str, Any] = json.loads(Path(folder, name).read_bytes())
    return design


def read_graph(folder: str, name: str) -> dict[str, Any]:
    """The graph of a bundle's document, which is one or a design, from JSON that an enclave has checked."""
    document = read_design(folder, name)
    graph: dict[str, Any] = document["graph"] if document["type"] == "design" else document
    return graph


class GraphModel(nn.Module):
    """`graph` with each parameter as its initialiser makes it, drawn in order from torch's generator."""

    def __init__(self, graph: Mapping[str, Any]) -> None:
        super().__init__()
        self._nodes = graph["nodes"]
        self._output = graph["output"]
        self._places: dict[str, str] = {}
        for number, one in enumerate(graph["parameters"]):
            place = f"state_{number}"
            self._places[one["name"]] = place
            tensor = _initial(one["shape"], one["initial"])
            if one["trained"]:
                self.register_parameter(place, nn.Parameter(tensor))
            else:
                self.register_buffer(place, tensor)
        self._over = _last_uses(self._nodes)

    def parameter(self, name: str | None) -> Tensor | None:
        """A tensor of the state by the document's name."""
        return None if name is None else getattr(self, self._places[name])

    def state_dict(self) -> dict[str, Tensor]:  # type: ignore[override]  # no caller of ours has arguments
        """The state's tensors by the document's names, in its order."""
        return {name: getattr(self, place).detach() for name, place in self._places.items()}

    def forward(self, x_BX: Tensor) -> Tensor:
        """Output [B, A] for input [B, X]."""
        result = x_BX
        for name, value in self.computed(x_BX):
            if name == self._output:
                result = value
        return result

    def computed(self, x_BX: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The input and each node's value by name, in order; a value is forgotten after its last use."""
        values = {INPUT: x_BX}
        yield INPUT, x_BX
        for node, over in zip(self._nodes, self._over, strict=True):
            inputs = [values[name] if name in values else self.parameter(name) for name in node["inputs"]]
            values[node["name"]] = OPERATIONS[node["op"]](self, node, *inputs)
            yield node["name"], values[node["name"]]
            for name in over:
                values.pop(name, None)


def _last_uses(nodes: list[dict[str, Any]]) -> list[list[str]]:
    """For each node the values that no later node reads."""
    seen: set[str] = set()
    over: list[list[str]] = []
    for node in reversed(nodes):
        over.append([name for name in node["inputs"] if name not in seen])
        seen.update(node["inputs"])
    return over[::-1]


def _initial(shape: list[int], initial: Mapping[str, Any]) -> Tensor:
    tensor = torch.empty(shape, dtype=torch.float32)
    with torch.no_grad():
        return _FILLERS[initial["kind"]](tensor, initial)


def _kaiming_deviation(tensor: Tensor, initial: Mapping[str, Any]) -> float:
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(tensor)  # noqa: SLF001 - torch has no public name for it
    return float(initial["gain"] / math.sqrt(fan_in if initial["fan"] == "in" else fan_out))


_FILLERS: Final[Mapping[str, Callable[[Tensor, Mapping[str, Any]], Tensor]]] = {
    "zeros": lambda tensor, _: tensor.zero_(),
    "ones": lambda tensor, _: tensor.fill_(1.0),
    "constant": lambda tensor, initial: tensor.fill_(initial["value"]),
    "uniform": lambda tensor, initial: tensor.uniform_(-initial["bound"], initial["bound"]),
    "normal": lambda tensor, initial: tensor.normal_(0.0, initial["deviation"]),
    "kaiming_uniform": lambda tensor, initial: tensor.uniform_(
        -math.sqrt(3) * _kaiming_deviation(tensor, initial), math.sqrt(3) * _kaiming_deviation(tensor, initial)
    ),
    "kaiming_normal": lambda tensor, initial: tensor.normal_(0.0, _kaiming_deviation(tensor, initial)),
    "xavier_uniform": lambda tensor, initial: nn.init.xavier_uniform_(tensor, initial["gain"]),
    "xavier_normal": lambda tensor, initial: nn.init.xavier_normal_(tensor, initial["gain"]),
    "stored": lambda tensor, _: tensor.zero_(),  # until its stored value is loaded
}
