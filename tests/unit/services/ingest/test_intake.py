"""Uploads: resumable, checked leaf by leaf, bounded by quota before a byte is taken."""

from pathlib import Path

import pytest

from common.crypto.digests import sha256_raw
from common.messages.service import BeginUpload, ObjectList, RefusalBody, UploadState
from common.sealed_object import ObjectKind
from tests.fakes.broker_world import BrokerWorld
from tests.fakes.ingest_world import IngestWorld, register_dataset, sealed_bytes


def code(answer: object) -> str:
    return RefusalBody.decode(answer.content).code  # type: ignore[attr-defined]


def test_an_upload_goes_on_where_it_stopped(world: IngestWorld) -> None:
    client, sealed = world.client(), sealed_bytes(ObjectKind.DATASET)
    first = UploadState.decode(client.begin(sealed).content)
    assert first.missing == tuple(range(1, sealed.chunk_count + 1))
    client.put_leaf(first.upload_id, 2, sealed.chunks[1])
    again = UploadState.decode(client.begin(sealed).content)
    assert again.upload_id == first.upload_id
    assert 2 not in again.missing
    for leaf in again.missing:
        client.put_leaf(again.upload_id, leaf, sealed.chunks[leaf - 1])
    for _ in range(2):  # completing again gives the same answer
        done = UploadState.decode(client.post(f"/v1/uploads/{again.upload_id}/complete").content)
        assert (done.completed, done.missing, done.root) == (True, (), sealed.root)
    for number, data in enumerate(sealed.leaves()):
        assert client.get(f"/v1/objects/{sealed.root}/leaves/{number}").content == data


def test_a_checkpoint_is_nobodys_to_upload(world: IngestWorld) -> None:
    answer = world.client().begin(sealed_bytes(ObjectKind.CHECKPOINT))
    assert (answer.status_code, code(answer)) == (400, "format.sealed_object")


def test_completing_with_a_missing_leaf_is_refused(world: IngestWorld) -> None:
    client, sealed = world.client(), sealed_bytes(ObjectKind.DATASET)
    state = UploadState.decode(client.begin(sealed).content)
    client.put_leaf(state.upload_id, 1, sealed.chunks[0])
    answer = client.post(f"/v1/uploads/{state.upload_id}/complete")
    assert (answer.status_code, code(answer)) == (409, "conflict.incomplete")
    assert client.get(f"/v1/objects/{sealed.root}/leaves/0").status_code == 404


@pytest.mark.parametrize(
    ("leaf", "spoil", "expected"),
    [
        (1, lambda data: bytes([data[0] ^ 1]) + data[1:], (403, "authenticity.sealed_object")),
        (2, lambda data: data[:-1], (400, "format.sealed_object")),
        (2, lambda data: data + b"\0", (400, "format.sealed_object")),
        (0, lambda data: data, (404, "not_found.object")),
        (99, lambda data: data, (404, "not_found.object")),
        (1, lambda data: data * 2000, (413, "format.too_large")),
    ],
)
def test_a_leaf_that_is_not_the_stated_one_is_refused(
    world: IngestWorld, leaf: int, spoil: object, expected: tuple[int, str]
) -> None:
    client, sealed = world.client(), sealed_bytes(ObjectKind.DATASET)
    state = UploadState.decode(client.begin(sealed).content)
    data = spoil(sealed.chunks[max(leaf - 1, 0) % sealed.chunk_count])  # type: ignore[operator]
    answer = client.put_leaf(state.upload_id, leaf, data)
    assert (answer.status_code, code(answer)) == expected
    assert UploadState.decode(client.get(f"/v1/uploads/{state.upload_id}").content).missing == state.missing


def test_a_leaf_of_another_place_is_refused(world: IngestWorld) -> None:
    client, sealed = world.client(), sealed_bytes(ObjectKind.DATASET)
    state = UploadState.decode(client.begin(sealed).content)
    assert code(client.put_leaf(state.upload_id, 1, sealed.chunks[1])) == "authenticity.sealed_object"


def test_quota_refuses_before_a_byte_is_taken(tmp_path: Path, broker: BrokerWorld) -> None:
    world = IngestWorld(tmp_path, broker, quota_bytes=7000)
    client, small = world.client(), sealed_bytes(ObjectKind.DATASET, 3000)
    large = sealed_bytes(ObjectKind.DATASET, 20_000)
    answer = client.begin(large)
    assert (answer.status_code, code(answer)) == (413, "quota.bytes")
    client.upload(small)
    assert code(client.begin(sealed_bytes(ObjectKind.DATASET, 5000))) == "quota.bytes"
    opened = UploadState.decode(client.begin(sealed_bytes(ObjectKind.DATASET, 2000)).content)
    assert code(client.begin(sealed_bytes(ObjectKind.DATASET, 2000))) == "quota.bytes"  # open uploads count
    assert client.request("DELETE", f"/v1/uploads/{opened.upload_id}").status_code == 200
    assert client.begin(sealed_bytes(ObjectKind.DATASET, 2000)).status_code == 200
    assert client.begin(small).status_code == 200  # what is there needs no quota again


