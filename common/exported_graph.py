"""The graph of native code on its way from export to answer: what each enclave checks of it (side: library).

An export sandbox writes a document that nobody believes. The trainer says it unread; parameter server and query enclave
each read it with `open_exported`, and neither takes another's word for it. In this order; each refusal is
`format.design`:
  (1) it is a valid graph within what one query may cost (common/model_graph): stateless, and row by row;
  (2) its input and output are those of the bundle's queries and answers, in float32;
  (3) each parameter is a tensor of the bundle's layout, by name (common/sandboxed/graph_names.py) and shape; tensors
      that only training reads may be missing. Initialisers mean nothing here: the values come with the model.
What it computes is not compared with what the provider's `forward` would: both are the provider's.
"""

import contextlib
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from common.bundle import DESCRIPTION_FILE, GRAPH_ENTRY, GRAPH_FILE, BundleContents, BundleManifest
from common.design_bundle import layout_of, require_layout
from common.errors import FormatError
from common.exchange.steering import MAX_DESIGN_BYTES
from common.job_design import BATCH_BYTES, FLOPS_PER_SECOND
from common.model_graph.checking import STANDARD_BOUNDS, GraphBounds, GraphFacts, refused
from common.model_graph.graph import ModelGraph
from common.model_graph.reading import parse_graph
from common.sandboxed.graph_names import names_of_state

ANSWER_SECONDS: Final = 4
"""Of computing that a query may cost, at `FLOPS_PER_SECOND`: less than its deadline (query_enclave/answering.py)."""


def answer_bounds(bundle: BundleManifest) -> GraphBounds:
    """What a graph may need: a function of the bundle alone."""
    rows = bundle.query_rows
    return GraphBounds(
        state_values=bundle.state_count,
        flops_per_row=min(STANDARD_BOUNDS.flops_per_row, ANSWER_SECONDS * FLOPS_PER_SECOND // rows),
        activation_bytes_per_row=min(STANDARD_BOUNDS.activation_bytes_per_row, BATCH_BYTES // rows),
    )


def build_checks() -> None:
    """Build now what the first graph would build: 25 ms of Python, in which no other thread of an enclave keeps time.

    A parameter server does so before its clock begins, in every job: others run on while one that is over is checked.
    """
    with contextlib.suppress(FormatError):
        parse_graph(b"{}")


@dataclass(frozen=True)
class ExportedGraph:
    """A checked graph of a bundle. `places`: where its parameters stand in the bundle's state, in the graph's order."""

    graph: ModelGraph
    bundle: BundleManifest
    places: tuple[slice, ...]

    @classmethod
    def of(cls, graph: ModelGraph, facts: GraphFacts, bundle: BundleManifest) -> Self:
        """Checks (2) and (3)."""
        spec, answer = bundle.input, bundle.answer
        if (graph.input.shape, graph.input.dtype) != (spec.shape, spec.dtype):
            raise refused("input", f"{spec.dtype} of shape {spec.shape}, as a query", graph.input.dtype)
        if (facts.output.shape, "float32") != (answer.shape, answer.dtype):  # (2)
            raise refused("output", f"{answer.dtype} of shape {answer.shape}, as an answer", facts.output.shape)
        if not graph.parameters:
            raise refused("parameters", "one or more", "none")
        return cls(graph, bundle, _places(graph, bundle))

    @property
    def document(self) -> bytes:
        """The graph as our encoder writes it: members that export one graph say the same bytes."""
        return self.graph.encode()

    def contents(self) -> BundleContents:
        """What a query sandbox is started with: no code of the provider's is in it."""
        described = {name: getattr(self.bundle, name) for name in BundleManifest.model_fields}
        manifest = BundleManifest(**described | {"entry": GRAPH_ENTRY, "layout": layout_of(self.graph)})
        return BundleContents(manifest=manifest, files={GRAPH_FILE: self.document, DESCRIPTION_FILE: b""})

    def state(self, state_P: NDArray[np.float32]) -> NDArray[np.float32]:
        """The graph's state out of the bundle's."""
        return np.concatenate([state_P[place] for place in self.places])


def open_exported(document: bytes, bundle: BundleManifest) -> ExportedGraph:
    """Raises `FormatError` (format.design, format.too_large)."""
    graph, facts = parse_graph(document, answer_bounds(bundle))  # (1)
    opened = ExportedGraph.of(graph, facts, bundle)
    if len(opened.document) > MAX_DESIGN_BYTES:
        raise FormatError("format.design", expected=f"at most {MAX_DESIGN_BYTES} bytes", seen=len(opened.document))
    return opened


def require_graph(contents: BundleContents) -> None:
    """The graph of what `contents` makes is checked once more. Raises `FormatError` (format.design)."""
    opened = open_exported(contents.files[GRAPH_FILE], contents.manifest)
    require_layout(contents, opened.graph)


def _places(graph: ModelGraph, bundle: BundleManifest) -> tuple[slice, ...]:
    names = names_of_state(one.name for one in bundle.layout)
    known, begin = {}, 0
    for tensor in bundle.layout:
        known[names[tensor.name]] = (tensor.shape, slice(begin, begin + tensor.count))
        begin += tensor.count
    for one in graph.parameters:
        shape, _ = known.get(one.name, (None, None))
        if shape != one.shape:  # (3)
            raise refused(f"parameter `{one.name}`", "a tensor of the bundle's layout, with its shape", one.shape)
    return tuple(known[one.name][1] for one in graph.parameters)
