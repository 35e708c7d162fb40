"""Sessions, queries and answers, to the byte (side: library).

All integers are big-endian, all reserved and unused bytes zero; a parser refuses anything else. Sizes depend on the
model alone, so the host sees one size of query and one size of answer, whatever is asked and whatever comes out.

  session open   `CLSS` 01 000000 (8) | wrapped key ring {session} (1181) | blob over the padded opening (8192 + 53)
  session reply  blob over the padded reply (4096 + 53)
  query          header (32) | blob over the padded question
  answer         header (32) | blob over the padded outcome

  header         magic (4: `CLQY` or `CLAN`), version 01, zeros (3), session id (16), counter (8)
  question       dtype code (1), dimensions (1), flags (1: 1 a receipt is wanted), zero (1), rows (4), row shape
                 (8 x 4), rows wanted in all, with those of queries that follow (4), rows in C order, little-endian
  outcome        kind (1: 0 refusal, 1 labels, 2 scores, 3 both), zeros (3), rows (4), answers left (8), body, zeros;
                 its last 104 bytes, unless it is a refusal: salt (32), time (8), signature (64) of a receipt, or zeros;
                 labels: rows x uint32, scores: rows of the model's answer type, both in C order, little-endian;
                 both: labels, then scores, of which not all is told;
                 refusal: code, expected, seen, each behind its length (2)

Tensors are encoded in common/messages/query_tensors, which lists the dtype codes.

A padded document is its length (4), its bytes, zeros. What is a blob, see common/crypto/aead; what each is bound to,
see common/query_sealing.
"""

import functools
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

from pydantic import Field

from common.bundle import BundleManifest, TensorSpec
from common.crypto.aead import BLOB_OVERHEAD
from common.crypto.wrapping import WRAPPING_OVERHEAD
from common.errors import FormatError
from common.identifiers import JobId, ModelId, PartyKey, SessionId
from common.messages.base import Count, Message, Signature64
from common.messages.order import AnswerTiming
from common.messages.signed import Signed

SESSION_MAGIC: Final = b"CLSS\x01\x00\x00\x00"
QUERY_MAGIC: Final = b"CLQY\x01\x00\x00\x00"
ANSWER_MAGIC: Final = b"CLAN\x01\x00\x00\x00"
HEADER_BYTES: Final = 32

_RING_BYTES: Final = 5 + 1 + len("session") + 32
WRAPPED_SESSION_BYTES: Final = _RING_BYTES + WRAPPING_OVERHEAD
OPENING_BYTES: Final = 8192
REPLY_BYTES: Final = 4096
SESSION_OPEN_BYTES: Final = len(SESSION_MAGIC) + WRAPPED_SESSION_BYTES + OPENING_BYTES + BLOB_OVERHEAD
SESSION_REPLY_BYTES: Final = REPLY_BYTES + BLOB_OVERHEAD

MAX_DIMENSIONS: Final = 8
QUESTION_HEAD: Final = 8 + 4 * MAX_DIMENSIONS + 4
OUTCOME_HEAD: Final = 16
RECEIPT_ROOM: Final = 32 + 8 + 64
"""A receipt's salt, time and signature; all else in it is known at both ends (common/receipts)."""

_REFUSAL_BYTES: Final = 1024 - OUTCOME_HEAD
_SMALLEST_CLASS: Final = 1024
LARGE_STEP: Final = 1 << 20
"""Between size classes above it, so also the most padding."""


