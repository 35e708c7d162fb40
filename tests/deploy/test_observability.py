"""Alert rules, dashboard and scrape configuration: valid, tested by promtool, and about metrics that exist."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from client.measuring import CODE_ROOT
from common.untrusted.metrics import REGISTRY
from deploy.compose.settings import HEALTH_PORT, PORTS
from tests.deploy.test_compose_file import SERVICES, WITHOUT_NETWORK

PLACE = CODE_ROOT / "deploy/observability"
_METRIC = re.compile(r"\b(?:cloister|process)_[a-z_]+\b")
_SUFFIX = re.compile(r"_(?:bucket|sum|count)$")


def read(name: str) -> Any:
    return yaml.load((PLACE / name).read_text(), Loader=yaml.SafeLoader)  # noqa: TID251 - our own file


def rules() -> list[dict[str, Any]]:
    return [rule for group in read("rules.yml")["groups"] for rule in group["rules"]]


def expressions() -> Iterator[str]:
    """Of rules and panels."""
    yield from (rule["expr"] for rule in rules())
    dashboard = json.loads((PLACE / "grafana/dashboards/cloister.json").read_text())
    yield from (target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ()))


def promtool() -> str:
    """Skip on a laptop without it, fail in CI."""
    found = shutil.which("promtool")
    if found is None:
        text = "promtool is not installed (Debian and Ubuntu: the package prometheus)"
        if os.environ.get("CI"):
            pytest.fail(text, pytrace=False)
        pytest.skip(text)
    return found


def documented() -> set[str]:
    """Metrics of docs/observability.md, which tests/e2e/test_metrics.py holds against what services tell."""
    return set(re.findall(r"^\| `(cloister_\w+)`", (CODE_ROOT / "docs/observability.md").read_text(), re.MULTILINE))


@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "rules.yml"), ("test", "rules", "rules_test.yml"),
     ("check", "config", "--syntax-only", "prometheus.yml")],
)  # fmt: skip
def test_promtool_is_content(arguments: tuple[str, ...]) -> None:
    done = subprocess.run([promtool(), *arguments], cwd=PLACE, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_seen_firing_and_quiet() -> None:
    told: dict[str, set[bool]] = {}
    for test in read("rules_test.yml")["tests"]:
        for case in test["alert_rule_test"]:
            told.setdefault(case["alertname"], set()).add(bool(case["exp_alerts"]))
    assert told == {rule["alert"]: {True, False} for rule in rules()}


def test_every_metric_that_is_named_exists() -> None:
    named = {_SUFFIX.sub("", name) for text in expressions() for name in _METRIC.findall(text)}
    own = {name for name in named if name.startswith("cloister_")}
    assert len(own) > 15
    assert own - documented() == set()
    assert {f"process_{one}" for one in ("cpu_seconds_total", "resident_memory_bytes")} == named - own
    counted = {f"{one.name}_total" if one.type == "counter" else one.name for one in REGISTRY.collect()}
    assert {name for name in counted if name.startswith("cloister_")} - documented() == set()


def test_every_metric_that_is_documented_is_watched() -> None:
    named = {_SUFFIX.sub("", name) for text in expressions() for name in _METRIC.findall(text)}
    assert documented() - named == set()


def test_every_alert_says_what_to_do() -> None:
    text = (CODE_ROOT / "docs/observability.md").read_text()
    anchors = {heading.lower() for heading in re.findall(r"^### (Cloister\w+)$", text, re.MULTILINE)}
    assert {rule["annotations"]["runbook"] for rule in rules()} == {f"docs/observability.md#{one}" for one in anchors}
    assert {rule["labels"]["severity"] for rule in rules()} == {"critical", "warning"}


def test_prometheus_reads_every_service_of_ours_at_its_port() -> None:
    scraped = {}
    for job in read("prometheus.yml")["scrape_configs"]:
        (found,) = job["dns_sd_configs"]
        scraped[job["job_name"]] = found["port"]
        assert found["names"] == [job["job_name"]]
        assert job["authorization"]["credentials_file"] == "/run/secrets/metrics_token"
    ours = {name for name, one in SERVICES.items() if "build" in one} - WITHOUT_NETWORK
    assert scraped == {name: PORTS.get(name, HEALTH_PORT) for name in ours}
    networks = set(SERVICES["prometheus"]["networks"])
    assert [name for name in ours if not networks & set(SERVICES[name]["networks"])] == []


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    (source,) = read("grafana/datasources/prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    dashboard = json.loads((PLACE / "grafana/dashboards/cloister.json").read_text())
    used = {panel["datasource"]["uid"] for panel in dashboard["panels"] if "datasource" in panel}
    assert used == {source["uid"]}
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len(set(numbers))
    (provider,) = read("grafana/dashboards/provider.yml")["providers"]
    assert provider["options"]["path"] == "/etc/grafana/provisioning/dashboards"
