"""The ingest service on a real port with real queues, and a key broker's core behind real HTTP."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import uvicorn
from fastapi import FastAPI

from common.crypto.key_file import Identity
from common.messages.signed import Signed
from services.attestation.app import build as build_attestation
from services.attestation.settings import AttestationSettings
from services.ingest.app import Ingest, build
from services.ingest.settings import IngestSettings
from tests.fakes.broker_world import BrokerWorld, Party, SealedBundle, SealedData
from tests.fakes.http_services import CoreRelay
from tests.fakes.ingest_world import PartyClient, register_bundle, register_dataset, signed_order

SECONDS = 30.0


def eventually(holds: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """The first true value of `holds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := holds():
            return value
        time.sleep(0.02)
    raise AssertionError(f"did not happen within {seconds} s: {what}")


@contextlib.contextmanager
def served(app: FastAPI, lifespan: Literal["auto", "off"] = "auto") -> Iterator[str]:
    """The application on a free port of loopback; without its lifespan, its routes alone."""
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan=lifespan)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually(lambda: server.started, "uvicorn")
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(SECONDS)


def registry_url(directory: Path) -> str:
    """The address of the registry of a test's services."""
    return f"sqlite:///{directory}/registry.sqlite"


def operator_identity(directory: Path) -> Path:
    """The key file with which a test's services sign, made at first use."""
    path = directory / "operator.json"
    if not path.exists():
        Identity.generate("operator", unsafe_simulation=True).write(path)
    return path


def attestation_settings(directory: Path, world: BrokerWorld, **more: Any) -> AttestationSettings:
    """Of a service that knows the test's operator and registry."""
    release = directory / "release.json"
    release.write_bytes(world.release.encode())
    operator = Identity.read(operator_identity(directory)).signing_key.party
    return AttestationSettings(
        state_directory=directory, listen_port=0, launcher=directory, release_file=release,
        database_url=registry_url(directory), services=(operator,), **more,
    )  # fmt: skip


@contextlib.contextmanager
def attestation_service(directory: Path, world: BrokerWorld, **more: Any) -> Iterator[str]:
    """The attestation service's HTTP rim in front of the core."""
    settings = attestation_settings(directory, world, **more)
    with served(build_attestation(settings, CoreRelay(world))) as url:  # type: ignore[arg-type]
        yield url


class IngestService:
    """One running service and the parties that its tests need."""

    def __init__(self, directory: Path, world: BrokerWorld, attestation_url: str, amqp_url: str) -> None:
        self.world = world
        self.settings = IngestSettings(
            listen_port=0,
            database_url=registry_url(directory),
            object_directory=directory / "objects",
            amqp_url=amqp_url,
            attestation_url=attestation_url,
            operator_identity=operator_identity(directory),
            open_enrolment=True,
        )
        self.url, self.ingest = "", build(self.settings)
        self.http = httpx.Client(trust_env=False, timeout=SECONDS)

    @contextlib.contextmanager
    def running(self) -> Iterator["IngestService"]:
        with served(self.ingest.app) as self.url:
            yield self

    def restarted(self) -> Ingest:
        """A second life over the same state."""
        self.ingest = build(self.settings)
        return self.ingest

    def client(self, party: Party) -> PartyClient:
        client = PartyClient(self.http, party.key, self.url)
        assert client.enrol().status_code == 200
        return client

    def waiting_for(self) -> list[str]:
        answer = self.http.get(f"{self.url}/readyz")
        body = answer.json()
        assert body["ready"] == (answer.status_code == 200) == (not body["waiting_for"])
        waiting: list[str] = body["waiting_for"]
        return waiting

    def await_ready(self) -> None:
        eventually(lambda: not self.waiting_for(), "ingest ready")

    def parties(self) -> tuple[Party, SealedData, SealedBundle]:
        """An owner with a data set, and a published bundle."""
        owner, provider = Party(), self.world.provider
        bundle = register_bundle(self.world, self.client(provider), provider)
        return owner, register_dataset(self.world, self.client(owner), owner), bundle

    def order(self, data: SealedData, bundle: SealedBundle, **changes: Any) -> Signed:
        return signed_order(self.world, data, bundle, **changes)
