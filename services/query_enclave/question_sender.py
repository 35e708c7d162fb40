"""A front's questions on their way to Redis, together (side: host).

A question that comes while Redis takes others waits for these, and goes with all that came meanwhile, in one step for
each place. That step adds no more than there is room for in the place's stream, whatever other fronts add.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from common.errors import UnavailableError
from services.query_enclave.streams import ADD_QUESTIONS, Question, questions_of


@dataclass
class _Outgoing:
    """Questions to one place that leave next; each future is done when its question stands in the stream, or not."""

    room: int
    questions: list[tuple[Question, asyncio.Future[None]]] = field(default_factory=list)


class QuestionSender:
    """Use it on one event loop."""

    def __init__(self, redis: Redis) -> None:
        self._add = redis.register_script(ADD_QUESTIONS)
        self._outgoing: dict[str, _Outgoing] = {}
        self._task: asyncio.Task[None] | None = None

    async def send(self, place: str, question: Question, room: int) -> None:
        """Put it behind those that wait there, unless these are `room` ones.

        Raises `UnavailableError`: unavailable.full, unavailable.cache when Redis is down.
        """
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        outgoing = self._outgoing.get(place)
        if outgoing is None:
            outgoing = self._outgoing[place] = _Outgoing(room)
        outgoing.questions.append((question, sent))
        outgoing.room = min(outgoing.room, room)
        if self._task is None:
            self._task = asyncio.create_task(self._send_all())
        await sent

    async def _send_all(self) -> None:
        while self._outgoing:
            outgoing, self._outgoing = self._outgoing, {}
            for place, some in outgoing.items():
                await self._send(place, some)
        self._task = None

    async def _send(self, place: str, some: _Outgoing) -> None:
        arguments: list[Any] = [some.room]
        for question, _ in some.questions:
            for name, value in question.fields().items():
                arguments += (name, value)
        try:
            with redis_errors():
                added = int(await self._add([questions_of(place)], arguments))
        except Exception as failure:
            for _, sent in some.questions:
                if not sent.done():
                    sent.set_exception(failure)
            return
        for number, (_, sent) in enumerate(some.questions):
            if not sent.done():
                if number < added:
                    sent.set_result(None)
                else:
                    sent.set_exception(UnavailableError("unavailable.full"))


@contextlib.contextmanager
def redis_errors() -> Iterator[None]:
    """Redis's errors as ours: unavailable.full when its memory is used up, else unavailable.cache."""
    try:
        yield
    except OutOfMemoryError as cause:
        raise UnavailableError("unavailable.full") from cause
    except RedisError as cause:
        raise UnavailableError("unavailable.cache") from cause
