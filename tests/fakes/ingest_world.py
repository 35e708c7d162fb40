"""The ingest service around a real key broker's core: real HTTP routes, real documents, real ciphertext.

`IngestWorld` has no RabbitMQ unless it is given one (no lifespan, so no threads): tests of queues start a process.
"""

import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi.testclient import TestClient

from common.crypto.digests import sha256_raw
from common.crypto.keys import SecretKey
from common.crypto.signing import SigningKey
from common.http_signatures import sign_request
from common.messages.broker_exchange import BrokerRequest, RequestBody
from common.messages.objects import BundlePublication, DatasetManifest, ObjectRef
from common.messages.policy import BundleTerms
from common.messages.service import BeginUpload, EnrolIdentity, UploadState
from common.messages.signed import Signed, sign
from common.sealed_object import ObjectKind, SealedObject, seal_object
from services.ingest.app import Ingest, build
from services.ingest.settings import IngestSettings
from tests.fakes.broker_world import SCHEDULE, BrokerWorld, Party, SealedBundle, SealedData

CHUNK_BYTES = 1024


class InProcessBroker:
    """What ingest knows of the attestation service, on the real core."""

    def __init__(self, world: BrokerWorld) -> None:
        self.world, self.asked = world, 0

    def ask(self, raw: bytes) -> bytes:
        self.asked += 1
        return self.world.handle(raw)

    def release(self) -> Signed:
        return self.world.release

    def is_ready(self) -> bool:
        return True

    def close(self) -> None:
        pass


@dataclass
class PartyClient:
    """One party's signed requests to a service, over any httpx client."""

    http: Any
    key: SigningKey
    base_url: str = "http://testserver"

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> httpx.Response:
        url = self.base_url + path
        signed = sign_request(self.key, method, url, body)
        answer: httpx.Response = self.http.request(method, url, content=body, headers=signed | headers)
        return answer

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def post(self, path: str, body: bytes = b"") -> httpx.Response:
        return self.request("POST", path, body)

    def enrol(self) -> httpx.Response:
        return self.post("/v1/identities", EnrolIdentity(party=self.key.party).encode())

    def begin(self, sealed: SealedObject) -> httpx.Response:
        digests = b"".join(sha256_raw(chunk) for chunk in sealed.chunks)
        return self.post("/v1/uploads", BeginUpload(header=sealed.header, chunk_digests=digests).encode())

    def put_leaf(self, upload_id: str, leaf: int, data: bytes) -> httpx.Response:
        return self.request("PUT", f"/v1/uploads/{upload_id}/leaves/{leaf}", data)

    def upload(self, sealed: SealedObject) -> ObjectRef:
        """The whole of it."""
        state = UploadState.decode(self.begin(sealed).content)
        for leaf in state.missing:
            assert self.put_leaf(state.upload_id, leaf, sealed.chunks[leaf - 1]).status_code == 204
        done = self.post(f"/v1/uploads/{state.upload_id}/complete")
        assert UploadState.decode(done.content).completed
        return ObjectRef(root=sealed.root, chunk_count=sealed.chunk_count)

    def ask_broker(self, path: str, body: RequestBody) -> httpx.Response:
        return self.post(path, BrokerRequest(nonce=secrets.token_bytes(32), body=body).encode())

    def submit(self, order: Signed) -> httpx.Response:
        return self.post("/v1/orders", order.encode())


def sealed_bytes(kind: ObjectKind, size: int = 3000) -> SealedObject:
    """A small sealed object of random content."""
    return seal_object(secrets.token_bytes(size), SecretKey.generate(), kind, chunk_bytes=CHUNK_BYTES)


def register_dataset(world: BrokerWorld, client: PartyClient, owner: Party) -> SealedData:
    """Upload and register a data set of this owner."""
    part = client.upload(sealed_bytes(ObjectKind.DATASET))
    policy = sign(world.policy_terms(owner), owner.key)
    manifest = DatasetManifest(owner=owner.party, parts=(part,), policy=policy.digest)
    data = SealedData(owner, SecretKey.generate(), sign(manifest, owner.key), policy)
    answer = client.ask_broker("/v1/datasets", world.dataset_registration(data))
    assert answer.status_code == 200, answer.content
    return data


def register_bundle(world: BrokerWorld, client: PartyClient, provider: Party) -> SealedBundle:
    """Upload and publish a bundle of this provider."""
    part = client.upload(sealed_bytes(ObjectKind.BUNDLE))
    terms = sign(
        BundleTerms(
            provider=provider.party,
            report_key=provider.report_key,
            unsafe_simulation=True,
            releases=(world.release.digest,),
            minimal_trust_level="simulation",
            not_after=world.time + 86_400,
            answers_total=1000,
        ),
        provider.key,
    )
    publication = BundlePublication(
        provider=provider.party, object=part, terms=terms.digest, state_class=SCHEDULE.state_class
    )
    bundle = SealedBundle(provider, SecretKey.generate(), sign(publication, provider.key), terms)
    answer = client.ask_broker("/v1/bundles", world.bundle_registration(bundle))
    assert answer.status_code == 200, answer.content
    return bundle


def signed_order(world: BrokerWorld, data: SealedData, bundle: SealedBundle, **changes: Any) -> Signed:
    """An order that is valid by the real clock."""
    return sign(world.order(data, bundle, **({"not_after": int(time.time()) + 3600} | changes)), data.owner.key)


@dataclass
class IngestWorld:
    """The service without RabbitMQ, in this process."""

    directory: Path
    broker: BrokerWorld
    ingest: Ingest = field(init=False)
    route: InProcessBroker = field(init=False)
    http: TestClient = field(init=False)
    quota_bytes: int = 1 << 20
    open_enrolment: bool = True
    amqp_url: str = "amqp://nobody:nothing@127.0.0.1:1/"

    def __post_init__(self) -> None:
        self.route = InProcessBroker(self.broker)
        settings = IngestSettings(
            listen_port=0,
            database_url=f"sqlite:///{self.directory}/registry.sqlite",
            object_directory=self.directory / "objects",
            amqp_url=self.amqp_url,
            attestation_url="http://127.0.0.1:1",
            open_enrolment=self.open_enrolment,
            default_quota_bytes=self.quota_bytes,
        )
        self.ingest = build(settings, broker=self.route)
        self.http = TestClient(self.ingest.app, raise_server_exceptions=False)

    def client(self, party: Party | SigningKey | None = None, *, enrolled: bool = True) -> PartyClient:
        key = SigningKey.generate() if party is None else party.key if isinstance(party, Party) else party
        client = PartyClient(self.http, key)
        if enrolled:
            assert client.enrol().status_code == 200
        return client
