"""Promise: the key broker's enclave survives its host's crashes, and no other code and no older state passes for it."""

import base64
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

import httpx
import psutil
import pytest
from fastapi.testclient import TestClient

from client.tpm.carrier import CounterCarrier
from client.witnessing import Witness
from common.broker_channel import open_reply
from common.broker_verification import VerifiedBroker, broker_binding, verify_broker
from common.crypto.key_file import Identity
from common.crypto.signing import SigningKey
from common.dcap import NO_PLATFORM_RULES
from common.enclave.roles import ROLES
from common.enclave.simulated_platform import SimulatedPlatform
from common.errors import AppraisalError, FreshnessError, UnavailableError
from common.http_signatures import sign_request
from common.identifiers import ChallengeId, JobId, MrEnclave
from common.messages.admission import Admit
from common.messages.base import MAX_MESSAGE_BYTES
from common.messages.broker_door import StartBroker
from common.messages.broker_exchange import BrokerReply, BrokerRequest
from common.messages.broker_identity import DescribeBroker
from common.messages.evidence import DcapQuote
from common.messages.jobs import ListMembers
from common.messages.refusal_detail import Refused
from common.messages.signed import Signed, open_signed
from common.messages.tokens import IssueToken, TokenKey
from common.untrusted.collateral_cache import CollateralCache
from common.untrusted.collateral_service import CollateralLimits, CollateralService
from services.attestation.app import build
from services.attestation.key_broker import NO_NONCE
from services.attestation.relay import BrokerRelay
from services.attestation.settings import AttestationSettings
from services.attestation.state_files import StateFiles
from tests.fakes.installation import Installation
from tests.fakes.software_tpm import SoftwareTpm, pin_counter
from tests.vectors.sample_broker import GENESIS

BROKER = ROLES["broker"]
START_SECONDS = 60.0


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation.make(tmp_path_factory.mktemp("state"), BROKER)


@contextmanager
def running(
    launcher: Path, state: Path, start: StartBroker | None = None, collateral: CollateralService | None = None
) -> Iterator[BrokerRelay]:
    """The service's relay with its real enclave process."""
    start = start or StartBroker(witnesses=(), witness_quorum=0)
    relay = BrokerRelay(launcher, start, StateFiles(state), collateral)
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
    reply, now = relay.ask(request), int(time.time())
    return verify_broker(reply, request, installation.trust, installation.release, NO_PLATFORM_RULES, now)


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
    operator = SigningKey.generate()
    settings = AttestationSettings(
        state_directory=tmp_path, listen_port=0, launcher=installation.settings(),
        release_file=installation.state / "release" / "release.json",
        database_url=f"sqlite:///{tmp_path}/registry.sqlite", services=(operator.party,),
    )  # fmt: skip
    with running(settings.launcher, tmp_path / "broker", settings.start) as relay:
        http = TestClient(build(settings, relay))

        def post(path: str, content: bytes) -> httpx.Response:
            headers = sign_request(operator, "POST", f"http://testserver{path}", content)
            answer: httpx.Response = http.post(path, content=content, headers=headers)
            return answer

        request = BrokerRequest(nonce=secrets.token_bytes(32), body=DescribeBroker()).encode()
        raw = http.post("/v1/broker", content=request).content
        trust, release, now = installation.trust, installation.release, int(time.time())
        verified = verify_broker(raw, request, trust, release, NO_PLATFORM_RULES, now)
        malformed = post("/v1/broker", b"not a request")
        assert malformed.status_code == 200
        reply = BrokerReply.decode(Signed.decode(malformed.content).payload)
        assert reply.body == Refused(code="format.message")
        too_large = post("/v1/broker", b" " * (MAX_MESSAGE_BYTES + 1))
        assert (too_large.status_code, too_large.json()["code"]) == (413, "format.too_large")
        assert Signed.decode(http.get("/v1/release").content).digest
        assert http.get("/readyz").json() == {"ready": True, "waiting_for": []}
        require_token_routes(http, post, verified)
        assert verified.genesis.witnesses == ()
    assert http.get("/readyz").json() == {"ready": False, "waiting_for": ["enclave"]}
    assert http.post("/v1/broker", content=request).json()["code"] == "unavailable.broker"


