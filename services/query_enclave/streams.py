"""What stands in Redis between front and worker, to the field (side: host).

Redis sees ciphertext of one size, random ids and times; it is believed nothing. Losing it loses questions that users
ask again, never an answer's secrecy, a budget or an evaluation that counts twice: those are the enclave's.

  cloister:query:questions:<model id>  stream, group `enclave`: kind, id, to, until (Unix milliseconds), body
  cloister:query:answers:<front id>    stream, expires: id, status (`ok` or a public code), body
  cloister:query:proof:<model id>      QueryEnclaveProof of the live launch, expires with the worker's lease
  cloister:query:lease:<model id>      name of the worker that serves the model, expires
  cloister:query:worker:<name>         present while a worker lives, expires
  cloister:query:asked                 sorted set: model id, when a front last asked for its proof (Unix seconds)
  cloister:query:dead                  stream of entries that no launch could read: stream, entry, reason; no bodies

An answered or dropped question is deleted, so a stream's length is its backlog.
"""

import re
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from common.errors import FormatError
from common.identifiers import ModelId, QueryId

GROUP: Final = "enclave"
DEAD_LETTERS: Final = "cloister:query:dead"
DEAD_LETTERS_KEPT: Final = 1000
WORKERS: Final = "cloister:query:worker:"
ASKED: Final = "cloister:query:asked"
ASKED_SECONDS: Final = 600.0
"""How long a model that somebody asked for comes before models that nobody asks for."""

OK: Final = b"ok"

BACKLOG: Final = 256
"""Questions that wait for one model before the front answers `unavailable.full`."""

QUESTIONS_KEPT: Final = 4 * BACKLOG
"""Redis's own bound (approximate MAXLEN), should fronts race past the backlog."""

ANSWERS_KEPT: Final = 1024
ANSWERS_EXPIRE_SECONDS: Final = 120

BLOCK_MILLISECONDS: Final = 1000
"""Longest blocking read: one that is longer than the client's socket timeout kills the reader silently (redis-py 8)."""

SOCKET_TIMEOUT_SECONDS: Final = 5.0
RESP: Final = 2
"""Version of Redis's protocol: its clients shape the entries of a stream otherwise under version 3."""


_ANSWERS = re.compile(r"cloister:query:answers:[0-9a-f]{32}")
_KINDS: Final = ("session", "query")
Kind = Literal["session", "query"]


def questions_of(model_id: ModelId) -> str:
    """The stream of a model's questions."""
    return f"cloister:query:questions:{model_id}"


def proof_of(model_id: ModelId) -> str:
    """The key of the proof of a model's live launch."""
    return f"cloister:query:proof:{model_id}"


def lease_of(model_id: ModelId) -> str:
    """The key of a model's lease."""
    return f"cloister:query:lease:{model_id}"


def answers_of(front: str) -> str:
    """The stream of answers for one front (32 hexadecimal digits)."""
    return f"cloister:query:answers:{front}"


@dataclass(frozen=True)
class Question:
    """One entry of a model's stream."""

    kind: Kind
    query_id: QueryId
    to: str
    until: float
    body: bytes

    def fields(self) -> dict[Any, Any]:
        """As Redis stores it."""
        return {
            "kind": self.kind,
            "id": self.query_id,
            "to": self.to,
            "until": str(int(self.until * 1000)),
            "body": self.body,
        }

    @classmethod
    def parse(cls, fields: dict[bytes, bytes]) -> Self:
        """Read an entry. Raises `FormatError` for anything that a front would not write."""
        try:
            kind, name, to = (fields[key].decode("ascii") for key in (b"kind", b"id", b"to"))
            until, body = int(fields[b"until"]) / 1000, fields[b"body"]
        except (KeyError, ValueError) as cause:
            raise FormatError("format.message", expected="kind, id, to, until, body") from cause
        if kind not in _KINDS or _ANSWERS.fullmatch(to) is None or len(fields) != 5:
            raise FormatError("format.message", expected="a question as a front writes it")
        return cls("session" if kind == "session" else "query", QueryId(name), to, until, body)
