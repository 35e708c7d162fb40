"""A worker's end of one place's stream: each question reaches the enclave at least once (side: host).

A question stays pending until its answer is written, in one step with its removal. What a dead worker left pending, its
successor claims; the enclave tells a repeated question from a new one. A question that nobody waits for any more is
dropped; an entry that is no question, or that no launch survives, becomes a dead letter, and none that was only under
way with it.

One thread reads, as many questions at once as there is room for; another writes (question_writer). None waits for an
answer: all of them are under way at the enclave, which makes batches of them.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from common.errors import FormatError, PeerClosedError
from common.event_log import log_event
from services.query_enclave.question_writer import QuestionWriter, Taken
from services.query_enclave.slots import Slots
from services.query_enclave.streams import (
    BLOCK_MILLISECONDS,
    GROUP,
    READ_AT_ONCE,
    RESP,
    SOCKET_TIMEOUT_SECONDS,
    Question,
    model_of,
    questions_of,
)

_log = logging.getLogger("query.worker")

DELIVERIES_IN_COMPANY: Final = 2
"""A question that was under way when so many launches ended is delivered alone from then on: one of those that were
under way with it may have ended them."""

MAX_DELIVERIES: Final = 5
"""A question with which so many launches ended, the last ones when it was alone, is not given to another."""

UNDER_WAY: Final = 64
"""Questions at the enclave at one time: two full batches, one of them being computed."""

PENDING_AT_ONCE: Final = 4 * UNDER_WAY
"""Entries that are taken up at one time: more than a worker and its successors can have left pending."""

_LOST_AFTER_MILLISECONDS: Final = 60_000
_CLAIM_EVERY_SECONDS: Final = 15.0
_RETRY_SECONDS: Final = 0.5
_UNBLOCK_SECONDS: Final = 0.05

Ask = Callable[[str, bytes], Future[bytes]]
"""(kind, body) -> sealed answer to come, or the enclave's refusal, or `PeerClosedError`, which is also raised."""


def connect(url: str) -> Redis:
    """A client for blocking reads; nothing is sent yet."""
    return Redis.from_url(
        url, protocol=RESP, socket_timeout=SOCKET_TIMEOUT_SECONDS, socket_connect_timeout=SOCKET_TIMEOUT_SECONDS
    )