@functools.lru_cache(maxsize=256)
def size_class(count: int) -> int:
    """The next power of two from 1 KiB to 1 MiB, then whole MiB: coarse, for it tells the host of a model's shape."""
    if count > LARGE_STEP:
        return -(-count // LARGE_STEP) * LARGE_STEP
    return max(_SMALLEST_CLASS, 1 << (count - 1).bit_length())


class QueryProfile(Message):
    """What one model takes and gives; told to a user with a grant inside the sealed session reply.

    `answered_by`: the provider's code, or trusted code that computes a graph or design. `answer_timing`: what the
    model's order says; a session is refused where it is `immediate` and provider code answers.
    """

    input: TensorSpec
    answer: TensorSpec
    max_rows: Annotated[int, Field(ge=1, le=4096)]
    answered_by: Literal["code", "graph"] = "code"
    answer_timing: AnswerTiming = "padded"

    @classmethod
    def of(
        cls,
        manifest: BundleManifest,
        answered_by: Literal["code", "graph"] = "code",
        answer_timing: AnswerTiming = "padded",
    ) -> Self:
        """The profile of a model that a bundle made."""
        return cls(
            input=TensorSpec(shape=manifest.input.shape, dtype=manifest.input.dtype),
            answer=manifest.answer,
            max_rows=manifest.query_rows,
            answered_by=answered_by,
            answer_timing=answer_timing,
        )

    @property
    def question_bytes(self) -> int:
        """Padded size of a question."""
        return size_class(QUESTION_HEAD + self.max_rows * self.input.row_bytes)

    @property
    def outcome_bytes(self) -> int:
        """Padded size of an outcome, the same for labels, scores and refusals, with a receipt or without."""
        answers = self.max_rows * (4 + self.answer.row_bytes) + RECEIPT_ROOM
        return size_class(OUTCOME_HEAD + max(answers, _REFUSAL_BYTES))

    @property
    def query_bytes(self) -> int:
        """Size of every query on the wire."""
        return HEADER_BYTES + BLOB_OVERHEAD + self.question_bytes

    @property
    def answer_bytes(self) -> int:
        """Size of every answer on the wire."""
        return HEADER_BYTES + BLOB_OVERHEAD + self.outcome_bytes


class SessionOpening(Message):
    """Who opens the session, under which grant; travels under the session key.

    `signature` is the user's, over SESSION_OPEN, report_data, manifest digest, session id, grant digest and the hash
    of the wrapped session key, so that a grant cannot be used with anybody else's key or in another enclave.
    """

    type: Literal["session-opening"] = "session-opening"
    version: Literal[1] = 1
    session_id: SessionId
    user: PartyKey
    grant: Signed
    signature: Signature64


class SessionReply(Message):
    """The enclave's answer to an opening: a profile and the grant's detail, or a code with expected and seen."""

    type: Literal["session-reply"] = "session-reply"
    version: Literal[1] = 1
    session_id: SessionId | None
    profile: QueryProfile | None = None
    detail: Literal["label", "scores"] | None = None
    code: Annotated[str, Field(max_length=64)] | None = None
    expected: Annotated[str, Field(max_length=512)] | None = None
    seen: Annotated[str, Field(max_length=512)] | None = None


def pad_document(document: bytes, size: int) -> bytes:
    """Length, bytes, zeros: `size` bytes. Raises `FormatError` (format.too_large)."""
    if 4 + len(document) > size:
        raise FormatError("format.too_large", expected=f"at most {size - 4} bytes", seen=len(document))
    return (len(document).to_bytes(4, "big") + document).ljust(size, b"\0")


def unpad_document(padded: bytes) -> bytes:
    """The document; padding that is not all zeros is a `FormatError`."""
    end = 4 + int.from_bytes(padded[:4], "big")
    if end > len(padded) or any(padded[end:]):
        raise FormatError("format.message", expected="a padded document")
    return padded[4:end]


@dataclass(frozen=True)
class Header:
    """The open part of a query or answer: whose session, which counter. Authenticated, not secret."""

    session_id: SessionId
    counter: int

    def encode(self, magic: bytes) -> bytes:
        """32 bytes."""
        session = bytes.fromhex(self.session_id.removeprefix("session_"))
        return magic + session + self.counter.to_bytes(8, "big")

    @classmethod
    def parse(cls, raw: bytes, magic: bytes) -> Self:
        """The header at the start of `raw`. Raises `FormatError` (format.query)."""
        if len(raw) < HEADER_BYTES or raw[:8] != magic:
            raise FormatError("format.query", expected=f"a message that starts with {magic[:4]!r}, version 1")
        return cls(SessionId("session_" + raw[8:24].hex()), int.from_bytes(raw[24:32], "big"))


class PlaceModel(Message):
    """What a relay asks its enclave first, once: serve this model, made by this job. Answer: QueryEnclaveProof."""

    type: Literal["place-model"] = "place-model"
    version: Literal[1] = 1
    job_id: JobId
    model_id: ModelId


class QueryEnclaveStatus(Message):
    """What a query enclave tells its relay about itself: states and counts that the host may know."""

    type: Literal["query-enclave-status"] = "query-enclave-status"
    version: Literal[1] = 1
    placed: bool
    sessions: Count
