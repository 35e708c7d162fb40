"""Questions out, answers in: the front's end of the two streams (side: host).

One reader takes all answers of this front from its own stream and hands each to the request that waits for it, so a
waiting request holds no connection. Questions that come while Redis takes others go to it together. A front that ended
leaves nothing: its stream expires, its questions time out, its slots are swept.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from common.errors import UnavailableError, refusal_of
from common.event_log import log_event
from common.identifiers import ModelId, QueryId
from common.messages.placement import QueryEnclaveProof
from common.untrusted.carried import ByteCount
from common.untrusted.metrics import ANSWER_SECONDS
from services.query_enclave.question_sender import QuestionSender, redis_errors
from services.query_enclave.slots import INLINE_BYTES, Slots
from services.query_enclave.streams import (
    ASKED,
    BACKLOG,
    BLOCK_MILLISECONDS,
    OK,
    RESP,
    SOCKET_TIMEOUT_SECONDS,
    Kind,
    Question,
    answers_of,
    proof_of,
    room_for,
)
from services.query_enclave.submissions import Submissions

_log = logging.getLogger("query.front")

WAIT_SECONDS: Final = 20.0
"""How long a request waits for its answer; then its question is dropped and the user sends the same bytes again."""

_PROOF_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 0.5
_CANCEL_SECONDS: Final = 0.05


@dataclass(frozen=True)
class Proof:
    """A live launch's proof as the front hands it out, kept for a moment."""

    encoded: bytes
    query_bytes: int
    until: float


class FrontDesk:
    """The front's queue. Use it on one event loop, between `start` and `stop`.

    With `slots`, bodies of more than `INLINE_BYTES` travel in these.
    """

    def __init__(
        self, redis: Redis, slots: Slots | None = None, *, wait_seconds: float = WAIT_SECONDS, backlog: int = BACKLOG
    ) -> None:
        self._redis, self._slots, self._wait, self._backlog = redis, slots, wait_seconds, backlog
        self._sender = QuestionSender(redis)
        self.submissions = Submissions(redis, slots)
        self._answers = answers_of(secrets.token_hex(16))
        self._waiting: dict[bytes, asyncio.Future[bytes]] = {}
        self._proofs: dict[ModelId, Proof] = {}
        self._reader: asyncio.Task[None] | None = None
        self.carried = ByteCount()
        self._stopping = False

    @classmethod
    def connect(
        cls, url: str, slots: Slots | None = None, *, wait_seconds: float = WAIT_SECONDS, backlog: int = BACKLOG
    ) -> "FrontDesk":
        """A desk at the Redis of this address; nothing is sent yet."""
        redis = Redis.from_url(
            url, protocol=RESP, socket_timeout=SOCKET_TIMEOUT_SECONDS, socket_connect_timeout=SOCKET_TIMEOUT_SECONDS
        )
        return cls(redis, slots, wait_seconds=wait_seconds, backlog=backlog)

    async def start(self) -> None:
        """Begin to read answers."""
        self._reader = asyncio.create_task(self._read())

    async def stop(self) -> None:
        """End the reader and the connection."""
        self._stopping = True
        if self._reader is not None:
            while not self._reader.done():  # redis-py loses a cancellation at the start of a read: said until heard
                self._reader.cancel()  # and may answer it with an error of its own, hence the flag
                await asyncio.wait((self._reader,), timeout=_CANCEL_SECONDS)
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        await self._redis.aclose()

    async def proof(self, model_id: ModelId) -> Proof:
        """The live launch's proof. Raises `UnavailableError`: unavailable.enclave when none is placed."""
        kept = self._proofs.get(model_id)
        if kept is not None and kept.until > time.monotonic():
            return kept
        with redis_errors():
            await self._redis.zadd(ASKED, {model_id: time.time()})
            raw: Any = await self._redis.get(proof_of(model_id))
        if raw is None:
            self._proofs.pop(model_id, None)
            raise UnavailableError("unavailable.enclave")
        proof = Proof(raw, QueryEnclaveProof.decode(raw).query_bytes, time.monotonic() + _PROOF_SECONDS)
        self._proofs[model_id] = proof
        return proof

    async def ask(self, model_id: ModelId, kind: Kind, body: bytes) -> bytes:
        """The enclave's sealed answer.

        Raises its public refusal, or `UnavailableError`: unavailable.full when too many wait, unavailable.enclave when
        no answer came in time, unavailable.cache when Redis is down.
        """
        query_id = QueryId.new()
        question = self._question(kind, query_id, body)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        self._waiting[query_id.encode()] = future
        overdue = loop.call_later(self._wait, _give_up, future)
        try:
            await self._sender.send(model_id, question, self._room(body))
            self.carried.add(len(body))
            with ANSWER_SECONDS.labels(kind).time():
                return await future
        except TimeoutError:
            log_event(_log, "query_timed_out", model_id=model_id, query_id=query_id)
            raise UnavailableError("unavailable.enclave") from None
        finally:
            overdue.cancel()
            self._waiting.pop(query_id.encode(), None)
            self._free(question.slot)

    def _question(self, kind: Kind, query_id: QueryId, body: bytes) -> Question:
        until = time.time() + self._wait
        if self._slots is None or len(body) <= INLINE_BYTES:
            return Question(kind, query_id, self._answers, until, body)
        return Question(kind, query_id, self._answers, until, b"", self._slots.put(query_id, "q", body))

    def _room(self, body: bytes) -> int:
        return self._backlog if self._slots is not None else room_for(len(body), self._backlog)

    def _free(self, slot: str | None) -> None:
        if self._slots is not None:
            self._slots.free(slot)

    async def _read(self) -> None:
        last: bytes | str = "0-0"
        while not self._stopping:
            try:
                found: Any = await self._redis.xread({self._answers: last}, count=64, block=BLOCK_MILLISECONDS)
            except RedisError:
                log_event(_log, "cache_unreachable", logging.WARNING)
                last = (
                    "0-0"  # a Redis that was emptied counts from its own clock again; old answers find nobody waiting
                )
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            for _, entries in found:
                for entry, fields in entries:
                    last = entry
                    self._hand_over(fields)

    def _hand_over(self, fields: dict[bytes, bytes]) -> None:
        body = self._body_of(fields)
        self.carried.add(len(body or b""))
        future = self._waiting.get(fields.get(b"id", b""))
        if future is None or future.done():
            return
        status = fields.get(b"status", b"")
        if body is None:
            future.set_exception(UnavailableError("unavailable.enclave"))
        elif status == OK:
            future.set_result(body)
        else:
            future.set_exception(refusal_of(status.decode("ascii", errors="replace")))

    def _body_of(self, fields: dict[bytes, bytes]) -> bytes | None:
        """The body, out of its slot, which is free from then on; None for one that is gone."""
        if b"slot" not in fields:
            return fields.get(b"body", b"")
        name = fields[b"slot"].decode("ascii", errors="replace")
        body = None if self._slots is None else self._slots.get(name)
        self._free(name)
        return body


def _give_up(future: asyncio.Future[bytes]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())
