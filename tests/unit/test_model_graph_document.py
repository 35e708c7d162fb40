"""docs/model-graph.md names every operation with its attributes, and every bound, as they are in the code."""

import re
from pathlib import Path
from typing import Any, get_args

from common.model_graph.checking import STANDARD_BOUNDS
from common.model_graph.graph import MAX_NODES, MAX_PARAMETERS
from common.model_graph.nodes import Node
from common.model_graph.parameters import MAX_RANK
from common.model_graph.reading import MAX_DOCUMENT_BYTES, MAX_NESTING
from common.model_graph.rules import RULES

DOCUMENT = (Path(__file__).parents[2] / "docs" / "model-graph.md").read_text()
OPERATIONS = DOCUMENT.split("## Operations", 1)[1].split("\n## ", 1)[0]
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in OPERATIONS.splitlines() if line.startswith("| `")]


def attributes() -> dict[str, set[str]]:
    """By operation."""
    kinds: tuple[Any, ...] = get_args(get_args(Node)[0])
    named: dict[str, set[str]] = {}
    for kind in kinds:
        fields = set(kind.model_fields) - {"op", "name", "inputs"}
        named |= dict.fromkeys(get_args(kind.model_fields["op"].annotation), fields)
    return named


def test_every_operation_stands_in_the_table_with_its_attributes_and_no_other() -> None:
    told: dict[str, set[str]] = {}
    for operations, fields, *_ in ROWS:
        told |= {one: set(re.findall(r"`(\w+)`", fields)) for one in re.findall(r"`(\w+)`", operations)}
    assert told == attributes()
    assert told.keys() == RULES.keys()
    assert all(len(row) == 5 and all(row) for row in ROWS)


def test_bounds_are_those_of_the_code() -> None:
    for number in (
        STANDARD_BOUNDS.state_values,
        STANDARD_BOUNDS.flops_per_row,
        STANDARD_BOUNDS.activation_bytes_per_row,
    ):
        assert f"2^{number.bit_length() - 1}" in DOCUMENT
        assert number & (number - 1) == 0
    assert MAX_NODES == MAX_PARAMETERS == 4096
    assert f"{MAX_DOCUMENT_BYTES >> 20} MiB, {MAX_NESTING} |" in DOCUMENT
    assert f"| {MAX_RANK}, 2^24 |" in DOCUMENT
