"""The HTTP applications of all services, as whoever sends them requests sees them (side: library).

Attestation and ingest stand on a key broker's core in this process, ingest on a real RabbitMQ too, the query front on a
real Redis and on a proof that has no enclave behind it. Each has an enrolled party, things of that party to name, and
genuine bodies, which were taken down while a job was run.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import httpx
from fastapi.concurrency import run_in_threadpool
from fastapi.testclient import TestClient

from common.crypto.digests import sha256_raw
from common.crypto.signing import SigningKey
from common.http_signatures import sign_request
from common.identifiers import DatasetId, ModelId, QueryId
from common.messages.log_heads import AwaitHead, HeadSigned
from common.messages.objects import DatasetManifest
from common.messages.placement import QueryEnclaveProof
from common.messages.query import SESSION_OPEN_BYTES
from common.messages.service import BeginUpload, EnrolIdentity, UploadState
from common.messages.tokens import AttestationToken, IssueToken
from common.sealed_object import ObjectKind
from common.untrusted.collateral_cache import CollateralCache
from common.untrusted.collateral_service import CollateralLimits, CollateralService
from common.untrusted.database import Database
from common.untrusted.health import Readiness
from common.untrusted.http_description import Service
from common.untrusted.http_identity import RequestGate
from common.untrusted.job_board import JobBoard
from common.untrusted.registry import Registry
from deploy.embedded.stack import EmbeddedStack
from services.attestation.app import build as build_attestation
from services.attestation.log_store import LogStore
from services.attestation.settings import AttestationSettings
from services.attestation.state_files import StateFiles
from services.query_enclave.app import QueryFront
from services.query_enclave.app import build as build_query
from services.query_enclave.front_desk import FrontDesk
from services.query_enclave.question_reader import connect
from services.query_enclave.streams import proof_of
from tests.fakes.broker_world import QUERY, TRAINER, BrokerWorld
from tests.fakes.ingest_world import IngestWorld, register_bundle, register_dataset, sealed_bytes, signed_order
from tests.vectors.vector_file import read_vectors

BASE: Final = "http://testserver"
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
MANY: Final = 1_000_000
"""Requests: quotas are not what these services are asked about."""

OPEN_AT_ATTESTATION: Final = (
    "/v1/release", "/v1/collateral", "/v1/jwks.json", "/v1/recovery", "/v1/log/head", "/v1/log/inclusion",
    "/v1/log/consistency",
)  # fmt: skip
QUESTION_SECONDS: Final = 0.02
"""How long the front waits for an enclave that is not there."""


@dataclass(frozen=True)
class HttpService:
    """One application. `known`: genuine values of parameters by name; `open_below`: paths that want no signature."""

    app: Service
    http: TestClient
    key: SigningKey
    known: dict[str, tuple[str, ...]]
    bodies: tuple[bytes, ...]
    open_below: tuple[str, ...] = ()

    def wants_signature(self, path: str) -> bool:
        """Whether a route refuses whoever does not sign."""
        return path.startswith("/v1/") and not path.startswith(self.open_below)

    def send(self, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] = NO_HEADERS) -> httpx.Response:
        """A request that this service's party signs."""
        url = str(httpx.URL(BASE).join(url))
        answer: httpx.Response = self.http.request(
            method, url, content=body, headers=dict(headers) | sign_request(self.key, method, url, body)
        )
        return answer

    def send_unsigned(
        self, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] = NO_HEADERS
    ) -> httpx.Response:
        """The same without a signature, or with one of the caller's."""
        answer: httpx.Response = self.http.request(method, BASE + url, content=body, headers=dict(headers))
        return answer


class RecordedWorld(BrokerWorld):
    """A broker's core that remembers what it was asked."""

    def __init__(self, directory: Path) -> None:
        self.asked: list[bytes] = []
        super().__init__(directory)

    def handle(self, raw: bytes) -> bytes:
        self.asked.append(raw)
        return super().handle(raw)


class CoreRelay:
    """What the attestation application uses of its relay, on a core in this process."""

    ready = True
    older_release: Path | None = None

    def __init__(
        self, world: BrokerWorld, collateral: CollateralService | None = None, files: StateFiles | None = None
    ) -> None:
        self._world, self.collateral, self.files = world, collateral, files
        self.log = LogStore(world.store)

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def require_not_refused(self) -> bool:
        return True

    def ask(self, raw: bytes) -> bytes:
        return self._world.handle(raw)

    async def carry(self, raw: bytes) -> bytes:
        return await run_in_threadpool(self.ask, raw)


