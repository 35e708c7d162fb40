"""Promise: the key broker's enclave survives its host's crashes, and no other code and no older state passes for it."""

import os
import re
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from fastapi.testclient import TestClient

from client.witnessing import Witness
from common.broker_verification import VerifiedBroker, verify_broker
from common.crypto.key_file import Identity
from common.enclave.roles import ROLES
from common.errors import AppraisalError, FreshnessError, UnavailableError
from common.messages.attestation import BrokerReply, BrokerRequest, DescribeBroker, ListMembers, Refused
from common.messages.base import MAX_MESSAGE_BYTES
from common.messages.broker_door import StartBroker
from common.messages.signed import Signed
from services.attestation.app import build
from services.attestation.relay import BrokerRelay
from services.attestation.settings import AttestationSettings
from services.attestation.state_files import StateFiles
from tests.fakes.installation import Installation

BROKER = ROLES["broker"]
START_SECONDS = 60.0


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation.make(tmp_path_factory.mktemp("state"), BROKER)


@contextmanager
def running(launcher: Path, state: Path, start: StartBroker | None = None) -> Iterator[BrokerRelay]:
    """The service's relay with its real enclave process."""
    start = start or StartBroker(witnesses=(), witness_quorum=0)
    relay = BrokerRelay(launcher, start, StateFiles(state))
    relay.start()
    try:
        wait_until(lambda: relay.ready)
        yield relay
    finally:
        relay.stop()


def wait_until(condition: Callable[[], bool]) -> None:
    pause, deadline = threading.Event(), time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        pause.wait(0.02)


def describe(relay: BrokerRelay, installation: Installation) -> VerifiedBroker:
    request = BrokerRequest(nonce=secrets.token_bytes(32), body=DescribeBroker()).encode()
    return verify_broker(relay.ask(request), request, installation.trust, installation.release, int(time.time()))


def kill_enclave() -> None:
    """SIGKILL to the enclave process itself, child of the launcher."""
    launchers = [one for one in psutil.Process().children() if "common.enclave.launcher" in " ".join(one.cmdline())]
    for launcher in launchers:
        for enclave in launcher.children():
            os.kill(enclave.pid, signal.SIGKILL)


def test_it_comes_back_after_a_kill_as_the_same_broker_in_a_new_epoch(
    installation: Installation, tmp_path: Path
) -> None:
    with running(installation.settings(), tmp_path / "broker") as relay:
        before = describe(relay, installation)
        kill_enclave()
        wait_until(lambda: not relay.ready)
        wait_until(lambda: relay.ready)
        after = describe(relay, installation)
    assert after.genesis == before.genesis
    assert (after.head.epoch, after.head.size) == (before.head.epoch + 1, before.head.size + 1)
    with running(installation.settings(), tmp_path / "broker") as relay:
        assert describe(relay, installation).genesis == before.genesis


def test_over_http_every_answer_is_the_enclaves_and_nothing_too_large_reaches_it(
    installation: Installation, tmp_path: Path
) -> None:
    settings = AttestationSettings(
        state_directory=tmp_path, listen_port=0, launcher=installation.settings(),
        release_file=installation.state / "release" / "release.json",
    )  # fmt: skip
    with running(settings.launcher, tmp_path / "broker", settings.start) as relay:
        http = TestClient(build(settings, relay))
        request = BrokerRequest(nonce=secrets.token_bytes(32), body=DescribeBroker()).encode()
        raw = http.post("/v1/broker", content=request).content
        verified = verify_broker(raw, request, installation.trust, installation.release, int(time.time()))
        malformed = http.post("/v1/broker", content=b"not a request")
        assert malformed.status_code == 200
        reply = BrokerReply.decode(Signed.decode(malformed.content).payload)
        assert reply.body == Refused(code="format.message")
        too_large = http.post("/v1/broker", content=b" " * (MAX_MESSAGE_BYTES + 1))
        assert (too_large.status_code, too_large.json()["code"]) == (413, "format.too_large")
        assert Signed.decode(http.get("/v1/release").content).digest
        assert http.get("/readyz").json() == {"ready": True, "waiting_for": []}
        assert verified.genesis.witnesses == ()
    assert http.get("/readyz").json() == {"ready": False, "waiting_for": ["enclave"]}
    assert http.post("/v1/broker", content=request).json()["code"] == "unavailable.broker"


