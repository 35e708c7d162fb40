"""What stands in Redis between front and worker, to the field (side: host).

Redis sees ciphertext of one size, random ids and times; it is believed nothing. Losing it loses questions that users
ask again, never an answer's secrecy, a budget or an evaluation that counts twice: those are the enclave's.

  cloister:query:questions:<place>     stream, group `enclave`: kind, id, to, until (Unix milliseconds), body or slot
  cloister:query:answers:<front id>    stream, expires: id, status (`ok` or a public code), body or slot
  cloister:query:submitted:<party>     sorted set, expires: query id, until when it is worked on (submissions)
  cloister:query:proof:<place>         QueryEnclaveProof of the live launch there, expires with the worker's lease
  cloister:query:lease:<place>         name of the worker that has the place, expires
  cloister:query:worker:<name>         present while a worker lives, expires
  cloister:query:asked                 sorted set: model id, when a front last asked for its proof (Unix seconds)
  cloister:query:dead                  stream of entries that no launch could read: stream, entry, reason; no bodies

A place is where one launch of a model is: `<model id>`, and `<model id>:1` to `:7` where several workers share its
questions. A session lives in one launch, so its questions go to that launch's place.

An answered or dropped question is deleted, so a stream's length is its backlog. A body of more than 16 KiB stands in a
slot (slots) whose name stands here, where front and worker share a directory. What stands here is bounded by number
and, where bodies of any size do, by bytes.
"""

import re
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from common.errors import FormatError
from common.identifiers import ModelId, PartyKey, QueryId

GROUP: Final = "enclave"
DEAD_LETTERS: Final = "cloister:query:dead"
DEAD_LETTERS_KEPT: Final = 1000
WORKERS: Final = "cloister:query:worker:"
ASKED: Final = "cloister:query:asked"
ASKED_SECONDS: Final = 600.0
"""How long a model that somebody asked for comes before models that nobody asks for."""

QUESTIONS: Final = "cloister:query:questions:"

MOST_PLACES: Final = 8
"""Launches of one model at one time."""

OK: Final = b"ok"

BACKLOG: Final = 256
"""Questions that wait for one model before the front answers `unavailable.full`."""

BACKLOG_BYTES: Final = 64 << 20
"""Of bodies of one model's questions in Redis, and of one front's answers; at least one has room."""

ADD_QUESTIONS: Final = """
local room = tonumber(ARGV[1]) - redis.call('XLEN', KEYS[1])
local added = 0
for at = 2, #ARGV, 10 do
  if added >= room then break end
  redis.call('XADD', KEYS[1], '*', unpack(ARGV, at, at + 9))
  added = added + 1
end
return added
"""
"""Redis's own bound: of the questions that follow (ten arguments each), as many as there is room for, in one step."""

WRITE_ANSWERS: Final = """
for at = 4, #ARGV, 8 do
  local entry, place, id, status, name, value, kept, reason = unpack(ARGV, at, at + 7)
  if redis.call('XACK', KEYS[1], ARGV[1], entry) == 1 then
    if place ~= '0' then
      local to = KEYS[2 + tonumber(place)]
      redis.call('XADD', to, 'MAXLEN', '~', kept, '*', 'id', id, 'status', status, name, value)
      redis.call('EXPIRE', to, ARGV[2])
    end
    if reason ~= '' then
      redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'stream', KEYS[1], 'entry', entry, 'reason', reason)
    end
  end
  redis.call('XDEL', KEYS[1], entry)
end
"""
"""For each of the entries that follow (eight arguments each): off the pending list, which only the first one to say so
does, and with that the answer to the stream of that place, if it has one, and a dead letter, if there is a reason."""

ANSWERS_KEPT: Final = 1024
ANSWERS_EXPIRE_SECONDS: Final = 120

SUBMITTED_EXPIRE_SECONDS: Final = 180
"""How long a submission is known: its time in the queue (submissions), and as long as its answer stands."""

READ_AT_ONCE: Final = 32
"""Entries that one read takes: as many as one batch in the enclave answers."""

BLOCK_MILLISECONDS: Final = 1000
"""Longest blocking read: one that is longer than the client's socket timeout kills the reader silently (redis-py 8)."""

SOCKET_TIMEOUT_SECONDS: Final = 5.0
RESP: Final = 2
"""Version of Redis's protocol: its clients shape the entries of a stream otherwise under version 3."""


_ANSWERS = re.compile(r"cloister:query:answers:[0-9a-f]{32}")
_KINDS: Final = ("session", "query")
Kind = Literal["session", "query"]


def place_of(model_id: ModelId, number: int) -> str:
    """One of a model's places; the first has the model's own name."""
    return f"{model_id}:{number}" if number else model_id


def model_of(place: str) -> ModelId:
    """Whose place it is. Raises `FormatError`."""
    return ModelId(place.partition(":")[0])


def questions_of(place: str) -> str:
    """The stream of a place's questions."""
    return QUESTIONS + place


def proof_of(place: str) -> str:
    """The key of the proof of a place's live launch."""
    return f"cloister:query:proof:{place}"


def lease_of(place: str) -> str:
    """The key of a place's lease."""
    return f"cloister:query:lease:{place}"


def answers_of(front: str) -> str:
    """The stream of answers for one front, or of the answer to one submission (32 hexadecimal digits)."""
    return f"cloister:query:answers:{front}"


def submitted_of(party: PartyKey) -> str:
    """The key of a party's submissions."""
    return f"cloister:query:submitted:{party}"


@dataclass(frozen=True)
class Question:
    """One entry of a model's stream."""

    kind: Kind
    query_id: QueryId
    to: str
    until: float
    body: bytes
    slot: str | None = None

    def fields(self) -> dict[Any, Any]:
        """As Redis stores it."""
        return {
            "kind": self.kind,
            "id": self.query_id,
            "to": self.to,
            "until": str(int(self.until * 1000)),
            **carried(self.body, self.slot),
        }

    @classmethod
    def parse(cls, fields: dict[bytes, bytes]) -> Self:
        """Read an entry. Raises `FormatError` for anything that a front would not write."""
        try:
            kind, name, to = (fields[key].decode("ascii") for key in (b"kind", b"id", b"to"))
            until = int(fields[b"until"]) / 1000
            slot = fields[b"slot"].decode("ascii") if b"slot" in fields else None
            body = fields[b"body"] if slot is None else b""
        except (KeyError, ValueError) as cause:
            raise FormatError("format.message", expected="kind, id, to, until, body or slot") from cause
        if kind not in _KINDS or _ANSWERS.fullmatch(to) is None or len(fields) != 5:
            raise FormatError("format.message", expected="a question as a front writes it")
        return cls("session" if kind == "session" else "query", QueryId(name), to, until, body, slot)


def carried(body: bytes, slot: str | None) -> dict[Any, Any]:
    """The field that has the body, or the name of its slot."""
    return {"body": body} if slot is None else {"slot": slot}


def room_for(body_bytes: int, most: int) -> int:
    """How many bodies of this size may stand in one stream: `most`, or fewer where they are large."""
    return max(1, min(most, BACKLOG_BYTES // max(1, body_bytes)))
