"""Queries that are asked now and whose answers are fetched later (side: host).

A submission's answer goes into a stream of its own, `cloister:query:answers:<its id>`, and stays there until it
expires, so that any front can show it, as often as it is asked. Which ids a party has submitted stands in
`cloister:query:submitted:<party>`, a sorted set by the time until which each is worked on: one party has a bounded
number of them, and nobody else is shown their answers, which are sealed besides.
"""

import time
from typing import Any, Final

from redis.asyncio import Redis

from common.errors import NotFoundError, QuotaError, UnavailableError, refusal_of
from common.identifiers import PartyKey, QueryId
from services.query_enclave.question_sender import QuestionSender, redis_errors
from services.query_enclave.slots import INLINE_BYTES, Slots
from services.query_enclave.streams import (
    BACKLOG,
    OK,
    SUBMITTED_EXPIRE_SECONDS,
    Question,
    answers_of,
    room_for,
    submitted_of,
)

SUBMIT_SECONDS: Final = 60.0
"""How long a submission may wait for its evaluation; behind that it is dropped, and is submitted again."""

SUBMISSIONS_KEPT: Final = 64
"""Of one party, answered or not, until their answers expire."""


class Submissions:
    """One front's. Use it on one event loop."""

    def __init__(self, redis: Redis, slots: Slots | None = None, *, seconds: float = SUBMIT_SECONDS) -> None:
        self._redis, self._slots, self._seconds = redis, slots, seconds
        self._sender = QuestionSender(redis)

    async def submit(self, place: str, party: PartyKey, body: bytes) -> QueryId:
        """Ask and do not wait; the name of the answer to come.

        Raises `QuotaError` (quota.requests) for a party that has too many, `UnavailableError` as a front desk does.
        """
        query_id, now = QueryId.new(), time.time()
        key = submitted_of(party)
        with redis_errors():
            async with self._redis.pipeline(transaction=True) as batch:
                batch.zremrangebyscore(key, 0, now + self._seconds - SUBMITTED_EXPIRE_SECONDS)
                batch.zadd(key, {query_id: now + self._seconds})
                batch.zcard(key)
                batch.expire(key, SUBMITTED_EXPIRE_SECONDS)
                count = (await batch.execute())[2]
        slot = None
        try:
            if count > SUBMISSIONS_KEPT:
                raise QuotaError("quota.requests", expected=f"at most {SUBMISSIONS_KEPT} submissions")
            if self._slots is not None and len(body) > INLINE_BYTES:
                slot = self._slots.put(query_id, "q", body)
            to, until = answers_of(_digits(query_id)), now + self._seconds
            question = Question("query", query_id, to, until, b"" if slot else body, slot)
            await self._sender.send(place, question, room_for(len(question.body), BACKLOG))
        except BaseException:
            if self._slots is not None:
                self._slots.free(slot)
            with redis_errors():
                await self._redis.zrem(key, query_id)
            raise
        return query_id

    async def collect(self, party: PartyKey, query_id: QueryId) -> bytes | None:
        """The sealed answer to a submission of this party; None as long as it is worked on.

        Raises the enclave's public refusal, `NotFoundError` (not_found.answer) for what is none of the party's or has
        expired, and `UnavailableError` (unavailable.enclave) for one that was given up.
        """
        with redis_errors():
            async with self._redis.pipeline(transaction=False) as batch:
                batch.zscore(submitted_of(party), query_id)
                batch.xrange(answers_of(_digits(query_id)), count=1)
                until, entries = await batch.execute()
        if until is None:
            raise NotFoundError("not_found.answer")
        if not entries:
            if float(until) < time.time():
                raise UnavailableError("unavailable.enclave")
            return None
        return self._body_of(entries[0][1])

    def _body_of(self, fields: dict[bytes, bytes]) -> bytes:
        status: Any = fields.get(b"status", b"")
        if status != OK:
            raise refusal_of(status.decode("ascii", errors="replace"))
        if b"slot" not in fields:
            return fields.get(b"body", b"")
        body = None if self._slots is None else self._slots.get(fields[b"slot"].decode("ascii", errors="replace"))
        if body is None:
            raise NotFoundError("not_found.answer")
        return body


def _digits(query_id: QueryId) -> str:
    return query_id.removeprefix("query_")
