"""How many questions share an evaluation follows from the checked graph, and provider code never shares one."""

import json

import pytest

from common.bundle import GRAPH_ENTRY, BundleContents, BundleManifest
from services.query_enclave import batch_size
from services.query_enclave.batch_size import MOST_THREADS, compute_threads, questions_at_once
from services.query_enclave.batching import MAX_QUESTIONS
from tests.fakes.exported_graphs import linear_graph
from tests.fakes.training_world import small_bundle


def graph_contents(**changes: object) -> BundleContents:
    """A served graph of a small bundle."""
    bundle = small_bundle().manifest
    manifest = BundleManifest(**{name: getattr(bundle, name) for name in BundleManifest.model_fields}
                              | {"entry": GRAPH_ENTRY, "layout": bundle.layout[:1]} | changes)  # fmt: skip
    document = json.dumps(linear_graph(bundle)).encode()
    return BundleContents(manifest=manifest, files={"graph.json": document, "provider.toml": b""})


def test_provider_code_and_no_model_share_nothing() -> None:
    assert questions_at_once(small_bundle()) == 1
    assert questions_at_once(None) == 1


def test_a_small_graph_shares_as_much_as_is_allowed() -> None:
    assert questions_at_once(graph_contents()) == MAX_QUESTIONS


@pytest.mark.parametrize("bound", ["BATCH_BYTES", "FLOPS_PER_SECOND", "WINDOW_BYTES"])
def test_each_bound_counts(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    """With less of any of them fewer questions share; one is always answered."""
    contents, seen = graph_contents(), set()
    for amount in (1 << 40, 3000, 1):
        monkeypatch.setattr(batch_size, bound, amount)
        seen.add(questions_at_once(contents))
    assert {1, MAX_QUESTIONS} < seen


def test_a_large_row_is_computed_on_all_cores_and_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compute_threads(graph_contents(), 4) == 1
    monkeypatch.setattr(batch_size, "LARGE_ROW_FLOPS", 1)
    assert [compute_threads(graph_contents(), cores) for cores in (1, 4, 100)] == [1, 4, MOST_THREADS]
    assert compute_threads(small_bundle(), 4) == 1