@contextlib.contextmanager
def attestation(directory: Path, _: EmbeddedStack) -> Iterator[HttpService]:
    """The attestation service, its log with a job in it."""
    world = RecordedWorld(directory)
    job_id = world.start_job()
    launch = world.launch(TRAINER, job_id).signing_key.party
    world.channel().ask(IssueToken(job_id=job_id, launch=launch), AttestationToken)
    world.channel().ask(AwaitHead(known=2), HeadSigned)
    model = world.finish(job_id)
    world.draw(world.launch(QUERY, job_id), world.grant(model))
    world.revoke(world.owner, "job", job_id)
    release, files = directory / "release.json", directory / "files.json"
    release.write_bytes(world.release.encode())
    files.write_bytes(next(one for one in _golden("documents") if b"measured-files" in one))
    url = f"sqlite:///{directory}/registry.sqlite"
    Registry(Database(url)).enrol(world.owner.party, 0)
    settings = AttestationSettings(
        state_directory=directory, listen_port=0, launcher=directory, release_file=release, measured_files=files,
        database_url=url, services=(world.owner.party,), open_requests_per_second=MANY, open_request_burst=MANY,
    )  # fmt: skip
    roots = world.trust.allowed_roots
    cache = CollateralCache(directory / "collateral", roots)
    stored = cache.put(world.platform.collateral(), "a test", int(time.time()))
    relay = CoreRelay(world, CollateralService(cache, None, CollateralLimits()), StateFiles(directory / "broker"))
    app = build_attestation(settings, relay)  # type: ignore[arg-type]
    known = {
        "first": ("0", "3"),
        "number": ("1",),
        "size": ("4", "9"),
        "earlier": ("2",),
        "tee": ("sgx",),
        "fmspc": (stored.name.fmspc,),
        "ca": (stored.name.ca,),
        "dataset_id": (DatasetId("data_" + "0" * 32),),
    }
    with TestClient(app, raise_server_exceptions=False) as http:
        yield HttpService(app, http, world.owner.key, known, tuple(dict.fromkeys(world.asked)), OPEN_AT_ATTESTATION)


@contextlib.contextmanager
def ingest(directory: Path, stack: EmbeddedStack) -> Iterator[HttpService]:
    """The ingest service with an owner's data set and job, and an upload that was left."""
    broker = RecordedWorld(directory)
    world = IngestWorld(directory, broker, amqp_url=stack.amqp_url)
    owner, provider = world.client(broker.owner), world.client(broker.provider)
    data = register_dataset(broker, owner, broker.owner)
    bundle = register_bundle(broker, provider, broker.provider)
    own_bundle = register_bundle(broker, owner, broker.owner)
    order = signed_order(broker, data, bundle)
    job_id = owner.submit(order).json()["job_id"]
    left = sealed_bytes(ObjectKind.DATASET)
    upload = UploadState.decode(owner.begin(left).content)
    root = DatasetManifest.decode(data.manifest.payload).parts[0].root
    known = {
        "upload_id": (upload.upload_id,), "leaf": ("1", "2"), "root": (root,), "dataset_id": (data.dataset_id,),
        "bundle_id": (own_bundle.bundle_id,), "job_id": (job_id,), "model_id": (ModelId("model_" + "0" * 32),),
        "after": ("0", "5"),
    }  # fmt: skip
    digests = b"".join(sha256_raw(chunk) for chunk in left.chunks)
    begin = BeginUpload(header=left.header, chunk_digests=digests).encode()
    bodies = (EnrolIdentity(party=broker.owner.party).encode(), begin, left.chunks[0], order.encode(), *broker.asked)
    with world.http:
        yield HttpService(world.ingest.app, world.http, broker.owner.key, known, bodies)


@contextlib.contextmanager
def query(directory: Path, stack: EmbeddedStack) -> Iterator[HttpService]:
    """The query front; one model has a proof, and its questions wait for nobody."""
    database, key = Database(f"sqlite:///{directory}/registry.sqlite"), SigningKey.generate()
    registry = Registry(database)
    registry.enrol(key.party, 1 << 20)
    proof = QueryEnclaveProof.decode(next(one for one in _golden("broker") if b"query-enclave-proof" in one[:40]))
    model_id = ModelId("model_" + "a" * 32)
    connect(stack.redis_url).set(proof_of(model_id), proof.model_copy(update={"query_bytes": 2048}).encode())
    desk, gate = FrontDesk.connect(stack.redis_url, wait_seconds=QUESTION_SECONDS), RequestGate(registry)
    app = build_query(QueryFront(desk, JobBoard(database), gate), desk, gate, Readiness({}))
    with TestClient(app, raise_server_exceptions=False) as http:
        known: dict[str, tuple[str, ...]] = {"model_id": (model_id,), "query_id": (QueryId.new(),)}
        yield HttpService(app, http, key, known, (bytes(2048), bytes(SESSION_OPEN_BYTES)))


def _golden(family: str) -> list[bytes]:
    return [one["encoded"].encode() for one in read_vectors(f"messages/{family}.json")]


SERVICES: Final = {"attestation": attestation, "ingest": ingest, "query": query}
"""By name; each over a directory and the private brokers."""
