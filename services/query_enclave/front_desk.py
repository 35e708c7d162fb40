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
    MOST_PLACES,
    OK,
    RESP,
    SOCKET_TIMEOUT_SECONDS,
    Kind,
    Question,
    answers_of,
    place_of,
    proof_of,
    questions_of,
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
    """A live launch's proof as the front hands it out, kept for a moment; `launch` names it, `place` is where it is."""

    encoded: bytes
    query_bytes: int
    until: float
    launch: str = ""
    place: str = ""


def _proof(raw: bytes, place: str, until: float) -> Proof:
    proof = QueryEnclaveProof.decode(raw)
    return Proof(raw, proof.query_bytes, until, proof.binding.signing_public, place)


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
        self._proofs: dict[ModelId, list[Proof]] = {}
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
        """A live launch's proof, of several the one where the fewest questions wait.

        Raises `UnavailableError`: unavailable.enclave when none is placed.
        """
        live = await self._live(model_id)
        if len(live) == 1:
            return live[0]
        with redis_errors():
            async with self._redis.pipeline(transaction=False) as batch:
                for one in live:
                    batch.xlen(questions_of(one.place))
                depths = await batch.execute()
        least = min(depths)
        return secrets.choice([one for one, depth in zip(live, depths, strict=True) if depth == least])

    async def _live(self, model_id: ModelId) -> list[Proof]:
        """Those of all its launches, the first place's first."""
        kept = self._proofs.get(model_id)
        if kept is not None and kept[0].until > time.monotonic():
            return kept
        places = [place_of(model_id, number) for number in range(MOST_PLACES)]
        with redis_errors():
            async with self._redis.pipeline(transaction=False) as batch:
                batch.zadd(ASKED, {model_id: time.time()})
                for place in places:
                    batch.get(proof_of(place))
                found = (await batch.execute())[1:]
        until = time.monotonic() + _PROOF_SECONDS
        live = [_proof(raw, place, until) for place, raw in zip(places, found, strict=True) if raw is not None]
        if not live:
            self._proofs.pop(model_id, None)
            raise UnavailableError("unavailable.enclave")
        self._proofs[model_id] = live
        return live

    def place_of(self, model_id: ModelId, launch: str | None) -> str:
        """Where this launch is, as far as is known since its proof was shown; of no launch, the first place.

        Whoever names one that is gone is told by the enclave that he gets to, and verifies that one.
        """
        live = self._proofs.get(model_id, [])
        named = next((one.place for one in live if launch and one.launch.startswith(launch)), None)
        return named or (live[0].place if live else model_id)

    async def ask(self, model_id: ModelId, kind: Kind, body: bytes, launch: str | None = None) -> bytes:
        """The sealed answer of that launch, or of whichever is in the first place.

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
            await self._sender.send(self.place_of(model_id, launch), question, self._room(body))
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
