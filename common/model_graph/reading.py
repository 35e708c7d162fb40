"""Bytes to a checked document, or a refusal that names the node (side: library).

In this order: (1) size, (2) nesting, (3) the layout of the message, (4) what checking.py demands of the graph, (5) what
a design demands of its graph and of the rows that it trains on.
"""

import re
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from common.errors import FormatError
from common.json_text import read_json
from common.messages.base import Message
from common.model_graph.checking import STANDARD_BOUNDS, GraphBounds, GraphFacts, check_graph, refused
from common.model_graph.design import Change, CrossEntropy, Design, Flip, RandomCrop
from common.model_graph.graph import GraphInput, ModelGraph
from common.model_graph.parameters import Stored
from common.model_graph.values import INTEGERS, RuleError, Value, require_axis

MAX_DOCUMENT_BYTES: Final = 1 << 20
MAX_CHANGE_BYTES: Final = 4096
MAX_NESTING: Final = 12
"""More than any valid document has; a parser's recursion is bounded before it begins."""

_TEXT: Final = 400
_M = TypeVar("_M", bound=Message)
_TEXTS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""Texts of JSON; one without an end, too, so that nothing is looked at twice."""
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[{]}"))


def parse_graph(raw: bytes, bounds: GraphBounds = STANDARD_BOUNDS) -> tuple[ModelGraph, GraphFacts]:
    """A graph and its facts. Raises `FormatError` (format.design, format.too_large)."""
    graph = _read(ModelGraph, raw, MAX_DOCUMENT_BYTES)
    return graph, check_graph(graph, bounds)


def parse_design(raw: bytes, bounds: GraphBounds = STANDARD_BOUNDS) -> tuple[Design, GraphFacts]:
    """A design and its graph's facts. Raises `FormatError` (format.design, format.too_large)."""
    design = _read(Design, raw, MAX_DOCUMENT_BYTES)
    return design, check_design(design, bounds)


def parse_change(raw: bytes) -> Change:
    """What a design answers after an epoch. Raises `FormatError` (format.design, format.too_large)."""
    return _read(Change, raw, MAX_CHANGE_BYTES)


def check_design(design: Design, bounds: GraphBounds = STANDARD_BOUNDS) -> GraphFacts:
    """The facts of a design that can be trained. Raises `FormatError` (format.design)."""
    facts = check_graph(design.graph, bounds)
    for one in design.graph.parameters:
        if isinstance(one.initial, Stored):
            raise refused(f"parameter `{one.name}`", "an initialiser: nothing is stored with a design", "`stored`")
    if facts.trained_values == 0:
        raise refused("parameters", "one that is trained", "none")
    for one_of in design.augmentation:
        _require_augmentation(one_of, Value(design.graph.input.shape, design.graph.input.dtype))
    if isinstance(design.loss, CrossEntropy) and not facts.output.shape:
        raise refused("loss", "an output with an axis of classes", "one value a row")
    return facts


def require_rows(design: Design, facts: GraphFacts, given: GraphInput, label: GraphInput, answer: GraphInput) -> None:
    """The rows that it trains on and its answers are of the design's shapes. Raises `FormatError` (format.design)."""
    if given != design.graph.input:
        raise refused("input", f"{given.dtype} of shape {given.shape}, as the data's description says", _said(design))
    output = facts.output.shape
    if (answer.shape, answer.dtype) != (output, "float32"):
        raise refused("output", f"{answer.dtype} of shape {answer.shape}, as the answer's description says", output)
    wanted = output[:-1] if isinstance(design.loss, CrossEntropy) else output
    if label.shape != wanted:
        raise refused("loss", f"labels of shape {wanted}", label.shape)
    if isinstance(design.loss, CrossEntropy) and label.dtype not in INTEGERS:
        raise refused("loss", "labels that are integers", label.dtype)


def _said(design: Design) -> str:
    return f"{design.graph.input.dtype} of shape {design.graph.input.shape}"


def _require_augmentation(one: RandomCrop | Flip, rows: Value) -> None:
    try:
        for axis in one.axes if isinstance(one, RandomCrop) else (one.axis,):
            require_axis(axis, rows)
    except RuleError as broken:
        raise refused(f"augmentation `{one.kind}`", broken.expected, broken.seen) from None
    if isinstance(one, RandomCrop) and one.axes[0] == one.axes[1]:
        raise refused("augmentation `random_crop`", "two different axes", one.axes)


def _read(kind: type[_M], raw: bytes, limit: int) -> _M:
    if len(raw) > limit:  # (1)
        raise FormatError("format.too_large", expected=f"at most {limit} bytes", seen=f"{len(raw)} bytes")
    _require_flat(raw)  # (2)
    try:
        return kind.model_validate_json(raw)  # (3)
    except ValidationError as cause:
        found = cause.errors(include_url=False, include_input=False)[0]
        where, field = _place_of(found["loc"], raw)
        expected = f"{where}: {field}: {found['msg']}"[:_TEXT]
        raise FormatError("format.design", expected=expected, seen=found["type"]) from None


def _require_flat(raw: bytes) -> None:
    depth = 0
    for mark in _TEXTS.sub(b"", raw).translate(None, _NO_BRACKETS):
        depth += 1 if mark in b"[{" else -1
        if depth > MAX_NESTING:
            raise FormatError("format.design", expected=f"JSON of at most {MAX_NESTING} levels", seen="more")


def _place_of(loc: tuple[int | str, ...], raw: bytes) -> tuple[str, str]:
    """Which node or parameter an error of pydantic's is about, and which field of it."""
    for kind, many in (("node", "nodes"), ("parameter", "parameters")):
        if many in loc[:-1]:
            at = loc.index(many) + 1
            return f"{kind} {loc[at]} `{_name_at(raw, loc[: at + 1])}`", ".".join(map(str, loc[at + 1 :]))
    return "document", ".".join(map(str, loc))


def _name_at(raw: bytes, path: tuple[int | str, ...]) -> str:
    """What stands as the name there, for whoever mends it; a stranger text is not repeated."""
    try:
        found: Any = read_json(raw)
        for step in path:
            found = found[step]
        name = found["name"]
    except (ValueError, LookupError, TypeError):
        return "?"
    return name if isinstance(name, str) and len(name) <= 128 else "?"
