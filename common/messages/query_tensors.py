"""What stands inside a query and an answer: tensors of fixed layout (side: library).

Sizes are those of the model's `QueryProfile`; the layouts stand in common/messages/query. What arrives here was opened
under the session's key, so it comes from the other end of the session, and is judged all the same.
"""

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.bundle import TensorSpec
from common.errors import FormatError, Refusal, refusal_of
from common.identifiers import ModelId
from common.messages.query import LARGE_STEP, MAX_DIMENSIONS, OUTCOME_HEAD, QUESTION_HEAD, RECEIPT_ROOM, QueryProfile

DTYPES: Final = ("bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64")
"""Element types of a question; the code of each is its place, from 1."""

_SIDES: Final = struct.Struct(f">{MAX_DIMENSIONS}I")
_SIDES_END: Final = 8 + _SIDES.size
_RECEIPT_WANTED: Final = 1
_ZEROS: Final = bytes(LARGE_STEP)
"""As many as pad any question (`size_class`); compared at once, and not counted one by one."""

_REFUSAL_TEXT: Final = 320
"""Most bytes of a refusal's code, expected and seen, each."""


def encode_question(
    rows: NDArray[np.generic], profile: QueryProfile, wanted: int | None = None, *, receipt: bool = False
) -> bytes:
    """The padded question. `rows` has shape (rows, *input shape) in the profile's dtype; else `FormatError`.

    `wanted`: how many rows are to be answered in all, with those of later queries; none without them. `receipt`: ask
    for one.
    """
    dtype = rows.dtype.name
    require_question(dtype, rows.shape, profile)
    sides = b"".join(side.to_bytes(4, "big") for side in profile.input.shape).ljust(_SIDES.size, b"\0")
    head = bytes([1 + DTYPES.index(dtype), len(profile.input.shape), _RECEIPT_WANTED * receipt, 0])
    head += len(rows).to_bytes(4, "big") + sides + (wanted or len(rows)).to_bytes(4, "big")
    return (head + _raw(rows)).ljust(profile.question_bytes, b"\0")


def decode_question(padded: bytes, profile: QueryProfile) -> NDArray[np.generic]:
    """The rows, of the profile's shape and type; anything else is a `FormatError` (format.query)."""
    if len(padded) != profile.question_bytes:
        raise FormatError("format.query", expected=f"{profile.question_bytes} bytes", seen=len(padded))
    code, dimensions, count = padded[0], padded[1], int.from_bytes(padded[4:8], "big")
    sides = _SIDES.unpack_from(padded, 8)
    dtype = DTYPES[code - 1] if 0 < code <= len(DTYPES) else "unknown type"
    require_question(dtype, (count, *sides[:dimensions]), profile)
    if rows_wanted(padded) < count:
        raise FormatError("format.query", expected="as many rows wanted as are asked", seen=rows_wanted(padded))
    end = QUESTION_HEAD + count * profile.input.row_bytes
    if (
        padded[2] not in {0, _RECEIPT_WANTED}
        or padded[3]
        or any(sides[dimensions:])
        or not padded.endswith(_ZEROS[: len(padded) - end])
    ):
        raise FormatError("format.query", expected="reserved bytes and padding of zeros")
    if dtype == "bool" and max(padded[QUESTION_HEAD:end]) > 1:
        raise FormatError("format.query", expected="truth values of 0 and 1")
    return _rows(padded[QUESTION_HEAD:end], count, profile.input)


def rows_wanted(padded: bytes) -> int:
    """How many answers its user wants in all, with those to later questions."""
    return int.from_bytes(padded[_SIDES_END:QUESTION_HEAD], "big")


def receipt_wanted(padded: bytes) -> bool:
    """Whether a question asks for a receipt."""
    return padded[2] == _RECEIPT_WANTED


def require_question(dtype: str, shape: tuple[int, ...], profile: QueryProfile) -> None:
    """Raise `FormatError` (format.query) unless 1 to `max_rows` rows of the profile's shape and type are asked."""
    if dtype != profile.input.dtype or shape[1:] != profile.input.shape or not 0 < shape[0] <= profile.max_rows:
        sides = ", ".join(map(str, (f"1 to {profile.max_rows}", *profile.input.shape)))
        raise FormatError(
            "format.query", expected=f"{profile.input.dtype} of shape ({sides})", seen=f"{dtype} of shape {shape}"
        )


def _raw(rows: NDArray[np.generic]) -> bytes:
    return np.ascontiguousarray(rows).astype(rows.dtype.newbyteorder("<"), copy=False).tobytes()


