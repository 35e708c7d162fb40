"""The stack of docker-compose.yml itself, where a Docker engine answers and its images are there; else this says so.

It is slow (minutes), and its images are built beforehand: docs/deploy-compose.md.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from client.measuring import CODE_ROOT
from tests.conftest import Say
from tests.deploy.compose_file import FILE, read_compose

UP_SECONDS = 60.0
DOCKER = shutil.which("docker") or "/usr/bin/docker"
PROBE = "from common.sandbox.probe import require_confinement as ask, sandbox_walls; ask(); print(sandbox_walls())"

pytestmark = pytest.mark.timeout(1200)


@dataclass(frozen=True)
class Project:
    """One installation and its stack; `place` is the working directory of its operator."""

    name: str
    place: Path
    up_seconds: float

    def compose(self, *words: str, check: bool = True) -> str:
        """Output of `docker compose WORDS`."""
        command = [DOCKER, "compose", "-f", str(FILE), "--env-file", str(self.place / "environment"), "-p", self.name]
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, cwd=CODE_ROOT)
        assert done.returncode == 0 or not check, done.stderr[-4000:]
        return done.stdout

    def containers(self, service: str) -> list[str]:
        """Ids of its containers that run."""
        return self.compose("ps", "-q", service).split()

    def health(self) -> dict[str, str]:
        """Container -> health, of those that have one."""
        lines = self.compose("ps", "--format", "json").splitlines()
        rows = [json.loads(line) for line in lines]
        return {row["Name"]: row["Health"] for row in rows if row["Health"]}

    def in_context(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`cloister --context compose WORDS`, from outside."""
        command = [sys.executable, "-P", "-m", "client.cli", "--context", "compose", *words]
        environment = os.environ | {"PYTHONPATH": str(CODE_ROOT)}
        return subprocess.run(command, cwd=self.place, env=environment, capture_output=True, text=True, check=False)


def docker(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([DOCKER, *words], capture_output=True, text=True, check=False)


def require_engine() -> None:
    """Skip, saying what is missing: no machine has to run one."""
    if not Path(DOCKER).exists() or docker("info").returncode:
        pytest.skip("no Docker engine answers")
    if docker("compose", "version").returncode:
        pytest.skip("Docker has no plugin `compose`")
    prepared = {"CLOISTER_UID": "1", "CLOISTER_GID": "1", "CLOISTER_COMPOSE_STATE": "/"}
    wanted = {one["image"] for one in read_compose(dict(os.environ) | prepared)["services"].values()}
    if missing := [image for image in sorted(wanted) if docker("image", "inspect", image).returncode]:
        pytest.skip(f"images are not here: {', '.join(missing)}")


def free_ports() -> list[int]:
    """Three that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    require_engine()
    from client.context import Endpoints
    from deploy.compose.preparation import prepare

    place = tmp_path_factory.mktemp("compose")
    ports = dict(zip(("attestation", "ingest", "query"), free_ports(), strict=True))
    prepare(place / ".cloister-compose", place / "environment", ports)
    endpoints = Endpoints.model_validate({name: f"http://127.0.0.1:{port}" for name, port in ports.items()})
    (place / ".cloister-compose" / "endpoints.json").write_bytes(endpoints.encode())
    made = Project(f"cloister-test-{os.getpid()}", place, 0.0)
    try:
        begun = time.monotonic()
        made.compose("up", "-d", "--no-build", "--wait", "--wait-timeout", "300")
        yield Project(made.name, place, time.monotonic() - begun)
    finally:
        made.compose("down", "--volumes", "--timeout", "20", check=False)


def test_every_service_is_healthy_within_a_minute(project: Project, say: Say) -> None:
    say(f"from up to healthy: {project.up_seconds:.1f} s")
    assert set(project.health().values()) == {"healthy"}
    assert project.up_seconds <= UP_SECONDS


def test_a_job_runs_through_it_from_outside(project: Project, say: Say) -> None:
    figures = project.place / "figures.json"
    done = project.in_context("demo", "--json", str(figures))
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    told = json.loads(figures.read_bytes())
    say(f"the demo's job through it: {told['wall_seconds']} s, accuracy {told['accuracy_sealed']}")
    assert told["trainers"] == 2
    assert told["trust_level"] == "simulation"
    assert told["accuracy_sealed"] >= 0.9


def test_what_runs_is_as_confined_as_the_file_says(project: Project) -> None:
    for service in read_compose(dict(line.split("=") for line in environment_lines(project)))["services"]:
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


def environment_lines(project: Project) -> list[str]:
    return [line for line in (project.place / "environment").read_text().splitlines() if not line.startswith("#")]


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
    (container, *_) = project.containers("trainer")
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


@pytest.mark.parametrize("service", ["redis", "rabbitmq", "ingest", "attestation"])
def test_a_service_that_is_killed_comes_back_alone(project: Project, service: str) -> None:
    (container,) = project.containers(service)
    pid = docker("inspect", "-f", "{{.State.Pid}}", container).stdout.strip()
    os.kill(int(pid), 9)
    until = time.monotonic() + 120
    while time.monotonic() < until:
        (told,) = json.loads(docker("inspect", container).stdout)
        if told["RestartCount"] and told["State"].get("Health", {}).get("Status") == "healthy":
            break
        time.sleep(1)
    project.compose("up", "-d", "--no-build", "--no-recreate", "--wait", "--wait-timeout", "120")
    assert set(project.health().values()) == {"healthy"}
