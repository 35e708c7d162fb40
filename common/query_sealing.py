"""The sealing of a query session, used by both of its ends (side: library: user and query enclave).

The user makes a session key and wraps it to the launch key of one query enclave, under info = transcript(WRAP_SESSION,
report_data, model manifest digest, placement digest): another launch, model or placement cannot open it. From the
session key K come, for session id s and manifest m:
  query key   K.derive(QUERY_KEY, s, m)     each query is a blob under it, AAD = header, m
  answer key  K.derive(ANSWER_KEY, s, m)    each answer is a blob under it, AAD = header, m, SHA-256 of the query
A blob has a salt of its own, so a query that is sealed anew under a used counter repeats no nonce. An answer is bound
to the exact query that it answers.
"""

from common.crypto.aead import open_blob, seal_blob
from common.crypto.digests import sha256_raw, transcript
from common.crypto.keys import HiddenKey, KeyRing, SecretKey
from common.crypto.labels import ANSWER_KEY, QUERY_KEY, SESSION_OPENING, SESSION_REPLY, WRAP_SESSION
from common.crypto.wrapping import WrappingKey, wrap_ring
from common.errors import AuthenticityError, FormatError
from common.identifiers import Digest, SessionId
from common.messages.query import (
    ANSWER_MAGIC,
    HEADER_BYTES,
    OPENING_BYTES,
    QUERY_MAGIC,
    REPLY_BYTES,
    SESSION_MAGIC,
    SESSION_OPEN_BYTES,
    WRAPPED_SESSION_BYTES,
    Header,
    SessionOpening,
    SessionReply,
    pad_document,
    unpad_document,
)

_CODE = "authenticity.query"
_WRAPPED_END = len(SESSION_MAGIC) + WRAPPED_SESSION_BYTES


def session_info(report_data: bytes, manifest: Digest, placement: Digest) -> bytes:
    """What a session key is bound to: the 64 bytes of the quote, model manifest and placement digests."""
    return transcript(WRAP_SESSION, report_data, manifest.raw(), placement.raw())


def session_signed_parts(
    report_data: bytes, manifest: Digest, session_id: SessionId, grant: Digest, wrapped_key: bytes
) -> tuple[bytes, ...]:
    """What the user signs under SESSION_OPEN."""
    return report_data, manifest.raw(), session_id.encode(), grant.raw(), sha256_raw(wrapped_key)


def wrap_session_key(key: SecretKey, enclave: bytes, info: bytes) -> bytes:
    """The session key for the launch that holds the private half of `enclave` (1181 bytes)."""
    return wrap_ring(KeyRing({"session": key}), enclave, info)


def seal_opening(key: SecretKey, wrapped_key: bytes, opening: SessionOpening) -> bytes:
    """The whole session open message, `SESSION_OPEN_BYTES` long."""
    padded = pad_document(opening.encode(), OPENING_BYTES)
    return SESSION_MAGIC + wrapped_key + seal_blob(key, SESSION_OPENING, padded, sha256_raw(wrapped_key))


def unwrap_session_key(raw: bytes, own: WrappingKey, info: bytes) -> tuple[SecretKey, bytes]:
    """The session key and its wrapped form. Raises `FormatError`, `AuthenticityError`."""
    if len(raw) != SESSION_OPEN_BYTES or not raw.startswith(SESSION_MAGIC):
        raise FormatError("format.query", expected=f"a session open message of {SESSION_OPEN_BYTES} bytes")
    wrapped = raw[len(SESSION_MAGIC) : _WRAPPED_END]
    ring = own.open_ring(wrapped, info)
    if set(ring) != {"session"}:
        raise FormatError("format.query", expected="a key ring with a session key")
    return ring["session"], wrapped


def open_opening(key: SecretKey, raw: bytes) -> SessionOpening:
    """The opening in a session open message. Raises `AuthenticityError`, `FormatError`."""
    wrapped, blob = raw[len(SESSION_MAGIC) : _WRAPPED_END], raw[_WRAPPED_END:]
    padded = open_blob(key, SESSION_OPENING, blob, sha256_raw(wrapped), code=_CODE)
    return SessionOpening.decode(unpad_document(padded))


def seal_reply(key: SecretKey, opened: bytes, reply: SessionReply) -> bytes:
    """The answer to the session open message `opened`, `SESSION_REPLY_BYTES` long whatever it says."""
    return seal_blob(key, SESSION_REPLY, pad_document(reply.encode(), REPLY_BYTES), sha256_raw(opened))


def open_reply(key: SecretKey, opened: bytes, sealed: bytes) -> SessionReply:
    """What the enclave answered to `opened`. Raises `AuthenticityError`, `FormatError`."""
    return SessionReply.decode(unpad_document(open_blob(key, SESSION_REPLY, sealed, sha256_raw(opened), code=_CODE)))


class SessionCipher(HiddenKey):
    """Seals and opens the queries and answers of one session with one model."""

    __slots__ = ("_answer_key", "_manifest", "_query_key", "session_id")

    def __init__(self, session_key: SecretKey, session_id: SessionId, manifest: Digest) -> None:
        context = (session_id.encode(), manifest.raw())
        self._query_key = session_key.derive(QUERY_KEY, *context)
        self._answer_key = session_key.derive(ANSWER_KEY, *context)
        self._manifest, self.session_id = manifest.raw(), session_id

    def seal_query(self, counter: int, padded: bytes) -> bytes:
        """Query number `counter`."""
        header = Header(self.session_id, counter).encode(QUERY_MAGIC)
        return header + seal_blob(self._query_key, QUERY_KEY, padded, header, self._manifest)

    def open_query(self, query: bytes) -> bytes:
        """The padded question. Whether its counter is a replay is the caller's to judge."""
        header = query[:HEADER_BYTES]
        return open_blob(self._query_key, QUERY_KEY, query[HEADER_BYTES:], header, self._manifest, code=_CODE)

    def seal_answer(self, query: bytes, padded: bytes, digest: bytes | None = None) -> bytes:
        """The answer to exactly this query, whose SHA-256 is `digest` where that is known."""
        header = ANSWER_MAGIC + query[len(QUERY_MAGIC) : HEADER_BYTES]
        aad = (header, self._manifest, digest or sha256_raw(query))
        return header + seal_blob(self._answer_key, ANSWER_KEY, padded, *aad)

    def open_answer(self, query: bytes, answer: bytes) -> bytes:
        """The padded outcome of exactly this query; else `AuthenticityError`."""
        header = ANSWER_MAGIC + query[len(QUERY_MAGIC) : HEADER_BYTES]
        if answer[:HEADER_BYTES] != header:
            raise AuthenticityError(_CODE, expected="the answer to this query")
        aad = (header, self._manifest, sha256_raw(query))
        return open_blob(self._answer_key, ANSWER_KEY, answer[HEADER_BYTES:], *aad, code=_CODE)
