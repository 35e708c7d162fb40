"""Signed HTTP requests from earlier, at ingest, attestation service and query front (side: owner)."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from fastapi.testclient import TestClient

from bench.rollback_tally import Tally
from common.crypto.signing import SigningKey
from common.errors import refusal_of
from common.http_signatures import sign_request
from common.identifiers import ModelId
from common.messages.broker_exchange import BrokerRequest
from common.messages.log_heads import SignHead
from common.messages.query import SESSION_OPEN_BYTES, SESSION_REPLY_BYTES
from common.messages.service import RefusalBody
from common.untrusted.carried import ByteCount
from common.untrusted.database import Database
from common.untrusted.health import Readiness
from common.untrusted.http_identity import RequestGate
from common.untrusted.job_board import JobBoard
from common.untrusted.registry import Registry
from services.attestation.app import build as build_attestation
from services.attestation.settings import AttestationSettings
from services.query_enclave.app import QueryFront
from services.query_enclave.app import build as build_query
from services.query_enclave.front_desk import Proof
from tests.fakes.broker_world import BrokerWorld, Party
from tests.fakes.http_services import CoreRelay
from tests.fakes.ingest_world import IngestWorld, PartyClient, register_dataset
from tests.vectors.vector_file import read_vectors

_MODEL: Final = ModelId("model_" + "a" * 32)
_QUERY_BYTES: Final = 2048


class RecordedClient(PartyClient):
    """A party behind a host that keeps its requests."""

    def __init__(self, http: Any, key: SigningKey) -> None:
        super().__init__(http, key)
        self.carried: list[dict[str, Any]] = []

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
        url = self.base_url + path
        signed = sign_request(self.key, method, url, body) | headers
        self.carried.append({"method": method, "url": url, "content": body, "headers": signed})
        return self.http.request(**self.carried[-1])

    @property
    def made_last(self) -> int:
        """The second in which the newest request was signed."""
        (made,) = self.carried[-1]["headers"]["signature-input"].split(";created=")[1:]
        return int(made.split(";")[0])


def ingest_requests(directory: Path, length: int) -> Tally:
    """Each signed request of a busy party again; then the same at a service that was started anew on the same files."""
    broker, owner = BrokerWorld(directory / "broker"), Party()

    @contextlib.contextmanager
    def start() -> Iterator[Any]:
        world = IngestWorld(directory, broker)
        yield world.http
        world.http.close()

    def busy(client: RecordedClient) -> None:
        client.enrol()
        register_dataset(broker, client, owner)
        for number in range(length):
            client.get(f"/v1/jobs?after={number}")

    return _replayed(start, owner.key, busy, "/v1/jobs")


def attestation_requests(directory: Path, length: int) -> Tally:
    """The same at the attestation service: questions to the key broker, and pages of its log."""
    world, url = BrokerWorld(directory / "broker"), f"sqlite:///{directory}/registry.sqlite"
    release = directory / "release.json"
    release.write_bytes(world.release.encode())
    Registry(Database(url)).enrol(world.owner.party, 0)
    settings = AttestationSettings(
        state_directory=directory, listen_port=0, launcher=directory, release_file=release, database_url=url
    )

    def start() -> AbstractContextManager[Any]:
        return TestClient(build_attestation(settings, CoreRelay(world)))  # type: ignore[arg-type]

    def busy(client: RecordedClient) -> None:
        for number in range(length):
            question = BrokerRequest(nonce=number.to_bytes(32, "big"), body=SignHead())
            client.post("/v1/broker", question.encode())
            client.get(f"/v1/log/entries?first={number % 2}")

    return _replayed(start, world.owner.key, busy, "/v1/log/entries?first=0")


class _Desk:
    """Stands where the front's queue to query enclaves is: it answers at once."""

    def __init__(self) -> None:
        self.carried, self._proof = ByteCount(), _proof()

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def proof(self, _: ModelId) -> Proof:
        return Proof(self._proof, _QUERY_BYTES, time.monotonic())

    async def ask(self, _model: ModelId, kind: str, body: bytes, _launch: str | None = None) -> bytes:
        return bytes(SESSION_REPLY_BYTES if kind == "session" else len(body))


def query_requests(directory: Path, length: int) -> Tally:
    """The same at the query front: proofs, session openings, queries; what enclaves make of them is another kind's."""
    database, key = Database(f"sqlite:///{directory}/registry.sqlite"), SigningKey.generate()
    registry, below = Registry(database), f"/v1/models/{_MODEL}"
    registry.enrol(key.party, 0)

    def start() -> AbstractContextManager[Any]:
        desk, gate = _Desk(), RequestGate(registry)
        front = QueryFront(desk, JobBoard(database), gate)  # type: ignore[arg-type]
        return TestClient(build_query(front, desk, gate, Readiness({})))  # type: ignore[arg-type]

    def busy(client: RecordedClient) -> None:
        for _ in range(length):
            client.get(f"{below}/proof")
            client.post(f"{below}/sessions", bytes(SESSION_OPEN_BYTES))
            client.post(f"{below}/queries", bytes(_QUERY_BYTES))

    return _replayed(start, key, busy, f"{below}/proof")


def _proof() -> bytes:
    encoded = (str(one["encoded"]).encode() for one in read_vectors("messages/broker.json"))
    return next(one for one in encoded if b"query-enclave-proof" in one[:40])


def _replayed(
    start: Callable[[], AbstractContextManager[Any]],
    key: SigningKey,
    busy: Callable[[RecordedClient], None],
    probe: str,
) -> Tally:
    """All requests of `busy` again, to the service that took them and to one that was started anew on its files."""
    tally = Tally()
    with start() as http:
        client = RecordedClient(http, key)
        busy(client)
        _all_again(client, tally)
    while int(time.time()) <= client.made_last:  # a request of the very second of a start may still be new
        time.sleep(0.05)
    with start() as client.http:
        _all_again(client, tally)
        if client.get(probe).status_code != 200:
            raise RuntimeError("a new request was not taken")
    return tally


def _all_again(client: RecordedClient, tally: Tally) -> None:
    for request in list(client.carried):
        tally.refuses(f"{request['method']} {request['url']}", "freshness.request", _send, client.http, request)


def _send(http: Any, request: dict[str, Any]) -> None:
    answer = http.request(**request)
    if not answer.is_success:
        raise refusal_of(RefusalBody.decode(answer.content).code)
