"""The registry: quota before bytes, one name for one upload, shared objects."""

import pytest

from common.crypto.keys import SecretKey
from common.errors import NotFoundError, QuotaError
from common.identifiers import PartyKey
from common.messages.objects import ObjectRef
from common.sealed_object import ObjectKind, SealedObject, seal_object
from common.untrusted.database import Database
from common.untrusted.registry import Registry, Upload

OWNER, OTHER = PartyKey("a1" * 32), PartyKey("b2" * 32)


class Clock:
    at = 1_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(database_url: str, clock: Clock) -> Registry:
    registry = Registry(Database(database_url), now=clock)
    registry.enrol(OWNER, 10_000)
    return registry


def sealed(size: int = 3000) -> SealedObject:
    return seal_object(bytes(size), SecretKey.generate(), ObjectKind.DATASET, chunk_bytes=1024)


def begin(registry: Registry, one: SealedObject, party: PartyKey = OWNER) -> Upload:
    return registry.begin_upload(party, one.root, one.header, tuple(bytes(32) for _ in one.chunks))


def test_enrolling_again_keeps_the_quota(registry: Registry) -> None:
    registry.enrol(OWNER, 99)
    assert registry.usage(OWNER).quota_bytes == 10_000
    assert registry.is_enrolled(OWNER)
    assert not registry.is_enrolled(OTHER)
    with pytest.raises(NotFoundError, match="not_found.identity"):
        registry.usage(OTHER)


def test_usage_counts_open_uploads_and_objects_once(registry: Registry) -> None:
    one = sealed()
    size = 64 + 3 * 1040
    upload = begin(registry, one)
    assert begin(registry, one) == upload
    assert registry.usage(OWNER).used_bytes == size
    for _ in range(2):
        registry.complete_upload(upload)
    assert registry.usage(OWNER).used_bytes == size
    with pytest.raises(QuotaError, match="quota.bytes"):
        begin(registry, sealed(8000))
    assert registry.drop_object(one.root, OWNER)
    assert registry.usage(OWNER).used_bytes == 0
    with pytest.raises(NotFoundError):
        registry.upload(upload.upload_id, OWNER)


def test_a_quota_holds_exactly_up_to_its_last_byte(registry: Registry) -> None:
    registry.enrol(OTHER, 64 + 3 * 1040)
    begin(registry, sealed(), OTHER)
    with pytest.raises(QuotaError):
        begin(registry, sealed(0), OTHER)


def test_an_object_of_two_goes_with_the_last(registry: Registry) -> None:
    registry.enrol(OTHER, 10_000)
    one = sealed()
    for party in (OWNER, OTHER):
        registry.complete_upload(begin(registry, one, party))
    assert not registry.drop_object(one.root, OWNER)
    assert registry.drop_object(one.root, OTHER)


def test_only_ones_own_object_of_the_right_kind_counts(registry: Registry) -> None:
    one = sealed()
    registry.complete_upload(begin(registry, one))
    wanted = ObjectRef(root=one.root, chunk_count=one.chunk_count)
    registry.require_objects(OWNER, ObjectKind.DATASET, [wanted])
    for party, kind, ref in (
        (OTHER, ObjectKind.DATASET, wanted),
        (OWNER, ObjectKind.BUNDLE, wanted),
        (OWNER, ObjectKind.DATASET, wanted.model_copy(update={"chunk_count": 4})),
    ):
        with pytest.raises(NotFoundError, match="not_found.object"):
            registry.require_objects(party, kind, [ref])


def test_old_uploads_are_found_and_forgotten(registry: Registry, clock: Clock) -> None:
    done, stale = begin(registry, sealed()), begin(registry, sealed())
    registry.complete_upload(done)
    clock.at += 100
    begin(registry, sealed(0))
    (found,) = registry.stale_uploads(50)
    assert found == stale
    registry.abandon_upload(found)
    registry.abandon_upload(done)  # a completed one stays
    assert registry.stale_uploads(50) == []
    assert registry.upload(done.upload_id, OWNER).completed
