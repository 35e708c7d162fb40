"""The stack of docker-compose.yml itself, where a Docker engine answers and its images are there; else this says so.

It is slow (minutes), and its images are built beforehand: docs/deploy-compose.md.
"""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.conftest import Say
from tests.deploy.compose_file import read_compose
from tests.deploy.containers.engine import DOCKER, docker
from tests.deploy.containers.kills import kill_container
from tests.deploy.containers.stack import Project

UP_SECONDS = 60.0
PROBE = "from common.sandbox.probe import require_confinement as ask, sandbox_walls; ask(); print(sandbox_walls())"

pytestmark = pytest.mark.timeout(1200)


def test_every_service_is_healthy_within_a_minute(project: Project, say: Say) -> None:
    say(f"from up to healthy: {project.up_seconds:.1f} s")
    assert set(project.health().values()) == {"healthy"}
    assert project.up_seconds <= UP_SECONDS


def test_a_job_runs_through_it_from_outside(project: Project, say: Say) -> None:
    figures = project.place / "figures.json"
    with launches() as started:
        done = project.in_context("demo", "--json", str(figures))
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    told = json.loads(figures.read_bytes())
    say(f"the demo's job through it: {told['wall_seconds']} s, accuracy {told['accuracy_sealed']}")
    assert told["trainers"] == 2
    assert told["trust_level"] == "simulation"
    assert told["accuracy_sealed"] >= 0.9
    say(f"trainer enclaves started as containers meanwhile: {len(started)}")
    assert len(started) >= 2
    deadline = time.monotonic() + 30
    while project.enclaves():
        assert time.monotonic() < deadline, "left running"
        time.sleep(1)


@contextlib.contextmanager
def launches() -> Iterator[list[str]]:
    """Containers of trainer enclaves that the engine starts meanwhile. It keeps too few events to be asked later."""
    started: list[str] = []
    filters = ["--filter", "label=cloister.enclave=trainer", "--filter", "event=start", "--format", "{{.ID}}"]
    told = subprocess.Popen([DOCKER, "events", *filters], stdout=subprocess.PIPE, text=True)
    try:
        yield started
    finally:
        told.terminate()
        started += told.communicate()[0].split()


def test_what_runs_is_as_confined_as_the_file_says(project: Project) -> None:
    for service in read_compose(project.environment)["services"]:
        for container in project.containers(service):
            (told,) = json.loads(docker("inspect", container).stdout)
            host = told["HostConfig"]
            assert host["ReadonlyRootfs"], service
            assert not host["Privileged"], service
            assert told["Config"]["User"].split(":")[0] != "0", service
            status = docker("exec", container, "cat", "/proc/1/status").stdout
            bounding = next(line for line in status.splitlines() if line.startswith("CapBnd"))
            assert int(bounding.split()[1], 16) == 0, service
            assert docker("exec", container, "touch", "/opt/x").returncode, service


CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"


def test_brokers_and_enclaves_reach_no_network_but_theirs(project: Project) -> None:
    """The front network stands for all that is outside: a packet would have to be forwarded."""
    (query,) = project.containers("query")
    networks = json.loads(docker("inspect", query).stdout)[0]["NetworkSettings"]["Networks"]
    address = {name.removeprefix(f"{project.name}_"): one["IPAddress"] for name, one in networks.items()}
    for service, reached in (("trainer", "back"), ("query-worker", "back"), ("witness", None)):
        container = project.containers(service)[0]
        for network in ("front", "back"):
            asked = docker("exec", container, "python", "-c", CONNECT, address[network], "8442")
            assert (asked.returncode == 0) == (network == reached), (service, network, asked.stderr)


def test_sandboxes_confine_here_and_refuse_under_dockers_own_profile(project: Project) -> None:
    (container, *_) = project.containers("query-worker")
    confined = docker("exec", container, "python", "-c", PROBE)
    assert confined.returncode == 0, confined.stderr
    image = docker("inspect", "-f", "{{.Config.Image}}", container).stdout.strip()
    plain = [
        "run",
        "--rm",
        "--network",
        "none",
        "--read-only",
        "--tmpfs",
        "/tmp",
        "--cap-drop",
        "ALL",
        "--user",
        "10001",
    ]
    refused = docker(*plain, "--entrypoint", "python", image, "-c", PROBE)
    assert refused.returncode != 0
    assert "confinement." in refused.stderr


def test_more_trainers_come_with_one_word(project: Project) -> None:
    project.compose("up", "-d", "--no-build", "--no-recreate", "--wait", "--scale", "trainer=4", "trainer")
    containers = project.containers("trainer")
    assert len(containers) == 4
    names = {docker("exec", one, "hostname").stdout.strip() for one in containers}
    assert len(names) == 4


@pytest.mark.parametrize("service", ["redis", "rabbitmq", "postgres", "ingest", "attestation", "launcher"])
def test_a_service_that_is_killed_comes_back_alone(project: Project, service: str) -> None:
    (container,) = project.containers(service)
    kill_container(container)
    deadline = time.monotonic() + 60
    while not json.loads(docker("inspect", container).stdout)[0]["RestartCount"]:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    project.await_health()
