"""Every service of a stack that has trained and answered tells its metrics; all that is documented is told by one."""

import re
from collections import defaultdict

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from client.measuring import CODE_ROOT
from tests.e2e.conftest import Finished, RunningStack
from tests.e2e.test_health import documented

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

BY_LUCK = {"cloister_noted", "cloister_slot_ends_total", "cloister_collateral_age_seconds",
           "cloister_collateral_seconds_left", "cloister_refusals_total"}  # fmt: skip
"""Told once there is something to tell: a model that can't be placed, a slot that was given back and so on."""


def page(stack: RunningStack, service: str) -> str:
    with httpx.Client(trust_env=False, timeout=20.0) as http:
        answer = http.get(f"{stack.stack.url(service)}/metrics")
    assert answer.status_code == 200
    return answer.text


def samples(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            found[one.name][tuple(sorted(one.labels.items()))] = one.value
    return found


def told_names(name: str) -> set[str]:
    """A documented name, as it may stand in a page."""
    return {name, f"{name}_count"}


def documented_metrics() -> dict[str, set[str]]:
    """Metric -> services, by the table of docs/observability.md."""
    text = (CODE_ROOT / "docs/observability.md").read_text()
    rows = re.findall(r"^\| `(cloister_\w+)`[^|]*\|([^|]*)\|", text, re.MULTILINE)
    every = set(documented())
    return {name: set(re.findall(r"[a-z-]+", who)) & every or every for name, who in rows}


def test_each_service_tells_what_the_table_says(stack: RunningStack, finished: Finished) -> None:
    pages = {service: samples(page(stack, service)) for service in documented()}
    table = documented_metrics()
    assert len(table) > 15
    missing = {
        (name, service)
        for name, services in table.items()
        for service in services
        if not told_names(name) & pages[service].keys() and name not in BY_LUCK
    }
    assert missing == set()
    told = {name for one in pages.values() for name in one if name.startswith("cloister_")}
    stems = {re.sub(r"_(bucket|sum|count)$", "", name) for name in told}
    assert stems - set(table) == set()


def test_the_numbers_are_those_of_what_happened(stack: RunningStack, finished: Finished) -> None:
    ingest, attestation, paramserver = (samples(page(stack, one)) for one in ("ingest", "attestation", "paramserver"))
    assert ingest["cloister_jobs"][(("state", "finished"),)] >= 1
    assert ingest["cloister_source_up"] == {
        (("source", one),): 1.0 for one in ("readiness", "carried", "board", "queues")
    }
    assert ingest["cloister_capacity"][(("role", "trainer"),)] == 2
    granted = attestation["cloister_attestation_seconds_count"][(("outcome", "granted"), ("request", "admit"))]
    assert granted >= 1 + finished.order.trainers
    frames = paramserver["cloister_frames_total"]
    schedule = finished.order.schedule
    assert frames[(("direction", "down"),)] >= 0.5 * schedule.total_ticks * schedule.frames_per_tick
    assert frames[(("direction", "up"),)] >= 0.5 * schedule.total_ticks * schedule.frames_per_tick
    ticks = paramserver["cloister_ticks_total"]
    assert sum(ticks.values()) >= 0.5 * schedule.total_ticks
    query = samples(page(stack, "query"))
    assert query["cloister_answer_seconds_count"][(("kind", "query"),)] >= 1
    assert set(query["cloister_query_backlog"].values()) == {0.0}
