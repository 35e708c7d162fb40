"""How many questions one evaluation of a graph may answer, and on how many cores: by the checked graph (side: enclave).

R rows that each question has room for. All bounds are of what the graph's check says that a row costs
(common/model_graph/checking), so neither users nor host choose.
"""

from typing import Final

from common.bundle import DESIGN_FILE, GRAPH_FILE, BundleContents
from common.job_design import BATCH_BYTES, FLOPS_PER_SECOND
from common.model_graph.checking import GraphFacts
from common.model_graph.reading import parse_design, parse_graph
from services.query_enclave.batching import MAX_QUESTIONS

BATCH_SECONDS: Final = 1
"""Of computing at `FLOPS_PER_SECOND` that a batch of several questions may cost: a fifth of its deadline."""

WINDOW_BYTES: Final = 64 << 20
"""Of input and output windows that a batch may take, twice what one question at most has (common/bundle)."""

LARGE_ROW_FLOPS: Final = 1 << 30
"""A row that costs more is computed on all cores: it takes tens of milliseconds of one, and so many rows seldom wait
that cores could share them. What costs less is done sooner than a second core has heard of it (docs/serving.md)."""

MOST_THREADS: Final = 8


def compute_threads(served: BundleContents, cores: int) -> int:
    """Of a sandbox that serves this, on a machine with so many cores: 1 for provider code and small graphs."""
    if not (served.has_graph or served.has_design) or _facts(served).flops_per_row < LARGE_ROW_FLOPS:
        return 1
    return min(cores, MOST_THREADS)


def questions_at_once(served: BundleContents | None) -> int:
    """From 1, for provider code always, to `MAX_QUESTIONS`."""
    if served is None or not (served.has_graph or served.has_design):
        return 1
    facts, manifest = _facts(served), served.manifest
    rows = min(
        BATCH_SECONDS * FLOPS_PER_SECOND // max(1, facts.flops_per_row),
        BATCH_BYTES // max(1, facts.activation_bytes_per_row),
        WINDOW_BYTES // (manifest.input.row_bytes + manifest.answer.row_bytes),
    )
    return max(1, min(MAX_QUESTIONS, rows // manifest.query_rows))


def _facts(served: BundleContents) -> GraphFacts:
    if served.has_design:
        return parse_design(served.files[DESIGN_FILE])[1]
    return parse_graph(served.files[GRAPH_FILE])[1]
