"""Registration: the broker decides, the party reads its signed reply, the operator keeps the books."""

import secrets

import pytest

from common.broker_channel import open_reply
from common.crypto.keys import SecretKey
from common.identifiers import BundleId, DatasetId
from common.messages.broker_exchange import BrokerReply, BrokerRequest
from common.messages.broker_identity import DescribeBroker
from common.messages.objects import DatasetManifest, ObjectRef
from common.messages.policy import Revocation
from common.messages.refusal_detail import Refused
from common.messages.registration import Registered
from common.messages.revocation import Revoke
from common.messages.service import BundleList, DatasetList, ObjectList, RefusalBody
from common.messages.signed import Signed, sign
from common.sealed_object import ObjectKind
from tests.fakes.broker_world import Party, SealedData
from tests.fakes.ingest_world import IngestWorld, PartyClient, register_bundle, register_dataset, sealed_bytes


def code(answer: object) -> str:
    return RefusalBody.decode(answer.content).code  # type: ignore[attr-defined]


def revoke_request(world: IngestWorld, party: Party, target: str, identifier: str) -> bytes:
    revocation = Revocation.model_validate(
        {
            "nonce": secrets.token_bytes(16),
            "party": party.party,
            "target": target,
            "identifier": identifier,
            "broker": world.broker.genesis.signing_public,
            "created": world.broker.time,
        }
    )
    body = Revoke(revocation=sign(revocation, party.key))
    return BrokerRequest(nonce=secrets.token_bytes(32), body=body).encode()


def test_the_reply_comes_back_untouched_and_the_listing_is_ones_own(world: IngestWorld) -> None:
    owner, stranger = Party(), world.client()
    client = world.client(owner)
    part = client.upload(sealed_bytes(ObjectKind.DATASET))
    policy = sign(world.broker.policy_terms(owner), owner.key)
    manifest = sign(DatasetManifest(owner=owner.party, parts=(part,), policy=policy.digest), owner.key)
    data = SealedData(owner, SecretKey.generate(), manifest, policy)
    request = BrokerRequest(nonce=secrets.token_bytes(32), body=world.broker.dataset_registration(data)).encode()
    for _ in range(2):  # registering again gives the same answer
        reply = open_reply(client.post("/v1/datasets", request).content, request, world.broker.genesis.signing_public)
        assert isinstance(reply.body, Registered)
    (one,) = DatasetList.decode(client.get("/v1/datasets").content).datasets
    assert (one.dataset_id, one.parts, one.bytes) == (DatasetId.of(manifest.digest), 1, 64 + 3 * 1040)
    assert Signed.decode(client.get(f"/v1/datasets/{one.dataset_id}").content) == manifest
    assert DatasetList.decode(stranger.get("/v1/datasets").content).datasets == ()
    for dataset_id in (one.dataset_id, "data_" + "0" * 32):
        for answer in (
            stranger.get(f"/v1/datasets/{dataset_id}"),
            stranger.request("DELETE", f"/v1/datasets/{dataset_id}"),
        ):
            assert (answer.status_code, code(answer)) == (404, "not_found.dataset")


def test_a_bundle_is_published_to_those_who_know_its_name(world: IngestWorld) -> None:
    provider, owner = Party(), world.client()
    client = world.client(provider)
    bundle = register_bundle(world.broker, client, provider)
    (one,) = BundleList.decode(client.get("/v1/bundles").content).bundles
    assert one.bundle_id == BundleId.of(bundle.publication.digest)
    assert Signed.decode(owner.get(f"/v1/bundles/{one.bundle_id}").content) == bundle.publication
    assert BundleList.decode(owner.get("/v1/bundles").content).bundles == ()
    assert code(owner.request("DELETE", f"/v1/bundles/{one.bundle_id}")) == "not_found.bundle"
    assert code(world.client(enrolled=False).get(f"/v1/bundles/{one.bundle_id}")) == "authenticity.http_signature"


def manifest_of(owner: Party, part: ObjectRef, world: IngestWorld, signer: Party | None = None) -> SealedData:
    policy = sign(world.broker.policy_terms(owner), owner.key)
    manifest = DatasetManifest(owner=owner.party, parts=(part,), policy=policy.digest)
    return SealedData(owner, SecretKey.generate(), sign(manifest, (signer or owner).key), policy)


def try_register(world: IngestWorld, client: PartyClient, data: SealedData) -> str:
    asked = world.route.asked
    answer = client.ask_broker("/v1/datasets", world.broker.dataset_registration(data))
    assert answer.status_code != 200
    assert world.route.asked == asked  # refused before the broker was troubled
    return code(answer)


