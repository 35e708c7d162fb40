"""`model-graph` v1: input, parameters, nodes in the order of their computation, one output (side: library).

Its state is the parameters in the document's order, as one float32 vector. What a graph must fulfil beyond its layout
stands in checking.py: a `ModelGraph` that was only decoded is not yet trusted.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from common.messages.base import Message
from common.model_graph.nodes import Node
from common.model_graph.parameters import Name, Parameter, Sides

INPUT: Final = "input"
"""The name of the input's value."""

MAX_NODES: Final = 4096
MAX_PARAMETERS: Final = 4096

InputDType = Literal["bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64"]


class GraphInput(Message):
    """Shape of one row, without the batch axis, and dtype."""

    shape: Sides
    dtype: InputDType


class ModelGraph(Message):
    """The document. `output` names a node; every node and parameter contributes to it."""

    type: Literal["model-graph"] = "model-graph"
    version: Literal[1] = 1
    input: GraphInput
    parameters: Annotated[tuple[Parameter, ...], Field(max_length=MAX_PARAMETERS)] = ()
    nodes: Annotated[tuple[Node, ...], Field(min_length=1, max_length=MAX_NODES)]
    output: Name
