"""The service as a process: killed in the middle of things, it goes on where it was; its log quotes nothing."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from common.messages.service import JobList, OrderReceipt, RefusalBody, UploadState
from common.sealed_object import ObjectKind
from services.ingest.settings import IngestSettings
from tests.conftest import Broker
from tests.fakes.broker_world import BrokerWorld, Party
from tests.fakes.ingest_world import PartyClient, register_bundle, register_dataset, sealed_bytes, signed_order
from tests.integration.ingest_service import SECONDS, attestation_service, eventually, operator_identity, registry_url

ROOT = Path(__file__).parents[2]
MARKER = b"CANARY-unlikely-to-be-said"


class Process:
    """`python -m services.ingest.app` on a port that stays the same over its lives."""

    def __init__(self, directory: Path, amqp_url: str, attestation_url: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{self.port}", directory / "log"
        self._settings = directory / "settings.json"
        settings = IngestSettings(
            listen_port=self.port,
            database_url=registry_url(directory),
            object_directory=directory / "objects",
            amqp_url=amqp_url,
            attestation_url=attestation_url,
            operator_identity=operator_identity(directory),
            open_enrolment=True,
        )
        with os.fdopen(os.open(self._settings, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(settings.model_dump_json())
        self.http = httpx.Client(trust_env=False, timeout=SECONDS)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-P", "-m", "services.ingest.app", "--settings", str(self._settings)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": os.defpath}, stdout=log, stderr=log
            )
        eventually(self.is_ready, "ingest ready")

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return self.http.get(f"{self.url}/readyz").status_code == 200
        return False

    def end(self, signum: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signum)
            self._process.wait(SECONDS)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> BrokerWorld:
    return BrokerWorld(tmp_path_factory.mktemp("world"))


@pytest.fixture
def process(tmp_path: Path, world: BrokerWorld, rabbitmq: Broker) -> Iterator[Process]:
    with attestation_service(tmp_path, world) as attestation_url:
        process = Process(tmp_path, rabbitmq.url, attestation_url)
        process.start()
        yield process
        process.end(signal.SIGKILL)


def test_killed_in_an_upload_and_after_an_order_it_loses_nothing(process: Process, world: BrokerWorld) -> None:
    owner, provider = Party(), world.provider
    client, other = (PartyClient(process.http, party.key, process.url) for party in (owner, provider))
    for one in (client, other):
        assert one.enrol().status_code == 200
    sealed = sealed_bytes(ObjectKind.DATASET, 9000)
    state = UploadState.decode(client.begin(sealed).content)
    for leaf in state.missing[:4]:
        client.put_leaf(state.upload_id, leaf, sealed.chunks[leaf - 1])
    process.end(signal.SIGKILL)
    process.start()
    assert UploadState.decode(client.begin(sealed).content).missing == state.missing[4:]
    client.upload(sealed)
    data, bundle = register_dataset(world, client, owner), register_bundle(world, other, provider)
    job_id = OrderReceipt.decode(client.submit(signed_order(world, data, bundle)).content).job_id
    process.end(signal.SIGKILL)
    process.start()
    assert [one.job_id for one in JobList.decode(client.get("/v1/jobs").content).jobs] == [job_id]
    assert client.get(f"/v1/objects/{sealed.root}/leaves/1").content == sealed.chunks[0]
    refused = client.post("/v1/orders", b'{"type":"' + MARKER + b'"}')
    assert RefusalBody.decode(refused.content).code == "format.message"
    assert process.http.get(f"{process.url}/{MARKER.decode()}").status_code == 404
    process.end(signal.SIGTERM)
    log = process.log.read_bytes()
    assert MARKER not in log
    assert owner.party.encode() not in log
    assert {"service_started", "order_accepted", "queue_connected"} <= {
        json.loads(line)["event"] for line in log.splitlines()
    }


def test_settings_that_others_may_read_are_refused(process: Process, tmp_path: Path) -> None:
    loose = tmp_path / "loose.json"
    loose.write_text("{}")
    loose.chmod(0o644)
    command = [sys.executable, "-P", "-m", "services.ingest.app", "--settings", str(loose)]
    done = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert b"format.message" in done.stderr