class QuestionReader:
    """Carries one place's questions to `ask`, `under_way` at one time, from `start` to `stop`.

    Only the holder of the place's lease runs one, so whatever is pending when it starts was left by a dead one.
    """

    def __init__(
        self,
        redis: Redis,
        place: str,
        consumer: str,
        ask: Ask,
        slots: Slots | None = None,
        *,
        under_way: int = UNDER_WAY,
    ) -> None:
        self._slots = slots
        self._redis, self._stream, self._consumer, self._ask = redis, questions_of(place), consumer, ask
        self._reading: Redis | None = None  # one connection of its own, so that `stop` can name it
        self._reading_id = 0
        self._model_id = model_of(place)
        self._writer = QuestionWriter(redis, place, under_way, slots)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"questions-{place}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._writer.start()
        self._thread.start()

    def stop(self) -> None:
        """Read no more and wait for what is being answered; what is not stays pending for the next reader."""
        self._stopped.set()
        while self._thread.is_alive():
            with contextlib.suppress(RedisError):
                self._redis.client_unblock(self._reading_id)
            self._thread.join(_UNBLOCK_SECONDS)
        self._writer.stop()
        if self._reading is not None:
            self._reading.close()

    def _run(self) -> None:
        idle, claim_at = 0, 0.0
        while not self._stopped.is_set():
            try:
                if time.monotonic() >= claim_at:
                    self._claim(idle)
                    idle, claim_at = _LOST_AFTER_MILLISECONDS, time.monotonic() + _CLAIM_EVERY_SECONDS
                self._read()
            except ResponseError as error:
                self._make_group(error)
            except RedisError:
                log_event(_log, "cache_unreachable", logging.WARNING, model_id=self._model_id)
                self._stopped.wait(_RETRY_SECONDS)

    def _make_group(self, error: ResponseError) -> None:
        """The stream is new, or Redis lost it: begin with its first entry."""
        log_event(_log, "stream_opened", model_id=self._model_id)
        try:
            self._redis.xgroup_create(self._stream, GROUP, id="0", mkstream=True)
        except RedisError:
            log_event(_log, "stream_refused", logging.WARNING, model_id=self._model_id, reason=type(error).__name__)
            self._stopped.wait(_RETRY_SECONDS)

    def _claim(self, idle: int) -> None:
        """Take up what was left pending for so long (milliseconds)."""
        pending: Any = self._redis.xpending_range(self._stream, GROUP, "-", "+", PENDING_AT_ONCE, idle=idle)
        for one in pending:
            if not self._writer.has(one["message_id"]) and not self._stopped.is_set():
                self._take_up(one["message_id"], int(one["times_delivered"]))

    def _take_up(self, entry: bytes, delivered: int) -> None:
        """Deliver once more what may have ended a launch: first beside others, then alone, and at last not at all."""
        alone = delivered >= DELIVERIES_IN_COMPANY
        if alone and not self._await_answers():
            return
        claimed: Any = self._redis.xclaim(self._stream, GROUP, self._consumer, 0, [entry])
        for _, fields in claimed:
            if delivered >= MAX_DELIVERIES:
                self._give_up(entry, fields)
            elif fields:
                self._writer.await_room(SOCKET_TIMEOUT_SECONDS)
                self._take(entry, fields)
        if alone:
            self._await_answers()

    def _await_answers(self) -> bool:
        """Until nothing is under way at the enclave; whether that came about before the end."""
        while not self._writer.await_idle(BLOCK_MILLISECONDS / 1000):
            if self._stopped.is_set():
                return False
        return True

    def _read(self) -> None:
        room = self._writer.await_room(BLOCK_MILLISECONDS / 1000)
        if self._reading is None:
            self._reading = self._redis.client()  # type: ignore[no-untyped-call]
        self._reading_id = self._reading_id or self._reading.client_id()
        if self._stopped.is_set() or not room:
            return
        try:
            found: Any = self._reading.xreadgroup(
                GROUP, self._consumer, {self._stream: ">"}, count=min(room, READ_AT_ONCE), block=BLOCK_MILLISECONDS
            )
        except RedisError:
            self._reading_id = 0  # the next connection has another
            raise
        for _, entries in found:
            for entry, fields in entries:
                self._take(entry, fields)

    def _take(self, entry: bytes, fields: dict[bytes, bytes]) -> None:
        """Give a question to the enclave; the writer hears of its answer."""
        try:
            question = Question.parse(fields)
        except FormatError as refusal:
            self._writer.bury(entry, refusal.code)
            return
        taken = Taken(entry, question)
        body = self._body_of(question)
        if body is None or question.until <= time.time():
            self._writer.forget(taken)
            return
        self._writer.take(taken)
        try:
            self._ask(question.kind, body).add_done_callback(lambda done: self._writer.answered(taken, done))
        except PeerClosedError:  # the enclave is gone: this entry, and those that follow, are the next launch's
            self._writer.leave(taken)
            self._stopped.set()

    def _body_of(self, question: Question) -> bytes | None:
        """None where its slot is gone: whoever asked waits no longer."""
        if question.slot is None:
            return question.body
        return None if self._slots is None else self._slots.get(question.slot)

    def _give_up(self, entry: bytes, fields: dict[bytes, bytes]) -> None:
        """No launch survived this entry: its sender hears that it is no good, so that it is not sent again."""
        question = None
        with contextlib.suppress(FormatError):
            question = Question.parse(fields)
        self._writer.bury(entry, "delivered too often", question)
