"""An `nn.Module` becomes a graph, through torch.export (side: sandbox).

B rows of a batch, X shape of an input row. The provider's machine runs this for its own modules, a sandbox for those of
a job; in this order, each step raises `ExportError`, (1) whatever module or torch.export raise:
  (1) the module is exported in evaluation mode, its batch axis free and all else fixed;
  (2) it writes no buffer and no input, and has one output;
  (3) each operation is mapped to the allow-list (export_operations.py).
What it is worth is said by `require_equal`: the graph gives the module's own answers to rows that are given.
A dropout *module* becomes a node, a dropout function does not: in evaluation mode nothing shows of it.
"""

import operator
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, export
from torch.export.graph_signature import InputKind

from common.sandboxed.export_operations import ATEN, Call
from common.sandboxed.graph_model import GraphModel
from common.sandboxed.graph_names import INPUT
from common.sandboxed.graph_writing import ExportError, Writer

TOLERANCE: Final = 1e-4
"""Largest difference of answers, relative to the largest answer (or 1)."""

_BOOKKEEPING: Final = frozenset({"aten._assert_tensor_metadata.default", "aten.sym_size.int"})


def write_module(module: nn.Module, example_BX: Tensor, build: Writer) -> str:
    """Write the graph of `module`, which takes one tensor and gives one, rows first; the name of its output.

    `example_BX`: two rows or more. The module is left in evaluation mode.
    """
    if example_BX.dim() < 1 or len(example_BX) < 2:
        raise ExportError("example", "two rows or more", tuple(example_BX.shape))
    module.eval()
    return _Conversion(module, _exported(module, example_BX), build).run()


def require_equal(
    module: nn.Module, graph: Mapping[str, Any], tensors: Mapping[str, NDArray[np.float32]], rows_BX: Tensor
) -> None:
    """Graph and module give the same answers to these rows. Raises `ExportError`, or what the module raises."""
    model = GraphModel(graph).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(torch.from_numpy(np.array(tensors[name])))
        expected, seen = module(rows_BX), model(rows_BX)
    scale = max(1.0, float(expected.abs().max()))
    alike = (expected.shape, expected.dtype) == (seen.shape, seen.dtype)
    if not alike or not torch.allclose(seen, expected, rtol=0, atol=TOLERANCE * scale):
        raise ExportError("graph", "the module's own answers to the rows that were given", "others")


def _exported(module: nn.Module, example_BX: Tensor) -> ExportedProgram:
    with torch.no_grad():
        program = export(module, (example_BX,), dynamic_shapes=({0: Dim.DYNAMIC},))  # (1)
    functional: ExportedProgram = program.run_decompositions({})
    return functional


def not_allowed(where: str, operation: str) -> ExportError:
    """An operation that has no counterpart in the allow-list."""
    return ExportError(where, "an operation of the allow-list (docs/model-graph.md)", operation)


class _Conversion:
    def __init__(self, module: nn.Module, program: ExportedProgram, build: Writer) -> None:
        self._module, self._program, self._build = module, program, build
        self._names: dict[fx.Node, str | None] = {}
        self._sources = {one.arg.name: one for one in program.graph_signature.input_specs}
        self._batch: Any = None
        self._tied: dict[tuple[int, tuple[int, ...], tuple[int, ...]], str] = {}

    def run(self) -> str:
        signature = self._program.graph_signature
        for kind, mutated in (("buffer", signature.buffers_to_mutate), ("input", signature.user_inputs_to_mutate)):
            for name in mutated.values():  # (2)
                raise ExportError(
                    f"{kind} `{name}`", "a module that keeps nothing from one call to the next", "a write"
                )
        for node in self._program.graph.nodes:
            if node.op == "placeholder":
                self._place(node)
            elif node.op == "call_function":
                self._names[node] = self._mapped(node)  # (3)
        outputs = next(node for node in self._program.graph.nodes if node.op == "output").args[0]
        if len(outputs) != 1 or not isinstance(outputs[0], fx.Node):
            raise ExportError("output", "one tensor", f"{len(outputs)} values")
        return self._name(outputs[0])

    def _place(self, node: fx.Node) -> None:
        source = self._sources[node.name]
        if source.kind is InputKind.USER_INPUT:
            self._names[node], self._batch = INPUT, node.meta["val"].shape[0]
        elif node.users:
            self._names[node] = self._parameter(source.kind, str(source.target))

    def _parameter(self, kind: InputKind, target: str) -> str:
        found = self._program.constants if kind is not InputKind.PARAMETER else {}
        tensor = found[target] if target in found else self._program.state_dict[target]
        where = f"`{target}`"
        if not isinstance(tensor, Tensor):
            raise ExportError(where, "tensors", type(tensor).__name__)
        place = (tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()))
        if place not in self._tied:  # one tensor under two names stays one parameter
            trained = kind is InputKind.PARAMETER and tensor.requires_grad
            array = tensor.detach().cpu().contiguous().numpy()
            self._tied[place] = self._build.parameter(where, target, array, trained=trained)
        return self._tied[place]

    def _mapped(self, node: fx.Node) -> str | None:
        name = str(node.target)
        if name in _BOOKKEEPING:
            return None
        if node.target is operator.getitem:
            if node.args[1] != 0:
                raise not_allowed(f"`{node.name}`", f"the second result of `{node.args[0]}`")
            return self._name(node.args[0])
        where = f"`{node.name}` ({name})"
        if name not in ATEN:
            raise not_allowed(where, name)
        shape, dtype = self._result(node)
        call = Call(self._build, where, self._title(node), self._arguments(node), shape, dtype, self._dropout(node))
        made = ATEN[name](call)
        self._build.note(where, made, shape, dtype)
        return made

    def _arguments(self, node: fx.Node) -> dict[str, Any]:
        schema: Any = node.target
        given = dict(zip((one.name for one in schema._schema.arguments), node.args, strict=False)) | node.kwargs  # noqa: SLF001 - torch has no public name for it
        every = {one.name: given.get(one.name, one.default_value) for one in schema._schema.arguments}  # noqa: SLF001 - as above
        return {name: self._argument(value) for name, value in every.items()}

    def _argument(self, value: Any) -> Any:
        if isinstance(value, fx.Node):
            return self._names[value] if self._names.get(value) is not None else "batch"
        if isinstance(value, list | tuple):
            return [self._argument(one) for one in value]
        return value

    def _result(self, node: fx.Node) -> tuple[tuple[int | str, ...], str]:
        """Shape, with the rows as "batch", and dtype of what torch makes there."""
        value = node.meta.get("val")
        tensor = value[0] if isinstance(value, list | tuple) else value
        if not isinstance(tensor, Tensor):
            return (), "none"
        sides = tuple(side if isinstance(side, int) else self._side(side) for side in tensor.shape)
        return sides, str(tensor.dtype).removeprefix("torch.")

    def _side(self, side: Any) -> str:
        return "batch" if side == self._batch else "other"

    def _name(self, node: Any) -> str:
        name = self._names.get(node)
        if name is None:
            raise not_allowed(f"`{node}`", "a number of rows as a value")
        return name

    @staticmethod
    def _title(node: fx.Node) -> str:
        """The path of the module that calls it, else torch's own name for it."""
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path = stack[-1][0].removeprefix("L['self'].") if len(stack) > 1 else ""
        return f"{path}.out" if path else node.name

    def _dropout(self, node: fx.Node) -> float | None:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        if not stack:
            return None
        try:
            inner = self._module.get_submodule(stack[-1][0])
        except AttributeError:
            return None
        return inner.p if type(inner) is nn.Dropout and inner.p > 0 else None