def test_what_was_not_uploaded_is_not_registered(world: IngestWorld) -> None:
    owner, other = Party(), Party()
    client, other_client = world.client(owner), world.client(other)
    part = client.upload(sealed_bytes(ObjectKind.DATASET))
    bundle = client.upload(sealed_bytes(ObjectKind.BUNDLE))
    assert try_register(world, other_client, manifest_of(other, part, world)) == "not_found.object"  # foreign
    assert try_register(world, client, manifest_of(owner, bundle, world)) == "not_found.object"  # of another kind
    wrong = part.model_copy(update={"chunk_count": part.chunk_count + 1})
    assert try_register(world, client, manifest_of(owner, wrong, world)) == "not_found.object"


def test_a_manifest_of_another_signer_is_refused(world: IngestWorld) -> None:
    owner, other = Party(), Party()
    client = world.client(owner)
    part = client.upload(sealed_bytes(ObjectKind.DATASET))
    assert try_register(world, client, manifest_of(owner, part, world, signer=other)) == "authenticity.signature"
    assert try_register(world, world.client(other), manifest_of(owner, part, world)) == "authenticity.signature"


def test_a_refusal_of_the_broker_reaches_the_party_signed(world: IngestWorld) -> None:
    owner, other = Party(), Party()
    client = world.client(owner)
    part = client.upload(sealed_bytes(ObjectKind.DATASET))
    data, foreign = manifest_of(owner, part, world), manifest_of(other, part, world)
    swapped = world.broker.dataset_registration(data).model_copy(
        update={"data_key": world.broker.dataset_registration(foreign).data_key}
    )
    request = BrokerRequest(nonce=secrets.token_bytes(32), body=swapped).encode()
    answer = client.post("/v1/datasets", request)
    reply: BrokerReply = open_reply(answer.content, request, world.broker.genesis.signing_public)
    assert isinstance(reply.body, Refused)
    assert reply.body.code == "authenticity.wrapped_key"
    assert DatasetList.decode(client.get("/v1/datasets").content).datasets == ()


def test_only_registrations_are_carried(world: IngestWorld) -> None:
    client = world.client()
    for path in ("/v1/datasets", "/v1/bundles"):
        assert code(client.ask_broker(path, DescribeBroker())) == "format.message"
        assert code(client.post(path, b"{")) == "format.message"
        assert code(client.post(path, b"")) == "format.message"


@pytest.mark.parametrize("with_revocation", [True, False])
def test_deleting_removes_the_ciphertext(world: IngestWorld, with_revocation: bool) -> None:
    owner = Party()
    client = world.client(owner)
    data = register_dataset(world.broker, client, owner)
    (stored,) = ObjectList.decode(client.get("/v1/objects").content).objects
    body = revoke_request(world, owner, "dataset", data.dataset_id) if with_revocation else b""
    answer = client.request("DELETE", f"/v1/datasets/{data.dataset_id}", body)
    assert answer.status_code == 200
    assert not world.ingest.store.exists(stored.root)
    assert ObjectList.decode(client.get("/v1/objects").content).objects == ()
    assert code(client.request("DELETE", f"/v1/datasets/{data.dataset_id}", body)) == "not_found.dataset"


def test_a_wrong_revocation_deletes_nothing(world: IngestWorld) -> None:
    owner, other = Party(), Party()
    client = world.client(owner)
    data, second = (register_dataset(world.broker, client, owner) for _ in range(2))
    path = f"/v1/datasets/{data.dataset_id}"
    bodies = {
        revoke_request(world, owner, "dataset", second.dataset_id): "format.message",
        revoke_request(world, other, "dataset", data.dataset_id): "authenticity.signature",
        b"{}": "format.message",
    }
    for body, expected in bodies.items():
        assert code(client.request("DELETE", path, body)) == expected
    assert len(ObjectList.decode(client.get("/v1/objects").content).objects) == 2


def test_a_part_of_two_data_sets_stays_until_both_are_gone(world: IngestWorld) -> None:
    owner = Party()
    client = world.client(owner)
    part = client.upload(sealed_bytes(ObjectKind.DATASET))
    first = manifest_of(owner, part, world)
    policy = sign(world.broker.policy_terms(owner, max_jobs=7), owner.key)
    manifest = DatasetManifest(owner=owner.party, parts=(part,), policy=policy.digest)
    second = SealedData(owner, SecretKey.generate(), sign(manifest, owner.key), policy)
    for data in (first, second):
        assert client.ask_broker("/v1/datasets", world.broker.dataset_registration(data)).status_code == 200
    client.request("DELETE", f"/v1/datasets/{first.dataset_id}")
    assert world.ingest.store.exists(part.root)
    client.request("DELETE", f"/v1/datasets/{second.dataset_id}")
    assert not world.ingest.store.exists(part.root)
