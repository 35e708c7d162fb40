"""Several queries in one request, and what became of each (side: library: user and front; both outside any enclave).

queries   one after the other, each of the model's one size
answers   for each query, in order: length of the status (1), status (`ok` or a public refusal's code, ASCII), length
          of the answer (4, big-endian), sealed answer (nothing behind a refusal)
"""

from collections.abc import Sequence
from typing import Final, Literal

from common.errors import FormatError, Refusal, refusal_of
from common.identifiers import QueryId
from common.messages.base import Message

MAX_BATCH: Final = 32
"""Queries of one request: as many as a session remembers answers to (services/query_enclave/sessions), so that a batch
that is sent again is answered from memory."""

MAX_BATCH_BYTES: Final = 16 << 20
"""Of all queries together, where a model's are large; one always may."""

OK: Final = "ok"


class QuerySubmitted(Message):
    """A query is taken on; its answer is asked for under this name."""

    type: Literal["query-submitted"] = "query-submitted"
    version: Literal[1] = 1
    query_id: QueryId


def most_queries(query_bytes: int) -> int:
    """How many queries of this size one request may bring."""
    return max(1, min(MAX_BATCH, MAX_BATCH_BYTES // query_bytes))


def split_queries(body: bytes, query_bytes: int) -> list[bytes]:
    """The queries of a request. Raises `FormatError` (format.query)."""
    count, rest = divmod(len(body), query_bytes)
    if rest or not 1 <= count <= most_queries(query_bytes):
        raise FormatError(
            "format.query", expected=f"1 to {most_queries(query_bytes)} queries of {query_bytes} bytes", seen=len(body)
        )
    return [body[at : at + query_bytes] for at in range(0, len(body), query_bytes)]


def encode_answers(answers: Sequence[bytes | Refusal]) -> bytes:
    """What became of each query."""
    parts: list[bytes] = []
    for one in answers:
        status, body = (one.code, b"") if isinstance(one, Refusal) else (OK, one)
        parts += (bytes([len(status)]), status.encode("ascii"), len(body).to_bytes(4, "big"), body)
    return b"".join(parts)


def decode_answers(raw: bytes, count: int) -> list[bytes | Refusal]:
    """What became of each of `count` queries. Raises `FormatError` (format.message)."""
    answers, at = list[bytes | Refusal](), 0
    while at < len(raw):
        begin = at + 1 + raw[at]
        end = begin + 4 + int.from_bytes(raw[begin : begin + 4], "big")
        status = raw[at + 1 : begin].decode("ascii", errors="replace")
        if end > len(raw) or (status != OK and end != begin + 4):
            raise FormatError("format.message", expected="answers to a batch of queries")
        answers.append(raw[begin + 4 : end] if status == OK else refusal_of(status))
        at = end
    if len(answers) != count:
        raise FormatError("format.message", expected=f"{count} answers", seen=len(answers))
    return answers
