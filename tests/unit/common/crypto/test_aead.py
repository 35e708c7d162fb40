"""Blobs, chunks and sending keys: every change of content, place, order or length is refused."""

import pytest

from common.crypto import SecretKey, open_blob, seal_blob
from common.crypto.aead import BLOB_OVERHEAD, TAG_BYTES, ChunkCipher, SendingCipher, open_blob_in_pieces
from common.errors import AuthenticityError

KEY = SecretKey(bytes(range(32)))


def test_blob_round_trip_and_size() -> None:
    blob = seal_blob(KEY, b"label", b"hello", b"aad")
    assert len(blob) == 5 + BLOB_OVERHEAD
    assert open_blob(KEY, b"label", blob, b"aad") == b"hello"
    assert seal_blob(KEY, b"label", b"hello", b"aad") != blob


def test_blob_refuses_every_flipped_byte_and_other_contexts() -> None:
    blob = seal_blob(KEY, b"label", b"hello", b"aad")
    for at in range(len(blob)):
        with pytest.raises(AuthenticityError):
            open_blob(KEY, b"label", blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :], b"aad")
    for label, aad in ((b"other", b"aad"), (b"label", b"other")):
        with pytest.raises(AuthenticityError):
            open_blob(KEY, label, blob, aad)
    with pytest.raises(AuthenticityError):
        open_blob(SecretKey(bytes(32)), b"label", blob, b"aad")


def in_pieces(blob: bytes, aad: bytes = b"aad") -> bytes:
    written = bytearray()
    open_blob_in_pieces(KEY, b"label", memoryview(blob), written.extend, aad, code="authenticity.sealed_object")
    return bytes(written)


@pytest.mark.parametrize("size", [0, 1, 15, 1 << 18, (1 << 18) + 1, 3 << 18, (3 << 18) + 12345])
def test_a_blob_in_pieces_is_the_same_blob(size: int) -> None:
    plaintext = bytes(at * 7 % 251 for at in range(size))
    blob = seal_blob(KEY, b"label", plaintext, b"aad")
    assert in_pieces(blob) == open_blob(KEY, b"label", blob, b"aad") == plaintext


def test_a_blob_in_pieces_refuses_what_a_blob_refuses() -> None:
    blob = seal_blob(KEY, b"label", bytes(700_000), b"aad")
    with pytest.raises(AuthenticityError):
        in_pieces(blob, b"other")
    for at in (0, 4, 5, 36, 37, 300_000, len(blob) - 17, len(blob) - 16, len(blob) - 1):
        with pytest.raises(AuthenticityError):
            in_pieces(blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :])
        with pytest.raises(AuthenticityError):
            in_pieces(blob[:at])
    with pytest.raises(AuthenticityError):
        in_pieces(blob + b"\0")


def test_chunks_open_in_any_order_but_only_in_their_place() -> None:
    cipher = ChunkCipher(KEY, b"header", 3)
    chunks = [cipher.seal(i, bytes([i]) * 10) for i in range(3)]
    assert cipher.open(2, chunks[2]) == b"\x02" * 10
    assert cipher.open(0, chunks[0]) == b"\x00" * 10
    assert len(chunks[0]) == 10 + TAG_BYTES
    for index, chunk in ((0, chunks[1]), (2, chunks[1]), (3, chunks[2]), (0, chunks[0][:-1])):
        with pytest.raises(AuthenticityError):
            cipher.open(index, chunk)


def test_truncated_and_extended_objects_do_not_open() -> None:
    whole = ChunkCipher(KEY, b"header", 3)
    chunks = [whole.seal(i, b"x") for i in range(3)]
    with pytest.raises(AuthenticityError):
        ChunkCipher(KEY, b"header", 2).open(1, chunks[1])
    with pytest.raises(AuthenticityError):
        ChunkCipher(KEY, b"header", 4).open(2, chunks[2])
    with pytest.raises(AuthenticityError):
        ChunkCipher(KEY, b"other header", 3).open(0, chunks[0])


def test_sending_cipher_never_repeats_a_nonce() -> None:
    sender, receiver = SendingCipher(KEY, b"launch", b"1", b"up"), SendingCipher(KEY, b"launch", b"1", b"up")
    sealed = sender.seal(4, b"body", b"head")
    assert receiver.open(4, sealed, b"head") == b"body"
    for counter in (4, 3):
        with pytest.raises(RuntimeError):
            sender.seal(counter, b"body", b"head")
    for counter, head, cipher in (
        (5, b"head", receiver),
        (4, b"hea", receiver),
        (4, b"head", SendingCipher(KEY, b"launch", b"2", b"up")),
    ):
        with pytest.raises(AuthenticityError):
            cipher.open(counter, sealed, head)
