"""Questions out, answers in: the front's end of the two streams (side: host).

One reader takes all answers of this front from its own stream and hands each to the request that waits for it, so a
waiting request holds no connection. A front that ended leaves nothing: its stream expires, its questions time out.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from common.errors import UnavailableError, refusal_of
from common.event_log import log_event
from common.identifiers import ModelId, QueryId
from common.messages.attestation import QueryEnclaveProof
from common.untrusted.carried import ByteCount
from services.query_enclave.streams import (
    ASKED,
    BACKLOG,
    BLOCK_MILLISECONDS,
    OK,
    QUESTIONS_KEPT,
    RESP,
    SOCKET_TIMEOUT_SECONDS,
    Kind,
    Question,
    answers_of,
    proof_of,
    questions_of,
)

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
    """The front's queue. Use it on one event loop, between `start` and `stop`."""

    def __init__(self, redis: Redis, *, wait_seconds: float = WAIT_SECONDS, backlog: int = BACKLOG) -> None:
        self._redis, self._wait, self._backlog = redis, wait_seconds, backlog
        self._answers = answers_of(secrets.token_hex(16))
        self._waiting: dict[bytes, asyncio.Future[bytes]] = {}
        self._proofs: dict[ModelId, Proof] = {}
        self._reader: asyncio.Task[None] | None = None
        self.carried = ByteCount()
        self._stopping = False

    @classmethod
    def connect(cls, url: str, *, wait_seconds: float = WAIT_SECONDS, backlog: int = BACKLOG) -> "FrontDesk":
        """A desk at the Redis of this address; nothing is sent yet."""
        redis = Redis.from_url(
            url, protocol=RESP, socket_timeout=SOCKET_TIMEOUT_SECONDS, socket_connect_timeout=SOCKET_TIMEOUT_SECONDS
        )
        return cls(redis, wait_seconds=wait_seconds, backlog=backlog)

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
        with _redis_errors():
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
        until = time.time() + self._wait
        question = Question(kind, QueryId.new(), self._answers, until, body)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[question.query_id.encode()] = future
        try:
            await self._send(questions_of(model_id), question)
            return await asyncio.wait_for(future, self._wait)
        except TimeoutError:
            log_event(_log, "query_timed_out", model_id=model_id, query_id=question.query_id)
            raise UnavailableError("unavailable.enclave") from None
        finally:
            self._waiting.pop(question.query_id.encode(), None)

    async def _send(self, stream: str, question: Question) -> None:
        with _redis_errors():
            if await self._redis.xlen(stream) >= self._backlog:
                raise UnavailableError("unavailable.full")
            await self._redis.xadd(stream, question.fields(), maxlen=QUESTIONS_KEPT, approximate=True)
        self.carried.add(len(question.body))

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
        self.carried.add(len(fields.get(b"body", b"")))
        future = self._waiting.get(fields.get(b"id", b""))
        if future is None or future.done():
            return
        status = fields.get(b"status", b"")
        if status == OK:
            future.set_result(fields.get(b"body", b""))
        else:
            future.set_exception(refusal_of(status.decode("ascii", errors="replace")))


@contextlib.contextmanager
def _redis_errors() -> Iterator[None]:
    try:
        yield
    except RedisError as cause:
        raise UnavailableError("unavailable.cache") from cause
