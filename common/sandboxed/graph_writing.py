"""A model graph as it is written down, node by node, and not checked (side: sandbox).

What it writes is checked by whoever takes it: the trainer's enclave, or the provider's own machine, where a writer that
checks each node takes this one's place (client/graph_conversion).
"""

from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from common.sandboxed.graph_names import INPUT, fitting_name, names_of_state
from common.sandboxed.model_state import Layout

INTEGERS: Final = frozenset({"bool", "uint8", "int8", "int16", "int32", "int64"})
PARAMETER_FIELDS: Final = ("weight", "bias", "running_mean", "running_var")

Shape = tuple[int, ...]


class ExportError(Exception):
    """A module that has no graph: where in its program, what was expected, what was seen."""

    def __init__(self, where: str, expected: object, seen: object) -> None:
        self.where, self.expected, self.seen = where, str(expected), str(seen)
        super().__init__(f"{where}: expected {self.expected}, seen {self.seen}")


class Writer(Protocol):
    """Takes a graph in the order of its computation. Raises `ExportError`, or what its own checks raise."""

    def parameter(self, where: str, name: str, array: NDArray[Any], *, trained: bool) -> str:
        """A tensor of the module; the graph's name for it."""
        ...

    def add(self, where: str, op: str, *inputs: str, name: str, **fields: Any) -> str:
        """A node; its name."""
        ...

    def note(self, where: str, name: str, shape: tuple[int | str, ...], dtype: str) -> None:
        """What torch says of a value: its shape, with "batch" for the rows, and type."""
        ...

    def shape_of(self, name: str) -> Shape:
        """Of a row, or of a parameter."""
        ...

    def dtype_of(self, name: str) -> str:
        """Of a value."""
        ...

    def is_row(self, name: str) -> bool:
        """Whether it has the batch axis: it is no parameter."""
        ...


class GraphWriter:
    """A `Writer` for a module whose state has this layout; of other tensors it takes none."""

    def __init__(self, shape: Shape, dtype: str, layout: Layout) -> None:
        self._input = {"shape": list(shape), "dtype": dtype}
        self._names = names_of_state(name for name, _ in layout)
        self._nodes: list[dict[str, Any]] = []
        self._shapes: dict[str, Shape] = {INPUT: shape}
        self._dtypes = {INPUT: dtype}
        self._taken = {INPUT, *self._names.values()}
        self.tensors: dict[str, NDArray[np.float32]] = {}

    def parameter(self, where: str, name: str, array: NDArray[Any], *, trained: bool) -> str:  # noqa: ARG002 - served only
        """A tensor of the state."""
        if name not in self._names:
            raise ExportError(where, "tensors of `state_dict()`", "one that is not in it")
        if array.dtype != np.float32:
            raise ExportError(where, "parameters of float32", array.dtype)
        made = self._names[name]
        self.tensors[made], self._shapes[made] = array, array.shape
        return made

    def add(self, where: str, op: str, *inputs: str, name: str, **fields: Any) -> str:  # noqa: ARG002 - nothing is checked
        """A node."""
        made = fitting_name(name, self._taken)
        self._taken.add(made)
        self._nodes.append({"op": op, "name": made, "inputs": list(inputs), **fields})
        return made

    def note(self, where: str, name: str, shape: tuple[int | str, ...], dtype: str) -> None:
        """Remember it of a new value. Raises `ExportError` for one that is not row by row."""
        if name in self._shapes:
            return
        row = tuple(side for side in shape[1:] if isinstance(side, int))
        if shape[:1] != ("batch",) or len(row) != len(shape) - 1:
            raise ExportError(where, "the batch axis first, and nowhere else", shape)
        self._shapes[name], self._dtypes[name] = row, dtype

    def shape_of(self, name: str) -> Shape:
        """Of a row, or of a parameter; of a value that torch has no name for, none."""
        return self._shapes.get(name, ())

    def dtype_of(self, name: str) -> str:
        """Of a value."""
        return self._dtypes.get(name, "float32")

    def is_row(self, name: str) -> bool:
        """Whether it is no parameter."""
        return name not in self.tensors

    def finish(self, output: str) -> dict[str, Any]:
        """The document of all that the output depends on."""
        wanted, kept = {output}, list[dict[str, Any]]()
        for node in reversed(self._nodes):
            if node["name"] in wanted:
                kept.append(node)
                wanted.update(node["inputs"], *([node[one]] for one in PARAMETER_FIELDS if node.get(one) is not None))
        parameters = [
            {"name": name, "shape": list(array.shape), "initial": {"kind": "stored"}, "trained": False}
            for name, array in ((one, self.tensors.get(one)) for one in self._names.values())
            if array is not None and name in wanted
        ]
        head = {"type": "model-graph", "version": 1, "input": self._input}
        return head | {"parameters": parameters, "nodes": kept[::-1], "output": output}