def require_token_routes(
    http: TestClient, post: Callable[[str, bytes], httpx.Response], verified: VerifiedBroker
) -> None:
    """The key set is certified by the key that was quoted; what is refused is refused as JSON, and alike."""
    (key,) = http.get("/v1/jwks.json").json()["keys"]
    certificate = Signed.decode(base64.urlsafe_b64decode(key["cloister_certificate"] + "=="))
    certified = open_signed(certificate, TokenKey, [verified.genesis.signing_public])
    assert (certified.broker, certified.epoch) == (verified.genesis.digest, verified.head.epoch)
    assert base64.urlsafe_b64decode(key["x"] + "==") == certified.key.raw()
    unknown = IssueToken(job_id=JobId("job_" + "0" * 32), launch=certified.key)
    for body, status, code in ((unknown, 404, "not_found.job"), (DescribeBroker(), 400, "format.message")):
        request = BrokerRequest(nonce=secrets.token_bytes(32), body=body).encode()
        answer = post("/v1/attestation-results", request)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert post("/v1/attestation-results", b"{").status_code == 400


def test_collateral_is_laid_beside_a_request_that_stays_as_it_is(installation: Installation, tmp_path: Path) -> None:
    """The broker answers the request's own bytes; a stranger's challenge opens nothing, whatever the host offers."""
    platform = SimulatedPlatform.open(installation.state / "platform")
    binding = broker_binding(GENESIS, NO_NONCE, 1)
    quote = DcapQuote(quote=platform.evidence(MrEnclave("a" * 64), binding.report_data()).quote)
    body = Admit(challenge_id=ChallengeId.new(), binding=binding, evidence=quote)
    request = BrokerRequest(nonce=secrets.token_bytes(32), body=body).encode()
    cache = CollateralCache(tmp_path / "collateral", installation.trust.allowed_roots)
    service = CollateralService(cache, None, CollateralLimits())
    with running(installation.settings(), tmp_path / "broker", collateral=service) as relay:
        with pytest.raises(UnavailableError, match=r"unavailable\.collateral"):
            relay.ask(request)
        cache.put(platform.collateral(), "a test", int(time.time()))
        signer = describe(relay, installation).genesis.signing_public
        assert open_reply(relay.ask(request), request, signer).body == Refused(code="freshness.challenge")


def test_one_changed_byte_of_code_is_not_the_broker_and_opens_no_state(
    installation: Installation, tmp_path: Path
) -> None:
    with running(installation.settings(), tmp_path / "broker") as relay:
        describe(relay, installation)
    root = installation.copy_of_code(BROKER, tmp_path / "code")
    source = root / "common/policy_rules.py"
    source.write_bytes(source.read_bytes().replace(b"What the parties", b"what the parties", 1))
    changed = installation.settings(code_root=root)
    with running(changed, tmp_path / "fresh") as relay, pytest.raises(AppraisalError, match="appraisal.measurement"):
        describe(relay, installation)
    relay = BrokerRelay(changed, StartBroker(witnesses=(), witness_quorum=0), StateFiles(tmp_path / "broker"))
    relay.start()
    try:
        wait_until(lambda: relay.refused is not None)
        assert relay.refused == "authenticity.sealed_state"
        settings = AttestationSettings(
            state_directory=tmp_path,
            listen_port=0,
            launcher=changed,
            release_file=tmp_path,
            database_url=f"sqlite:///{tmp_path}/registry.sqlite",
        )
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


def test_an_older_sealed_state_releases_nothing_where_a_tpm_counts(installation: Installation, tmp_path: Path) -> None:
    software = SoftwareTpm()
    try:
        start = StartBroker(witnesses=(), witness_quorum=1, tpm_counters=(pin_counter(software),))
        state, launcher = tmp_path / "broker", installation.settings()

        def carry(relay: BrokerRelay) -> None:
            carrier = CounterCarrier(Service(relay, installation), software.open, tmp_path / "steps.json")
            try:
                carrier.round()
            finally:
                carrier.close()

        with running(launcher, state, start) as relay:
            carry(relay)
            assert not describe(relay, installation).description.frozen
        shutil.copytree(state, tmp_path / "older")
        with running(launcher, state, start) as relay:
            assert describe(relay, installation).description.frozen
            carry(relay)
            assert not describe(relay, installation).description.frozen
        with running(launcher, tmp_path / "older", start) as relay:
            with pytest.raises(FreshnessError, match="freshness.state"):
                carry(relay)
            assert describe(relay, installation).description.frozen
    finally:
        software.close()
