"""A bundle whose model is a design instead of code: trusted code trains and serves it (side: library).

    provider.toml   as of every bundle, with entry = "cloister:Design"
    design.json     a `design`, as our encoder writes it: whoever reads JSON otherwise still reads the same

Nothing else is in it, so no provider code runs. What its manifest says is what the design says, or it is refused
(`format.design`): layout and order of the state, shapes and types of input, label and answer.
"""

from common.bundle import (
    DESCRIPTION_FILE,
    DESIGN_ENTRY,
    DESIGN_FILE,
    BundleContents,
    BundleDescription,
    BundleManifest,
    StateTensor,
    TensorSpec,
)
from common.errors import FormatError
from common.model_graph.checking import STANDARD_BOUNDS, GraphBounds, GraphFacts
from common.model_graph.design import Design
from common.model_graph.graph import GraphInput, ModelGraph
from common.model_graph.reading import parse_design, require_rows


def require_design(contents: BundleContents, bounds: GraphBounds = STANDARD_BOUNDS) -> tuple[Design, GraphFacts]:
    """The checked design of a bundle that has one. Raises `FormatError` (format.design)."""
    raw = contents.files[DESIGN_FILE]
    design, facts = parse_design(raw, bounds)
    if design.encode() != raw:
        raise FormatError("format.design", expected="the encoding of `cloister provider pack`", seen="another")
    require_layout(contents, design.graph)
    manifest = contents.manifest
    require_rows(design, facts, _rows_of(manifest.input), _rows_of(manifest.label), _rows_of(manifest.answer))
    return design, facts


def bundle_of_design(description: BundleDescription, design: Design, text: bytes = b"") -> BundleContents:
    """The bundle of a design, under a description with entry and kind replaced; `text` is its provider.toml.

    Raises `FormatError` (format.design) where they do not fit.
    """
    described = dict(description) | {"entry": DESIGN_ENTRY, "kind": "native", "max_parameters": None}
    described = {name: described[name] for name in BundleDescription.model_fields}
    contents = BundleContents(
        manifest=BundleManifest(**described, layout=layout_of(design.graph)),
        files={DESIGN_FILE: design.encode(), DESCRIPTION_FILE: text},
    )
    require_design(contents)
    return contents


def layout_of(graph: ModelGraph) -> tuple[StateTensor, ...]:
    """The state of a graph: its parameters in the document's order."""
    return tuple(StateTensor(name=one.name, shape=one.shape, buffer=not one.trained) for one in graph.parameters)


def require_layout(contents: BundleContents, graph: ModelGraph) -> None:
    """The manifest's layout has the graph's parameters, by name and shape, in their order.

    Which of them are buffers is not compared: bundles that were packed before there was a mark have none. Raises
    `FormatError` (format.design).
    """
    own = [(one.name, one.shape) for one in graph.parameters]
    if own != [(one.name, one.shape) for one in contents.manifest.layout]:
        raise FormatError("format.design", expected="a layout of the graph's parameters in their order", seen="another")


def _rows_of(spec: TensorSpec) -> GraphInput:
    return GraphInput.model_construct(shape=spec.shape, dtype=spec.dtype)