def _rows(raw: bytes, count: int, spec: TensorSpec) -> NDArray[np.generic]:
    return np.frombuffer(raw, dtype=np.dtype(spec.dtype).newbyteorder("<")).reshape(count, *spec.shape)


@dataclass(frozen=True)
class Answer:
    """What came out: `labels` (rows,) always, `scores` (rows, *answer shape) when the terms' detail is scores, cut to
    their bounds.

    `receipt`: its room in the outcome, None where there is none. `model_id`: whose answer it is, as the client that
    opened it knows; None where several models' are joined.
    """

    labels: NDArray[np.uint32]
    scores: NDArray[np.generic] | None
    answers_left: int
    receipt: bytes | None = None
    model_id: ModelId | None = None


def labels_of(scores: NDArray[np.generic]) -> NDArray[np.uint32]:
    """Place of the largest value of each flattened answer row."""
    labels: NDArray[np.intp] = scores.reshape(len(scores), -1).argmax(axis=1)
    return labels.astype(np.uint32)


def encode_answer(scores: NDArray[np.generic], answers_left: int, detail: str, profile: QueryProfile) -> bytes:
    """The padded outcome of an answered question; of `scores` a label grant gets the labels only."""
    kind, body = (1, _raw(labels_of(scores))) if detail == "label" else (2, _raw(scores))
    return _encode_outcome(kind, len(scores), answers_left, body, profile)


def encode_told(
    labels: NDArray[np.uint32], told: NDArray[np.generic], answers_left: int, profile: QueryProfile
) -> bytes:
    """The padded outcome of an answered question that tells a part of the scores, and so the labels beside it."""
    return _encode_outcome(3, len(told), answers_left, _raw(labels) + _raw(told), profile)


def told_bytes(kind: int, spec: TensorSpec) -> int:
    """Bytes that an outcome of this kind has for each row of a model that answers so; 0 for a refusal."""
    return {1: 4, 2: spec.row_bytes, 3: 4 + spec.row_bytes}.get(kind, 0)


def encode_refusal(refusal: Refusal, answers_left: int, profile: QueryProfile) -> bytes:
    """The padded outcome of a refused question, with expected and seen for the user who asked."""
    texts = ((text or "").encode()[:_REFUSAL_TEXT] for text in (refusal.code, refusal.expected, refusal.seen))
    body = b"".join(len(text).to_bytes(2, "big") + text for text in texts)
    return _encode_outcome(0, 0, answers_left, body, profile)


def with_receipt(outcome: bytes, receipt: bytes) -> bytes:
    """The outcome of an answered question with `receipt` (`RECEIPT_ROOM` bytes) in its room."""
    if len(receipt) != RECEIPT_ROOM or outcome[0] == 0:
        raise ValueError("a receipt of an answer")
    return outcome[:-RECEIPT_ROOM] + receipt


def _encode_outcome(kind: int, rows: int, left: int, body: bytes, profile: QueryProfile) -> bytes:
    head = bytes([kind, 0, 0, 0]) + rows.to_bytes(4, "big") + left.to_bytes(8, "big")
    return (head + body).ljust(profile.outcome_bytes, b"\0")


def decode_outcome(padded: bytes, profile: QueryProfile) -> Answer:
    """The answer, or the typed refusal is raised. Raises `FormatError` (format.message) for anything else."""
    if len(padded) != profile.outcome_bytes:
        raise FormatError("format.message", expected=f"{profile.outcome_bytes} bytes", seen=len(padded))
    kind, rows, left = padded[0], int.from_bytes(padded[4:8], "big"), int.from_bytes(padded[8:16], "big")
    body, receipt = padded[OUTCOME_HEAD:-RECEIPT_ROOM], padded[-RECEIPT_ROOM:]
    size = rows * told_bytes(kind, profile.answer)
    if kind == 0:
        raise _decode_refusal(body + receipt)
    if not size or rows > profile.max_rows or any(padded[1:4]) or body[size:].strip(b"\0"):
        raise FormatError("format.message", expected="an outcome of version 1")
    told = receipt if receipt.strip(b"\0") else None
    beside = 0 if kind == 2 else 4 * rows
    labels = np.frombuffer(body[:beside], dtype="<u4")
    if kind == 1:
        return Answer(labels, None, left, told)
    scores = _rows(body[beside:size], rows, profile.answer)
    return Answer(labels_of(scores) if kind == 2 else labels, scores, left, told)


def _decode_refusal(body: bytes) -> Refusal:
    texts, at = [], 0
    for _ in range(3):
        end = at + 2 + int.from_bytes(body[at : at + 2], "big")
        texts.append(body[at + 2 : end].decode("utf-8", errors="replace"))
        at = end
    return refusal_of(texts[0], expected=texts[1] or None, seen=texts[2] or None)
