"""AES-256-GCM in the three shapes that Cloister uses; no key ever meets a nonce twice (side: library).

blob     one message under a random 32-byte salt: key = HKDF(parent, BLOB_KEY, label, salt), nonce zero
stream   numbered chunks of one object (STREAM, Hoang et al. 2015, as in age and Tink): nonce = index || last flag
sending  one direction of one enclave launch: nonce = counter, which the sender never repeats and never sets back
"""

import secrets
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common.crypto.digests import transcript
from common.crypto.keys import HiddenKey, KeyRing, SecretKey
from common.crypto.labels import BLOB_KEY, SENDING_KEY, STREAM_KEY
from common.errors import AuthenticityError, Refusal

TAG_BYTES: Final = 16
SALT_BYTES: Final = 32
_BLOB_MAGIC: Final = b"CLBL\x01"
BLOB_OVERHEAD: Final = len(_BLOB_MAGIC) + SALT_BYTES + TAG_BYTES
_ZERO_NONCE: Final = bytes(12)
_PIECE_BYTES: Final = 1 << 18  # what a core's second cache holds


def _aesgcm(key: SecretKey) -> AESGCM:
    return AESGCM(key._raw)  # noqa: SLF001 - this module is where keys are used


def seal_blob(key: SecretKey, label: bytes, plaintext: bytes, *aad: bytes) -> bytes:
    """One message: magic `CLBL` 01, salt (32), ciphertext, tag. `BLOB_OVERHEAD` bytes longer than the plaintext."""
    salt = secrets.token_bytes(SALT_BYTES)
    cipher = _aesgcm(key.derive(BLOB_KEY, label, salt))
    return _BLOB_MAGIC + salt + cipher.encrypt(_ZERO_NONCE, plaintext, transcript(label, *aad))


def open_blob(key: SecretKey, label: bytes, blob: bytes, *aad: bytes, code: str = "authenticity.wrapped_key") -> bytes:
    """The plaintext; else `AuthenticityError` with `code`."""
    head = len(_BLOB_MAGIC)
    if len(blob) < BLOB_OVERHEAD or blob[:head] != _BLOB_MAGIC:
        raise AuthenticityError(code)
    cipher = _aesgcm(key.derive(BLOB_KEY, label, blob[head : head + SALT_BYTES]))
    return _open(cipher, _ZERO_NONCE, blob[head + SALT_BYTES :], transcript(label, *aad), AuthenticityError(code))


def open_blob_in_pieces(
    key: SecretKey, label: bytes, blob: memoryview, write: Callable[[memoryview], object], *aad: bytes, code: str
) -> None:
    """As `open_blob`, for what is too large to stand in memory twice: `write` gets the plaintext piece by piece.

    The tag is checked last: until this has returned, nothing that `write` was given may be used for anything.
    """
    head = len(_BLOB_MAGIC)
    if len(blob) < BLOB_OVERHEAD or bytes(blob[:head]) != _BLOB_MAGIC:
        raise AuthenticityError(code)
    parent, tag = key.derive(BLOB_KEY, label, bytes(blob[head : head + SALT_BYTES])), bytes(blob[-TAG_BYTES:])
    opening = Cipher(algorithms.AES(parent._raw), modes.GCM(_ZERO_NONCE, tag)).decryptor()  # noqa: SLF001 - as above
    opening.authenticate_additional_data(transcript(label, *aad))
    with memoryview(bytearray(_PIECE_BYTES + 16)) as piece, blob[head + SALT_BYTES : -TAG_BYTES] as sealed:
        for begin in range(0, len(sealed), _PIECE_BYTES):
            write(piece[: opening.update_into(sealed[begin : begin + _PIECE_BYTES], piece)])
    try:
        opening.finalize()
    except InvalidTag as cause:
        raise AuthenticityError(code) from cause


def seal_ring(ring: KeyRing, key: SecretKey, label: bytes, *aad: bytes) -> bytes:
    """A key ring as a blob under `key`."""
    return seal_blob(key, label, ring.encode_for_wrapping(), *aad)


def open_ring(key: SecretKey, label: bytes, blob: bytes, *aad: bytes) -> KeyRing:
    """The key ring in a blob."""
    return KeyRing.decode_unwrapped(open_blob(key, label, blob, *aad))


class ChunkCipher(HiddenKey):
    """Numbered chunks of one sealed object, in any order: reorder, truncation and extension all fail.

    Key = HKDF(object key, STREAM_KEY, header), so the header is authenticated by every chunk.
    Nonce = index (11 bytes, big-endian) || 1 for the last chunk, 0 for any other.
    """

    __slots__ = ("_cipher", "_last_index")

    def __init__(self, key: SecretKey, header: bytes, chunk_count: int) -> None:
        self._cipher = _aesgcm(key.derive(STREAM_KEY, header))
        self._last_index = chunk_count - 1

    def _nonce(self, index: int) -> bytes:
        if not 0 <= index <= self._last_index:
            raise AuthenticityError("authenticity.sealed_object", expected=f"chunk 0 to {self._last_index}", seen=index)
        return index.to_bytes(11, "big") + bytes([index == self._last_index])

    def seal(self, index: int, plaintext: bytes | memoryview) -> bytes:
        """Chunk `index`, `TAG_BYTES` longer. Each index is sealed once in the life of a key."""
        return self._cipher.encrypt(self._nonce(index), plaintext, None)

    def open(self, index: int, chunk: bytes | memoryview) -> bytes:
        """The plaintext of chunk `index`; else `AuthenticityError`."""
        return _open(self._cipher, self._nonce(index), chunk, None, AuthenticityError("authenticity.sealed_object"))


class SendingCipher(HiddenKey):
    """One direction of one launch. Key = HKDF(parent, SENDING_KEY, context...); nonce = counter (12 bytes).

    The context names launch key, attempt and direction, so a restarted sender never reuses its predecessor's key.
    """

    __slots__ = ("_cipher", "_next")

    def __init__(self, parent: SecretKey, *context: bytes) -> None:
        self._cipher = _aesgcm(parent.derive(SENDING_KEY, *context))
        self._next = 0

    def seal(self, counter: int, plaintext: bytes, aad: bytes) -> bytes:
        """Seal message `counter`; a counter that is not above all earlier ones is a `RuntimeError`."""
        if counter < self._next:
            raise RuntimeError("a nonce would repeat")
        self._next = counter + 1
        return self._cipher.encrypt(counter.to_bytes(12, "big"), plaintext, aad)

    def open(self, counter: int, sealed: bytes, aad: bytes, *, code: str = "authenticity.frame") -> bytes:
        """Open message `counter`. Whether it is a replay is the caller's to judge."""
        return _open(self._cipher, counter.to_bytes(12, "big"), sealed, aad, AuthenticityError(code))


def _open(cipher: AESGCM, nonce: bytes, sealed: bytes | memoryview, aad: bytes | None, failure: Refusal) -> bytes:
    try:
        return cipher.decrypt(nonce, sealed, aad)
    except (InvalidTag, ValueError) as cause:
        raise failure from cause
