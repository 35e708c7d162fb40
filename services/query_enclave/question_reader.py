"""A worker's end of one model's stream: each question reaches the enclave at least once (side: host).

A question stays pending until its answer is written, in one transaction with its removal. What a dead worker left
pending, its successor claims; the enclave tells a repeated question from a new one. A question that nobody waits for
any more is dropped; an entry that is no question, or that a launch never survives, becomes a dead letter.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from common.errors import FormatError, PeerClosedError, Refusal
from common.event_log import log_event
from common.identifiers import ModelId
from services.query_enclave.streams import (
    ANSWERS_EXPIRE_SECONDS,
    ANSWERS_KEPT,
    BLOCK_MILLISECONDS,
    DEAD_LETTERS,
    DEAD_LETTERS_KEPT,
    GROUP,
    OK,
    RESP,
    SOCKET_TIMEOUT_SECONDS,
    Question,
    questions_of,
)

_log = logging.getLogger("query.worker")

MAX_DELIVERIES: Final = 3
"""A question that ended this many launches before it was answered is not given to another."""

_LOST_AFTER_MILLISECONDS: Final = 60_000
_CLAIM_EVERY_SECONDS: Final = 15.0
_RETRY_SECONDS: Final = 0.5
_UNBLOCK_SECONDS: Final = 0.05

Ask = Callable[[str, bytes, float], bytes]
"""(kind, body, seconds) -> sealed answer; raises the enclave's refusal, `PeerClosedError` or `TimeoutError`."""


def connect(url: str) -> Redis:
    """A client for blocking reads; nothing is sent yet."""
    return Redis.from_url(
        url, protocol=RESP, socket_timeout=SOCKET_TIMEOUT_SECONDS, socket_connect_timeout=SOCKET_TIMEOUT_SECONDS
    )


class QuestionReader:
    """Carries one model's questions to `ask` on `threads` threads, from `start` to `stop`.

    Only the holder of the model's lease runs one, so whatever is pending when it starts was left by a dead one.
    """

    def __init__(self, redis: Redis, model_id: ModelId, consumer: str, ask: Ask, *, threads: int = 8) -> None:
        self._redis, self._stream, self._consumer, self._ask = redis, questions_of(model_id), consumer, ask
        self._reading: Redis | None = None  # one connection of its own, so that `stop` can name it
        self._reading_id = 0
        self._model_id = model_id
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="query")
        self._free = threading.Semaphore(threads)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"questions-{model_id}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more and wait for what is being answered; what is not stays pending for the next reader."""
        self._stopped.set()
        while self._thread.is_alive():
            with contextlib.suppress(RedisError):
                self._redis.client_unblock(self._reading_id)
            self._thread.join(_UNBLOCK_SECONDS)
        self._pool.shutdown(wait=True, cancel_futures=True)
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
        cursor: Any = "0-0"
        while not self._stopped.is_set():
            cursor, entries, *_ = self._redis.xautoclaim(
                self._stream, GROUP, self._consumer, idle, start_id=cursor, count=16
            )
            for entry, fields in entries:
                if fields and self._deliveries(entry) > MAX_DELIVERIES:
                    self._give_up(entry, fields)
                elif fields:
                    self._submit(entry, fields)
            if cursor in (b"0-0", "0-0"):
                return

    def _deliveries(self, entry: bytes) -> int:
        found: Any = self._redis.xpending_range(self._stream, GROUP, min=entry, max=entry, count=1)
        return int(found[0]["times_delivered"]) if found else 0

    def _read(self) -> None:
        self._free.acquire()
        self._free.release()
        self._reading = self._reading or self._redis.client()  # type: ignore[no-untyped-call]
        self._reading_id = self._reading.client_id()
        if self._stopped.is_set():
            return
        found: Any = self._reading.xreadgroup(
            GROUP, self._consumer, {self._stream: ">"}, count=1, block=BLOCK_MILLISECONDS
        )
        for _, entries in found:
            for entry, fields in entries:
                self._submit(entry, fields)

    def _submit(self, entry: bytes, fields: dict[bytes, bytes]) -> None:
        self._free.acquire()
        self._pool.submit(self._handle, entry, fields)

    def _handle(self, entry: bytes, fields: dict[bytes, bytes]) -> None:
        try:
            self._answer(entry, fields)
        except RedisError:
            log_event(_log, "cache_unreachable", logging.WARNING, model_id=self._model_id)
        except Exception as error:
            log_event(_log, "query_failed", logging.ERROR, model_id=self._model_id, reason=type(error).__name__)
        finally:
            self._free.release()

    def _answer(self, entry: bytes, fields: dict[bytes, bytes]) -> None:
        try:
            question = Question.parse(fields)
        except FormatError as refusal:
            self._bury(entry, refusal.code)
            return
        left = question.until - time.time()
        if left <= 0:
            log_event(_log, "query_dropped", model_id=self._model_id, query_id=question.query_id)
            self._forget(entry)
            return
        try:
            status, body = OK, self._ask(question.kind, question.body, left)
        except Refusal as refusal:
            status, body = refusal.code.encode(), b""
        except TimeoutError:
            self._forget(entry)
            return
        except PeerClosedError:
            return  # the enclave is gone: the entry stays pending for the next launch
        self._reply(entry, question, status, body)

    def _reply(self, entry: bytes, question: Question, status: bytes, body: bytes) -> None:
        with self._redis.pipeline(transaction=True) as batch:
            batch.xadd(
                question.to,
                {"id": question.query_id, "status": status, "body": body},
                maxlen=ANSWERS_KEPT,
                approximate=True,
            )
            batch.expire(question.to, ANSWERS_EXPIRE_SECONDS)
            batch.xack(self._stream, GROUP, entry)
            batch.xdel(self._stream, entry)
            batch.execute()

    def _give_up(self, entry: bytes, fields: dict[bytes, bytes]) -> None:
        """No launch survived this entry: its sender hears that it is no good, so that it is not sent again."""
        self._bury(entry, "delivered too often")
        with contextlib.suppress(FormatError):
            self._reply(entry, Question.parse(fields), b"format.query", b"")

    def _forget(self, entry: bytes) -> None:
        with self._redis.pipeline(transaction=True) as batch:
            batch.xack(self._stream, GROUP, entry)
            batch.xdel(self._stream, entry)
            batch.execute()

    def _bury(self, entry: bytes, reason: str) -> None:
        log_event(_log, "query_buried", logging.WARNING, model_id=self._model_id, reason=reason)
        with self._redis.pipeline(transaction=True) as batch:
            batch.xadd(
                DEAD_LETTERS,
                {"stream": self._stream, "entry": entry, "reason": reason},
                maxlen=DEAD_LETTERS_KEPT,
                approximate=True,
            )
            batch.xack(self._stream, GROUP, entry)
            batch.xdel(self._stream, entry)
            batch.execute()
