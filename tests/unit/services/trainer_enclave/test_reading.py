"""Chunk reads: a seeded order, all chunks in each pass, what a host could do to them."""

import itertools

import pytest

from common.crypto.keys import SecretKey
from common.errors import AuthenticityError, NotFoundError, QuotaError, UnavailableError
from common.identifiers import Digest
from common.messages.objects import ObjectRef
from common.sealed_object import ObjectKind, seal_object
from services.trainer_enclave.reading import ChunkReads, read_order

SEED, KEY = SecretKey(bytes(range(32))), SecretKey.generate()
PAYLOADS = [b"first" * 2000, b"second" * 1000]


class Store:
    """Objects sealed under one key, as the parts of one data set are."""

    def __init__(self) -> None:
        sealed = [seal_object(payload, KEY, ObjectKind.DATASET, chunk_bytes=1024) for payload in PAYLOADS]
        self.references = [ObjectRef(root=one.root, chunk_count=one.chunk_count) for one in sealed]
        self.leaves = {(one.root, number): leaf for one in sealed for number, leaf in enumerate(one.leaves())}
        self.asked: list[tuple[Digest, int]] = []
        self.away = False

    def fetch(self, root: Digest, leaf: int) -> bytes:
        self.asked.append((root, leaf))
        if self.away:
            raise UnavailableError("unavailable.store")
        if (root, leaf) not in self.leaves:
            raise NotFoundError("not_found.object")
        return self.leaves[root, leaf]

    def reads(self, slot: int = 0) -> ChunkReads:
        made = ChunkReads([(reference, KEY) for reference in self.references], self.fetch, SEED, slot)
        self.asked.clear()
        return made

    @property
    def chunk_count(self) -> int:
        return sum(reference.chunk_count for reference in self.references)


@pytest.fixture
def store() -> Store:
    return Store()


def test_each_pass_reads_every_chunk_once_in_another_order(store: Store) -> None:
    reads = store.reads()
    passes = []
    for _ in range(3):
        store.asked.clear()
        for _ in range(store.chunk_count):
            reads.read_next()
        passes.append(list(store.asked))
        assert len(set(store.asked)) == store.chunk_count
        assert reads.complete
    assert passes[0] != passes[1]
    assert reads.take_payloads() == PAYLOADS
    reads.read_next()
    assert reads.failure is None


def test_the_order_depends_on_seed_and_slot_alone() -> None:
    def first(seed: SecretKey, slot: int) -> list[int]:
        return list(itertools.islice(read_order(seed, slot, 50), 120))

    assert first(SEED, 1) == first(SecretKey(bytes(range(32))), 1)
    assert first(SEED, 1) != first(SEED, 2)
    assert first(SEED, 1) != first(SecretKey.generate(), 1)


def test_a_store_that_is_away_is_asked_again(store: Store) -> None:
    reads, store.away = store.reads(), True
    for _ in range(store.chunk_count):
        reads.read_next()
    assert not reads.complete
    assert reads.failure is None
    with pytest.raises(UnavailableError):
        reads.take_payloads()
    store.away = False
    for _ in range(store.chunk_count):
        reads.read_next()
    assert reads.take_payloads() == PAYLOADS


def test_false_chunks_are_failures(store: Store) -> None:
    root = store.references[0].root
    for leaf, code in ((store.leaves[root, 2], "authenticity.sealed_object"), (None, "not_found.object")):
        changed = Store()
        changed.references, changed.leaves = store.references, dict(store.leaves)
        if leaf is None:
            del changed.leaves[root, 1]
        else:
            changed.leaves[root, 1] = leaf
        reads = changed.reads()
        for _ in range(changed.chunk_count):
            reads.read_next()
        assert reads.failure == code
        assert not reads.complete


def test_an_object_swapped_for_another_of_the_same_key_is_refused(store: Store) -> None:
    same = [seal_object(b"x" * 3000, KEY, ObjectKind.DATASET, chunk_bytes=1024) for _ in range(2)]
    for one, other in (same, same[::-1]):
        for number, leaf in enumerate(other.leaves()):
            store.leaves[one.root, number] = leaf
    store.references = [ObjectRef(root=one.root, chunk_count=one.chunk_count) for one in same]
    reads = store.reads()
    for _ in range(store.chunk_count):
        reads.read_next()
    with pytest.raises(AuthenticityError):
        reads.take_payloads()


def test_what_is_kept_is_bounded(store: Store) -> None:
    huge = ObjectRef(root=store.references[0].root, chunk_count=1 << 20)
    with pytest.raises(QuotaError):
        ChunkReads([(huge, KEY)], store.fetch, SEED, 0)
