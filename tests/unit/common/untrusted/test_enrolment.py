"""Enrolments end: by the operator until he admits the identity again, by its recovery key for good."""

import pytest

from common.crypto.keys import SecretKey
from common.errors import NotFoundError, PolicyError
from common.identifiers import Digest, JobId, PartyKey
from common.sealed_object import ObjectKind, SealedObject, seal_object
from common.untrusted.database import Database
from common.untrusted.enrolment import Enrolments
from common.untrusted.job_board import JobBoard, NewJob
from common.untrusted.registry import Registry

ANN, BOB, CARL = PartyKey("a1" * 32), PartyKey("b2" * 32), PartyKey("c3" * 32)


@pytest.fixture
def database(database_url: str) -> Database:
    return Database(database_url)


@pytest.fixture
def registry(database: Database) -> Registry:
    registry = Registry(database)
    registry.enrol(ANN, 10_000)
    return registry


@pytest.fixture
def enrolments(database: Database) -> Enrolments:
    return Enrolments(database)


SHARED, OTHER = (seal_object(bytes(9), SecretKey.generate(), ObjectKind.DATASET, chunk_bytes=1024) for _ in range(2))


def hold(registry: Registry, party: PartyKey, sealed: SealedObject = SHARED) -> Digest:
    registry.complete_upload(registry.begin_upload(party, sealed.root, sealed.header, (bytes(32),)))
    return sealed.root


def test_withdrawn_until_admitted_again(registry: Registry, enrolments: Enrolments) -> None:
    hold(registry, ANN)
    used = registry.usage(ANN)
    for _ in range(2):
        enrolments.withdraw(ANN)
        assert not registry.is_enrolled(ANN)
    registry.enrol(ANN, 99_999)  # whoever enrols himself does not come back by that
    assert not registry.is_enrolled(ANN)
    enrolments.admit(ANN, 99_999)
    assert registry.is_enrolled(ANN)
    assert registry.usage(ANN) == used


def test_admitting_enrols(registry: Registry, enrolments: Enrolments) -> None:
    enrolments.admit(BOB, 500)
    assert registry.is_enrolled(BOB)
    assert registry.usage(BOB).quota_bytes == 500


def test_nobody_unknown_is_withdrawn(registry: Registry, enrolments: Enrolments) -> None:
    with pytest.raises(NotFoundError, match=r"not_found\.enrolment"):
        enrolments.withdraw(BOB)
    enrolments.end(BOB, CARL)
    assert not registry.is_enrolled(CARL)


@pytest.mark.parametrize("before", ["enrolled", "withdrawn"])
def test_what_a_recovery_key_ends_the_operator_does_not_admit(
    registry: Registry, enrolments: Enrolments, before: str
) -> None:
    if before == "withdrawn":
        enrolments.withdraw(ANN)
    enrolments.end(ANN, None)
    enrolments.withdraw(ANN)
    with pytest.raises(PolicyError, match=r"policy\.identity"):
        enrolments.admit(ANN, 1)
    assert not registry.is_enrolled(ANN)


def test_a_successor_has_what_was_entered_as_its_predecessors(
    database: Database, registry: Registry, enrolments: Enrolments
) -> None:
    registry.enrol(BOB, 7)
    both, own = hold(registry, ANN), hold(registry, ANN, OTHER)
    registry.enrol(CARL, 10_000)
    hold(registry, CARL)
    board, job = JobBoard(database), JobId("job_" + "1" * 32)
    board.submit(NewJob(job, b"order", (ANN, CARL), 1, 1 << 40, "simulation"))
    for _ in range(2):
        enrolments.end(ANN, CARL)
    assert not registry.is_enrolled(ANN)
    assert registry.objects_of(ANN) == []
    assert {one.root for one in registry.objects_of(CARL)} == {both, own}
    assert [one.job_id for one in board.jobs_of(CARL)] == [job]
    assert board.jobs_of(ANN) == []


def test_a_new_successor_is_enrolled_with_the_same_quota(registry: Registry, enrolments: Enrolments) -> None:
    enrolments.end(ANN, BOB)
    assert registry.is_enrolled(BOB)
    assert registry.usage(BOB).quota_bytes == 10_000
