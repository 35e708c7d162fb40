"""A page of metrics: every source is asked anew, and one that fails takes nothing else along."""

from collections.abc import Iterator

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from common.untrusted.metrics import REGISTRY, MetricsPage, plain_gauge


def values(page: MetricsPage) -> dict[str, float]:
    families = text_string_to_metric_families(page.encode().decode())
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in families
        for sample in family.samples
    }


def test_a_source_that_fails_leaves_out_its_own_metrics_alone() -> None:
    depth = [3.0]

    def good() -> Iterator[Metric]:
        yield plain_gauge("cloister_test_depth", "A depth.", depth[0])

    def bad() -> Iterator[Metric]:
        yield plain_gauge("cloister_test_half", "Told before the failure.", 1)
        raise OSError("postgresql://user:password@host")

    page = MetricsPage({"bad": bad, "good": good, "empty": lambda: ()})
    told = values(page)
    assert told["cloister_test_depth[]"] == 3
    assert "cloister_test_half[]" not in told
    assert [told[f"cloister_source_up['{name}']"] for name in ("bad", "good", "empty")] == [0, 1, 1]
    assert b"password" not in page.encode()
    depth[0] = 5.0
    assert values(page)["cloister_test_depth[]"] == 5


def test_no_metric_tells_real_frames_from_dummies() -> None:
    """Whoever adds one that does has to change this test, and read ARCHITECTURE, decision 10."""
    told = {one.name: one.documentation.lower() for one in REGISTRY.collect()}
    assert "cloister_frames" in told
    assert not [name for name, text in told.items() for word in ("dummy", "dummies", "real") if word in text.split()]


@pytest.mark.parametrize("token", [None, "secret"])
def test_a_page_without_a_token_has_no_reader_elsewhere(token: str | None) -> None:
    page = MetricsPage(token=token)
    assert page.is_for("127.0.0.1", None)
    assert page.is_for("192.0.2.1", "Bearer secret") == (token is not None)
    assert not page.is_for("192.0.2.1", "Bearer ")
    assert not page.is_for(None, None)