def test_one_changed_byte_of_code_is_not_the_broker_and_opens_no_state(
    installation: Installation, tmp_path: Path
) -> None:
    with running(installation.settings(), tmp_path / "broker") as relay:
        describe(relay, installation)
    root = installation.copy_of_code(BROKER, tmp_path / "code")
    source = root / "services/attestation/policy.py"
    source.write_bytes(source.read_bytes().replace(b"What the parties", b"what the parties", 1))
    changed = installation.settings(code_root=root)
    with running(changed, tmp_path / "fresh") as relay, pytest.raises(AppraisalError, match="appraisal.measurement"):
        describe(relay, installation)
    relay = BrokerRelay(changed, StartBroker(witnesses=(), witness_quorum=0), StateFiles(tmp_path / "broker"))
    relay.start()
    try:
        wait_until(lambda: relay.refused is not None)
        assert relay.refused == "authenticity.sealed_state"
        settings = AttestationSettings(state_directory=tmp_path, listen_port=0, launcher=changed, release_file=tmp_path)
        ready = TestClient(build(settings, relay)).get("/readyz")
        assert (ready.status_code, ready.json()["waiting_for"]) == (503, ["sealed_state", "enclave"])
        with pytest.raises(UnavailableError, match="unavailable.broker"):
            relay.ask(b"")
    finally:
        relay.stop()


class Service:
    """The attestation service as a witness sees it."""

    def __init__(self, relay: BrokerRelay, installation: Installation) -> None:
        self._relay, self._release = relay, installation.state / "release" / "release.json"

    def get(self, path: str) -> bytes:
        if path == "/v1/release":
            return self._release.read_bytes()
        earlier, size = re.findall(r"=(\d+)", path)
        return self._relay.log.consistency(int(earlier), int(size)).encode()

    def post(self, path: str, body: bytes) -> bytes:
        assert path == "/v1/broker"
        return self._relay.ask(body)


def test_an_older_sealed_state_releases_nothing(installation: Installation, tmp_path: Path) -> None:
    identity = Identity.generate("witness", unsafe_simulation=True)
    start = StartBroker(witnesses=(identity.signing_key.party,), witness_quorum=1)
    state, launcher = tmp_path / "broker", installation.settings()

    def witness(relay: BrokerRelay) -> Witness:
        return Witness(identity, installation.trust, Service(relay, installation), tmp_path / "witness.json")

    with running(launcher, state, start) as relay:
        witness(relay).round()
        assert not describe(relay, installation).description.frozen
    shutil.copytree(state, tmp_path / "older")
    for _ in range(2):  # two more lives: the log grows by their starts
        with running(launcher, state, start) as relay:
            assert describe(relay, installation).description.frozen
            witness(relay).round()
    with running(launcher, tmp_path / "older", start) as relay:
        with pytest.raises(FreshnessError, match="freshness.state"):
            witness(relay).round()
        assert describe(relay, installation).description.frozen
        job = ListMembers.model_validate({"job_id": "job_" + "0" * 32})
        raw = relay.ask(BrokerRequest(nonce=bytes(32), body=job).encode())
        assert BrokerReply.decode(Signed.decode(raw).payload).body == Refused(code="not_found.job")
        challenge = {"type": "issue-challenge", "role": "trainer", "job_id": "job_" + "0" * 32, "slot": 0}
        request = BrokerRequest.model_validate({"nonce": bytes(32), "body": challenge}).encode()
        refused = BrokerReply.decode(Signed.decode(relay.ask(request)).payload).body
        assert refused == Refused(code="freshness.state")
