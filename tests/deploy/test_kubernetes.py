"""The Kubernetes objects: valid under Kubernetes' own schemas, closed, the same services as docker-compose.yml's."""

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from deploy.kubernetes.preparation import OVERLAYS, SECRETS, TREE
from tests.deploy.compose_file import read_compose
from tests.deploy.kubernetes_tree import Object, containers, named, pods, render

VERSIONS = ("1.33", "1.37")
"""The oldest whose fields the simulation overlay needs, and the newest that the schemas know."""

BROKERS = {"rabbitmq": "@rabbitmq:5671/", "redis": "@redis:6379/", "postgres": "@postgres:5432/"}
OURS = sorted(SECRETS.keys() - BROKERS.keys())
MEBIBYTES = {"Mi": 1, "Gi": 1024, "m": 1, "g": 1024}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {overlay: tmp_path_factory.mktemp(overlay) for overlay in OVERLAYS}


@pytest.fixture(scope="module")
def rendered(places: dict[str, Path]) -> dict[str, list[Object]]:
    return {overlay: render(place / "state", overlay) for overlay, place in places.items()}


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest, rendered: dict[str, list[Object]]) -> list[Object]:
    return rendered[request.param]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_of_its_schema(objects: list[Object], version: str) -> None:
    for one in objects:
        kubernetes_validate.validate(one, version, strict=True)


