"""A broker on a platform whose quotes carry no collateral, as a party verifies it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from client.broker import BrokerLink, describe_broker
from client.context import Endpoints, Party, PinnedTrust
from client.verification import verify_broker, verify_evidence
from common.enclave.simulated_pki import SimulatedPki
from common.errors import FreshnessError, Refusal
from common.messages.evidence import Collateral, DcapQuote, TrustLevel
from common.messages.release import Release
from services.attestation.context import BrokerContext
from services.attestation.key_broker import KeyBroker
from tests.fakes.broker_world import BrokerWorld, TestRuntime


@dataclass(frozen=True)
class BareRuntime(TestRuntime):
    """Quotes as hardware makes them."""

    def evidence(self, report_data: bytes) -> Any:
        return DcapQuote(quote=super().evidence(report_data).quote)


@dataclass
class Operator:
    """The attestation service's HTTP rim around a broker, with collateral of its choice."""

    world: BrokerWorld
    collateral: Collateral
    asked: list[str] = field(default_factory=list)
    url: str = ""

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(attestation=self.url, ingest=self.url, query=self.url)


@contextmanager
def operating(operator: Operator) -> Iterator[Operator]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            self._send(operator.world.core.handle(raw, operator.world.time))

        def do_GET(self) -> None:
            operator.asked.append(self.path)
            self._send(operator.collateral.encode())

        def _send(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    operator.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield operator
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def issued(pki: SimulatedPki, days_ago: float = 0.0) -> Collateral:
    return pki.collateral(datetime.now(UTC) - timedelta(days=days_ago))


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    world = BrokerWorld(tmp_path / "world")
    runtime = BareRuntime(world.platform, world.runtime("broker").measurement, world.trust)
    world.context = BrokerContext.start(runtime, world.store, world.rule, world.time)
    world.core = KeyBroker(world.context)
    with operating(Operator(world, issued(world.platform.pki))) as serving:
        yield serving


def describe(operator: Operator) -> Any:
    world = operator.world
    release = Release.decode(world.release.payload)
    return describe_broker(operator.endpoints, world.trust, release, TrustLevel.SIMULATION)


def test_its_quote_is_verified_with_what_the_operator_serves(operator: Operator) -> None:
    assert describe(operator).collateral == operator.collateral
    assert operator.asked == ["/v1/collateral/sgx/c0ffee000000/platform"]


def test_foreign_or_expired_collateral_opens_nothing(operator: Operator) -> None:
    pki = operator.world.platform.pki
    for collateral in (issued(SimulatedPki.generate(datetime.now(UTC))), issued(pki, 31)):
        operator.collateral = collateral
        with pytest.raises(Refusal):
            describe(operator)


def test_a_party_refuses_older_collateral_than_it_has_seen(operator: Operator, tmp_path: Path) -> None:
    party = Party.create(tmp_path / "owner", "owner", unsafe_simulation=True)
    world = operator.world
    party.pin(
        PinnedTrust(
            endpoints=operator.endpoints, trust_settings=world.trust, release=world.release, broker=world.genesis
        )
    )
    assert BrokerLink(party).verify().trust_level == "simulation"
    operator.collateral = issued(world.platform.pki, 2)
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        BrokerLink(Party(tmp_path / "owner")).verify()
    operator.collateral = issued(world.platform.pki)
    assert BrokerLink(Party(tmp_path / "owner")).verify()


def test_its_quote_is_kept_to_be_verified_again(operator: Operator, tmp_path: Path) -> None:
    party, world = Party.create(tmp_path / "owner", "owner", unsafe_simulation=True), operator.world
    party.pin(
        PinnedTrust(
            endpoints=operator.endpoints, trust_settings=world.trust, release=world.release, broker=world.genesis
        )
    )
    first, *_ = verify_broker(party, tmp_path / "quote.json")
    again, _ = verify_evidence(party, tmp_path / "quote.json", "broker")
    assert first == again
