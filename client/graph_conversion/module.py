"""An `nn.Module` becomes a checked graph with its weights (side: owner).

B rows of a batch, X shape of an input row. In this order, each step raises `FormatError`:
  (1) the module is written as a graph (common/sandboxed/exporting.py), each node checked by its rule as it is added;
  (2) the graph is checked as a whole;
  (3) graph and module give the same answers to the rows that were given.
"""

import json

from torch import Tensor, nn

from client.graph_conversion.building import Converted, GraphBuilder
from common.errors import FormatError
from common.model_graph.checking import refused
from common.model_graph.graph import GraphInput
from common.sandboxed.exporting import require_equal, write_module
from common.sandboxed.graph_writing import ExportError


def convert_module(module: nn.Module, example_BX: Tensor) -> Converted:
    """The graph and weights of `module`, which takes one tensor and gives one, rows first.

    `example_BX`: two rows or more. Raises `FormatError` (format.design) with the place in the program.
    """
    modes = {one: one.training for one in module.modules()}
    try:
        row = {"shape": tuple(example_BX.shape[1:]), "dtype": str(example_BX.dtype).removeprefix("torch.")}
        builder = GraphBuilder(GraphInput.model_validate(row))
        converted = builder.finish(write_module(module, example_BX, builder))  # (1, 2)
        require_equal(module, json.loads(converted.graph.encode()), converted.weights, example_BX)  # (3)
    except ExportError as cause:
        raise refused(cause.where, cause.expected, cause.seen) from cause
    except FormatError:
        raise
    except Exception as cause:  # whatever the module or torch raises about it
        words = str(cause).strip().splitlines() or [type(cause).__name__]
        expected = "a module that torch.export takes with any number of rows"
        raise FormatError("format.design", expected=expected, seen=words[0][:300]) from cause
    finally:
        for one, mode in modes.items():
            one.training = mode
    return converted