def test_the_schema_finds_what_is_wrong(objects: list[Object]) -> None:
    broken = json.loads(json.dumps(named(objects, "Deployment", "ingest")))
    broken["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[0], strict=True)


def test_each_name_stands_once(objects: list[Object]) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(names) == len(set(names))


def restricted(pod: Object) -> list[str]:
    """What Kubernetes' Pod Security Standard `restricted` would refuse in it."""
    spec, found = pod["spec"], []
    context = spec.get("securityContext", {})
    found += [field for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    found += [f"volume {volume['name']}" for volume in spec.get("volumes", ()) if "hostPath" in volume]
    found += [] if context.get("runAsNonRoot") and context.get("runAsUser") else ["root"]
    for one in containers(pod):
        own = one.get("securityContext", {})
        found += [] if own.get("allowPrivilegeEscalation") is False else ["privileges"]
        found += [] if own.get("capabilities") == {"drop": ["ALL"]} else ["capabilities"]
        found += ["unmasked /proc"] if own.get("procMount", "Default") != "Default" else []
        profile = own.get("seccompProfile", context.get("seccompProfile", {})).get("type")
        found += [] if profile in {"RuntimeDefault", "Localhost"} else ["seccomp"]
        found += ["apparmor"] if own.get("appArmorProfile", {}).get("type") == "Unconfined" else []
        found += [] if own.get("readOnlyRootFilesystem") else ["a writable root"]  # not of the standard: ours
    return found


def test_on_hardware_every_pod_is_restricted(rendered: dict[str, list[Object]]) -> None:
    sgx = rendered["sgx"]
    assert {name: restricted(pod) for name, pod in pods(sgx) if restricted(pod)} == {}
    assert (
        named(sgx, "Namespace", "cloister")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    )


def test_without_hardware_only_what_confines_provider_code_is_not(rendered: dict[str, list[Object]]) -> None:
    opened = {name: restricted(pod) for name, pod in pods(rendered["simulation"]) if restricted(pod)}
    assert opened == {name: ["unmasked /proc", "apparmor"] for name in ("trainer", "query-worker")}


def test_no_pod_has_a_token_or_a_secret_in_its_environment(objects: list[Object]) -> None:
    for _, pod in pods(objects):
        assert pod["spec"]["automountServiceAccountToken"] is False
        for one in containers(pod):
            assert "envFrom" not in one
            assert all("valueFrom" not in variable for variable in one.get("env", ()))


def test_every_container_has_bounds_and_every_service_probes(objects: list[Object]) -> None:
    for name, pod in pods(objects):
        for one in containers(pod):
            assert "memory" in one["resources"]["limits"], name
        if name != "installation":
            (service,) = [one for one in pod["spec"]["containers"] if one["name"] == "service"]
            assert {"livenessProbe", "readinessProbe"} <= service.keys(), name


def test_secrets_are_files_of_whoever_needs_them(objects: list[Object]) -> None:
    for name, pod in pods(objects):
        if name == "installation":
            continue
        (sources,) = [volume["secret"] for volume in pod["spec"]["volumes"] if volume["name"] == "sources"]
        assert re.fullmatch(rf"{name}-[a-z0-9]{{10}}", sources["secretName"])  # a change restarts who reads it
        assert named(objects, "Secret", sources["secretName"])["data"].keys() == {
            file.format(name=name) for file in SECRETS[name]
        }


def environment(place: Path) -> dict[str, str]:
    names = ("UID", "GID", "ENGINE_GID")
    return {f"CLOISTER_{name}": "10001" for name in names} | {
        "CLOISTER_COMPOSE_STATE": str(place),
        "CLOISTER_ENGINE_SOCKET": "/run/docker.sock",
    }


def test_they_are_the_services_of_compose_with_their_bounds_and_images(
    rendered: dict[str, list[Object]], tmp_path: Path
) -> None:
    found = read_compose(environment(tmp_path))["services"]
    compose = {name: service for name, service in found.items() if not service.get("profiles")}  # a cluster has its own
    running = dict(pods(rendered["simulation"]))
    assert compose.keys() - {"launcher"} == running.keys()  # `launcher` speaks to a Docker engine
    for name, pod in running.items():
        (service,) = [one for one in pod["spec"]["containers"] if one["name"] == "service"]
        assert service["image"] == compose[name]["image"]
        if name != "trainer":  # in compose its enclaves have containers of their own
            assert mebibytes(service["resources"]["limits"]["memory"]) == mebibytes(compose[name]["mem_limit"])


def mebibytes(size: str) -> int:
    found = re.fullmatch(r"(\d+)(Mi|Gi|m|g)", size)
    assert found is not None
    return int(found[1]) * MEBIBYTES[found[2]]


def settings_of(objects: list[Object], name: str, place: Path) -> dict[str, Any]:
    assert named(objects, "Service" if name in {"attestation", "ingest", "query"} else "PodDisruptionBudget", name)
    read: dict[str, Any] = json.loads((place / "state" / "secrets" / f"{name}_settings.json").read_bytes())
    return read


@pytest.mark.parametrize("name", sorted(set(OURS) - {"witness"}))
def test_edges_are_those_that_settings_need(
    rendered: dict[str, list[Object]], places: dict[str, Path], name: str
) -> None:
    objects = rendered["simulation"]
    text = json.dumps(settings_of(objects, name, places["simulation"]))
    needed = {broker for broker, address in BROKERS.items() if address in text}
    needed |= {"attestation"} if "http://attestation:" in text else set()
    labels = dict(pods(objects))[name]["metadata"]["labels"]
    assert {label.removeprefix("cloister.dev/uses-") for label in labels if "/uses-" in label} == needed


def test_nothing_is_reached_but_along_edges(objects: list[Object]) -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in objects if one["kind"] == "NetworkPolicy"}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name in (*BROKERS, "attestation"):
        uses = {"matchLabels": {f"cloister.dev/uses-{name}": "yes"}}
        own = {"matchLabels": {"app.kubernetes.io/name": name}}
        assert policies[f"uses-{name}"]["podSelector"] == uses
        assert policies[f"uses-{name}"]["egress"][0]["to"] == [{"podSelector": own}]
        assert policies[f"to-{name}"]["podSelector"] == own
        assert policies[f"to-{name}"]["ingress"][0]["from"] == [{"podSelector": uses}]
        (port,) = {
            rule["ports"][0]["port"]
            for rule in (*policies[f"uses-{name}"]["egress"], *policies[f"to-{name}"]["ingress"])
        }
        assert port == named(objects, "Service", name)["spec"]["ports"][0]["port"]


def test_everything_that_runs_on_has_a_budget(objects: list[Object]) -> None:
    for name, pod in pods(objects):
        if name in {"installation", "witness"}:
            continue
        selector = named(objects, "PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"]
        assert selector.items() <= pod["metadata"]["labels"].items()


def test_query_workers_follow_the_backlog(objects: list[Object]) -> None:
    scaler = named(objects, "HorizontalPodAutoscaler", "query-worker")["spec"]
    assert scaler["metrics"][0]["external"]["metric"] == {"name": "cloister_query_backlog"}
    assert scaler["scaleTargetRef"]["name"] == "query-worker"
    assert "replicas" not in named(objects, "Deployment", "query-worker")["spec"]


def test_hardware_is_asked_for_where_enclaves_are_launched(rendered: dict[str, list[Object]]) -> None:
    asking = set()
    for name, pod in pods(rendered["sgx"]):
        for one in pod["spec"]["containers"]:
            if "sgx.intel.com/enclave" in one["resources"]["limits"]:
                asking.add(name)
                assert one["image"].startswith(f"cloister/{name}-sgx:")
    assert asking == {"attestation", "trainer", "paramserver", "query-worker"}


def test_preparing_again_keeps_what_is_secret(tmp_path: Path) -> None:
    first = {one["metadata"]["name"] for one in render(tmp_path / "state", "simulation") if one["kind"] == "Secret"}
    again = {one["metadata"]["name"] for one in render(tmp_path / "state", "simulation") if one["kind"] == "Secret"}
    assert {name for name in first ^ again if not name.startswith("rabbitmq-")} == set()  # its hashes are salted anew


def test_the_tree_names_no_secret() -> None:
    for path in TREE.rglob("*.yaml"):
        text = path.read_text()
        assert "kind: Secret" not in text
        assert "BEGIN" not in text
