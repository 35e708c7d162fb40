"""The object store: whole or not at all, under its own root only."""

import secrets
from pathlib import Path

import pytest

from common.crypto.keys import SecretKey
from common.errors import AuthenticityError, ConflictError, FormatError, NotFoundError
from common.identifiers import Digest
from common.sealed_object import ObjectKind, SealedObject, require_header, seal_object
from common.untrusted.blobs import MAX_LEAF_BYTES, BlobStore


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "objects")


@pytest.fixture(scope="module")
def one() -> SealedObject:
    return seal_object(secrets.token_bytes(3000), SecretKey.generate(), ObjectKind.MODEL, chunk_bytes=1024)


def write_all(store: BlobStore, one: SealedObject) -> None:
    for number, leaf in enumerate(one.leaves()):
        store.write_leaf(one.root, number, leaf)


def test_an_object_is_readable_once_committed(store: BlobStore, one: SealedObject) -> None:
    write_all(store, one)
    assert store.written.total == sum(len(leaf) for leaf in one.leaves())
    assert not store.exists(one.root)
    with pytest.raises(NotFoundError):
        store.read_leaf(one.root, 0)
    for _ in range(2):
        store.commit(one.root, one.chunk_count + 1)
    assert [store.read_leaf(one.root, n) for n in range(one.chunk_count + 1)] == list(one.leaves())
    assert list(store.roots()) == [one.root]
    with pytest.raises(NotFoundError):
        store.read_leaf(one.root, one.chunk_count + 1)


def test_a_missing_or_changed_leaf_is_not_committed(store: BlobStore, one: SealedObject) -> None:
    with pytest.raises(NotFoundError):
        store.commit(one.root, one.chunk_count + 1)
    write_all(store, one)
    store.write_leaf(one.root, 1, one.chunks[1])
    with pytest.raises(AuthenticityError):
        store.commit(one.root, one.chunk_count + 1)
    store.write_leaf(one.root, 1, one.chunks[0])
    for count in (one.chunk_count, one.chunk_count + 2):
        with pytest.raises(FormatError):
            store.commit(one.root, count)
    assert not store.exists(one.root)
    store.commit(one.root, one.chunk_count + 1)


def test_an_object_cannot_be_committed_under_another_root(store: BlobStore, one: SealedObject) -> None:
    other = Digest("ab" * 32)
    for number, leaf in enumerate(one.leaves()):
        store.write_leaf(other, number, leaf)
    with pytest.raises(AuthenticityError):
        store.commit(other, one.chunk_count + 1)


def test_a_committed_object_is_immutable(store: BlobStore, one: SealedObject) -> None:
    write_all(store, one)
    store.commit(one.root, one.chunk_count + 1)
    store.write_leaf(one.root, 1, one.chunks[0])  # again the same: nothing
    with pytest.raises(ConflictError):
        store.write_leaf(one.root, 1, one.chunks[1])
    assert store.read_leaf(one.root, 1) == one.chunks[0]


def test_deleting_is_final_and_may_be_repeated(store: BlobStore, one: SealedObject) -> None:
    write_all(store, one)
    store.commit(one.root, one.chunk_count + 1)
    for _ in range(2):
        store.delete(one.root)
    assert not store.exists(one.root)
    assert list(store.roots()) == []


def test_nobody_else_may_read_the_files(store: BlobStore, one: SealedObject, tmp_path: Path) -> None:
    write_all(store, one)
    store.commit(one.root, one.chunk_count + 1)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "objects").rglob("*"))


@pytest.mark.parametrize("place", ["../x", "a/b", "", "A", "x" * 81, "a\n"])
def test_places_are_names(store: BlobStore, place: str) -> None:
    with pytest.raises(FormatError):
        store.staging(place)


def test_leaves_are_bounded(store: BlobStore, one: SealedObject) -> None:
    for leaf, data in ((1, bytes(MAX_LEAF_BYTES + 1)), (-1, b""), (1 << 25, b"")):
        with pytest.raises(FormatError):
            store.write_leaf(one.root, leaf, data)


def test_the_header_of_a_committed_object_is_proven(store: BlobStore, one: SealedObject, tmp_path: Path) -> None:
    write_all(store, one)
    with pytest.raises(NotFoundError):
        store.header_proof(one.root)
    store.commit(one.root, one.chunk_count + 1)
    proof = store.header_proof(one.root)
    require_header(one.header, one.root, one.chunk_count, proof)
    for path in (tmp_path / "objects").rglob("header-proof"):  # as an earlier version committed it
        path.unlink()
    assert store.header_proof(one.root) == proof
    assert len(list((tmp_path / "objects").rglob("header-proof"))) == 1
