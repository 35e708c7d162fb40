"""Sealing and reading: any size, any place, and nothing that was not sealed there."""

import io
import secrets

import pytest

from common.crypto.keys import SecretKey
from common.errors import AuthenticityError, FormatError
from common.sealed_object import (
    CHUNK_BYTES,
    ObjectHeader,
    ObjectKind,
    ObjectReader,
    SealedObject,
    object_root,
    padded_chunk_count,
    seal_leaves,
    seal_object,
)

SMALL = 1024


def sealed(payload: bytes, key: SecretKey) -> SealedObject:
    return seal_object(payload, key, ObjectKind.DATASET, chunk_bytes=SMALL)


def reader(one: SealedObject, key: SecretKey) -> ObjectReader:
    return ObjectReader(key, one.header, one.chunk_count, lambda i: one.chunks[i], root=one.root)


@pytest.mark.parametrize("size", [0, 1, SMALL - 9, SMALL - 8, SMALL - 7, SMALL, 5000, 64 * SMALL])
def test_what_is_sealed_is_read(size: int) -> None:
    key, payload = SecretKey.generate(), secrets.token_bytes(size)
    one = sealed(payload, key)
    assert reader(one, key).read_all() == payload
    assert reader(one, key).payload_bytes == size
    assert len({len(chunk) for chunk in one.chunks}) == 1


def test_any_piece_can_be_read_in_any_order() -> None:
    key, payload = SecretKey.generate(), secrets.token_bytes(5000)
    one = reader(sealed(payload, key), key)
    for offset, size in [(4999, 1), (0, 10), (1000, 2000), (SMALL - 9, 3), (4990, 100), (6000, 5), (5000, 1), (3, 0)]:
        assert one.read(offset, size) == payload[offset : offset + size]


def test_the_file_seeks_and_ends_where_the_payload_does() -> None:
    key, payload = SecretKey.generate(), secrets.token_bytes(5000)
    file = reader(sealed(payload, key), key).as_file()
    assert file.seek(-10, io.SEEK_END) == 4990
    assert file.read() == payload[-10:]
    assert file.seek(7) == 7
    assert file.read(3000) == payload[7:3007]
    assert file.read(1) == payload[3007:3008]


def test_one_size_class_looks_alike() -> None:
    key = SecretKey.generate()
    shapes = {tuple(map(len, sealed(bytes(size), key).leaves())) for size in (0, 1, 500, SMALL - 8)}
    assert len(shapes) == 1


def test_sealing_twice_gives_other_bytes_everywhere() -> None:
    key, payload = SecretKey.generate(), bytes(5000)
    first, second = sealed(payload, key), sealed(payload, key)
    assert first.root != second.root
    assert not set(first.chunks) & set(second.chunks)


@pytest.mark.parametrize(
    ("count", "padded"), [(1, 1), (2, 2), (3, 3), (7, 7), (8, 8), (9, 10), (15, 16), (17, 18), (33, 36), (1000, 1024)]
)
def test_size_classes_are_padme(count: int, padded: int) -> None:
    assert padded_chunk_count(count) == padded
    assert padded_chunk_count(padded) == padded


def test_padding_costs_at_most_an_eighth() -> None:
    assert all(count <= padded_chunk_count(count) <= count * 1.12 + 1 for count in range(1, 5000))


def test_leaves_can_be_made_from_a_file() -> None:
    key, payload = SecretKey.generate(), secrets.token_bytes(3000)
    header, *chunks = seal_leaves(io.BytesIO(payload), 3000, key, ObjectKind.MODEL, chunk_bytes=SMALL)
    assert ObjectReader(key, header, len(chunks), chunks.__getitem__, kind=ObjectKind.MODEL).read_all() == payload


@pytest.mark.parametrize("stated", [2999, 3001])
def test_a_file_of_another_length_is_refused(stated: int) -> None:
    with pytest.raises(FormatError, match="format.sealed_object"):
        list(seal_leaves(io.BytesIO(bytes(3000)), stated, SecretKey.generate(), ObjectKind.DATASET, chunk_bytes=SMALL))


def test_another_kind_is_refused() -> None:
    key = SecretKey.generate()
    one = sealed(b"rows", key)
    with pytest.raises(FormatError, match="format.sealed_object"):
        ObjectReader(key, one.header, 1, one.chunks.__getitem__, kind=ObjectKind.MODEL)


def test_two_objects_under_one_key_are_told_apart_by_their_root() -> None:
    key = SecretKey.generate()
    asked, other = sealed(b"part 0", key), sealed(b"part 1", key)
    swapped = ObjectReader(key, other.header, 1, other.chunks.__getitem__, root=asked.root)
    with pytest.raises(AuthenticityError, match="authenticity.sealed_object"):
        swapped.read_all()


def test_the_root_cannot_be_demanded_before_all_was_read() -> None:
    key = SecretKey.generate()
    one = reader(sealed(bytes(5000), key), key)
    one.read(0, 1)
    with pytest.raises(RuntimeError):
        one.require_root()
    one.read(0, 5000)
    one.require_root()


def test_the_header_is_as_documented() -> None:
    one = seal_object(b"x", SecretKey.generate(), ObjectKind.BUNDLE)
    header = ObjectHeader.parse(one.header)
    assert one.header[:16] == b"CLSO\x01\x02\x00\x00" + CHUNK_BYTES.to_bytes(4, "big") + (1).to_bytes(4, "big")
    assert (header.encode(), header.stored_bytes) == (one.header, 64 + CHUNK_BYTES + 16)
    assert object_root(one.header, []) != one.root