@pytest.mark.parametrize(
    ("header", "digests"),
    [
        (lambda h: b"XLSO" + h[4:], lambda d: d),
        (lambda h: h[:4] + b"\x02" + h[5:], lambda d: d),
        (lambda h: h[:6] + b"\x01" + h[7:], lambda d: d),
        (lambda h: h[:-1] + b"\x01", lambda d: d),
        (lambda h: h, lambda d: d[:-32]),
        (lambda h: h, lambda d: d + d[:32]),
        (lambda h: h, lambda d: d[:-1]),
    ],
    ids=["magic", "version", "reserved", "rest", "a digest too few", "a digest too many", "half a digest"],
)
def test_a_malformed_beginning_is_refused(world: IngestWorld, header: object, digests: object) -> None:
    client, sealed = world.client(), sealed_bytes(ObjectKind.DATASET)
    joined = b"".join(map(sha256_raw, sealed.chunks))
    wish = BeginUpload(header=header(sealed.header), chunk_digests=digests(joined))  # type: ignore[operator]
    answer = client.post("/v1/uploads", wish.encode())
    assert (answer.status_code, code(answer)) == (400, "format.sealed_object")


def test_another_party_sees_neither_upload_nor_object(world: IngestWorld) -> None:
    client, stranger, sealed = world.client(), world.client(), sealed_bytes(ObjectKind.DATASET)
    state = UploadState.decode(client.begin(sealed).content)
    unknown = "upload_" + "0" * 32
    for upload_id in (state.upload_id, unknown):
        for answer in (stranger.get(f"/v1/uploads/{upload_id}"), stranger.post(f"/v1/uploads/{upload_id}/complete")):
            assert (answer.status_code, code(answer)) == (404, "not_found.upload")
    client.upload(sealed)
    for root in (sealed.root, "0" * 64):
        answer = stranger.get(f"/v1/objects/{root}/leaves/0")
        assert (answer.status_code, code(answer)) == (404, "not_found.object")
        assert stranger.request("DELETE", f"/v1/objects/{root}").status_code == 404
    assert ObjectList.decode(stranger.get("/v1/objects").content).objects == ()


def test_knowing_digests_is_not_having_uploaded(world: IngestWorld) -> None:
    client, second, sealed = world.client(), world.client(), sealed_bytes(ObjectKind.DATASET)
    client.upload(sealed)
    state = UploadState.decode(second.begin(sealed).content)
    assert len(state.missing) == sealed.chunk_count
    second.upload(sealed)
    assert client.request("DELETE", f"/v1/objects/{sealed.root}").status_code == 200
    assert client.get(f"/v1/objects/{sealed.root}/leaves/0").status_code == 404
    assert second.get(f"/v1/objects/{sealed.root}/leaves/0").content == sealed.header  # it still holds it
    assert second.request("DELETE", f"/v1/objects/{sealed.root}").status_code == 200
    assert not world.ingest.store.exists(sealed.root)


def test_an_object_of_a_data_set_is_not_deleted_alone(world: IngestWorld) -> None:
    owner = world.broker.owner
    client = world.client(owner)
    register_dataset(world.broker, client, owner)
    (one,) = ObjectList.decode(client.get("/v1/objects").content).objects
    assert code(client.request("DELETE", f"/v1/objects/{one.root}")) == "conflict.object"


def test_a_crash_between_commit_and_registry_is_mended(world: IngestWorld) -> None:
    client, sealed = world.client(), sealed_bytes(ObjectKind.DATASET)
    state = UploadState.decode(client.begin(sealed).content)
    for leaf in state.missing:
        client.put_leaf(state.upload_id, leaf, sealed.chunks[leaf - 1])
    upload = world.ingest.registry.upload(state.upload_id, client.key.party)
    staging = world.ingest.store.staging(state.upload_id)
    staging.write(0, sealed.header)
    world.ingest.registry.mark_delivered(upload, delivered=True)
    world.ingest.store.commit(sealed.root, sealed.chunk_count + 1, staging=staging)  # and then the process dies
    assert UploadState.decode(client.post(f"/v1/uploads/{state.upload_id}/complete").content).completed


def test_a_leaf_that_rots_in_staging_is_found_and_asked_for_again(world: IngestWorld) -> None:
    client, sealed = world.client(), sealed_bytes(ObjectKind.DATASET)
    state = UploadState.decode(client.begin(sealed).content)
    for leaf in state.missing:
        client.put_leaf(state.upload_id, leaf, sealed.chunks[leaf - 1])
    world.ingest.store.staging(state.upload_id).write(1, sealed.chunks[1])
    assert code(client.post(f"/v1/uploads/{state.upload_id}/complete")) == "authenticity.sealed_object"
    client.upload(sealed)
