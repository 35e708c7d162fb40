"""A stack of docker-compose.yml with a name and a working directory of its own (side: library)."""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.context import Endpoints
from client.measuring import CODE_ROOT
from client.stack_access import ENDPOINTS_FILE
from deploy.compose.preparation import prepare
from tests.deploy.compose_file import FILE
from tests.deploy.containers.engine import DOCKER, docker


@dataclass
class Project:
    """One installation and its stack; `place` is the working directory of its operator."""

    name: str
    place: Path
    up_seconds: float = 0.0

    @classmethod
    def prepared(cls, name: str, place: Path) -> "Project":
        """What `cloister compose prepare` makes, on free ports, with an environment file of its own."""
        ports = dict(zip(("attestation", "ingest", "query"), free_ports(), strict=True))
        prepare(place / ".cloister-compose", place / "environment", ports)
        endpoints = Endpoints.model_validate({name: f"http://127.0.0.1:{port}" for name, port in ports.items()})
        (place / ".cloister-compose" / ENDPOINTS_FILE).write_bytes(endpoints.encode())
        return cls(name, place)

    @property
    def state(self) -> Path:
        """The directory that clients name by `--context compose`."""
        return self.place / ".cloister-compose"

    @property
    def environment(self) -> dict[str, str]:
        """What docker-compose.yml is given."""
        lines = (self.place / "environment").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if not line.startswith("#"))

    def up(self) -> None:
        """Start it, until it is healthy."""
        begun = time.monotonic()
        self.compose("up", "-d", "--no-build", "--wait", "--wait-timeout", "300")
        self.up_seconds = time.monotonic() - begun

    def compose(self, *words: str, check: bool = True) -> str:
        """Output of `docker compose WORDS`."""
        command = [DOCKER, "compose", "-f", str(FILE), "--env-file", str(self.place / "environment"), "-p", self.name]
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, cwd=CODE_ROOT)
        assert done.returncode == 0 or not check, done.stderr[-4000:]
        return done.stdout

    def containers(self, service: str) -> list[str]:
        """Ids of its containers that run."""
        return self.compose("ps", "-q", service).split()

    def enclaves(self) -> list[str]:
        """Ids of containers that were launched for enclaves and run."""
        mounts = f"volume={self.name}_installation"
        return docker("ps", "-q", "--filter", "label=cloister.enclave", "--filter", mounts).stdout.split()

    def health(self) -> dict[str, str]:
        """Container -> health, of those that have one."""
        lines = self.compose("ps", "--format", "json").splitlines()
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return {row["Name"]: row["Health"] for row in rows if row["Health"]}

    def await_health(self, seconds: float = 180) -> None:
        """Until all are healthy, services that died too."""
        deadline = time.monotonic() + seconds
        while set(health := self.health().values()) != {"healthy"}:
            assert time.monotonic() < deadline, health
            time.sleep(1)

    def in_context(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`cloister --context compose WORDS`, from outside."""
        command = [sys.executable, "-P", "-m", "client.cli", "--context", "compose", *words]
        environment = os.environ | {"PYTHONPATH": str(CODE_ROOT)}
        return subprocess.run(command, cwd=self.place, env=environment, capture_output=True, text=True, check=False)


def free_ports() -> list[int]:
    """Three that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
