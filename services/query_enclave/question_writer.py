"""A worker's answers to one model's questions, written as they come (side: host).

All that is ready when Redis has taken the last ones goes in one step: questions off the pending list and out of the
stream, and answers to their fronts' streams. Until then a question is pending, whoever ends. An answer goes only with a
question that was pending, so none is written twice, by one worker or by two; what Redis could not take is written
again.
"""

import contextlib
import logging
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from redis import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from common.errors import PeerClosedError, Refusal, UnavailableError
from common.event_log import log_event
from services.query_enclave.slots import INLINE_BYTES, Slots
from services.query_enclave.streams import (
    ANSWERS_EXPIRE_SECONDS,
    ANSWERS_KEPT,
    DEAD_LETTERS,
    DEAD_LETTERS_KEPT,
    GROUP,
    OK,
    WRITE_ANSWERS,
    Question,
    carried,
    model_of,
    questions_of,
    room_for,
)

_log = logging.getLogger("query.worker")

_LOOK_SECONDS: Final = 0.25
"""How often it is looked whether somebody still waits for what the enclave works on."""

_RETRY_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Taken:
    """A question that was given to the enclave, and its entry in the stream."""

    entry: bytes
    question: Question


@dataclass(frozen=True)
class _Word:
    """What becomes of an entry: it goes, with an answer if there is a `status`, as a dead letter for a `reason`."""

    entry: bytes
    question: Question | None = None
    status: bytes = b""
    body: bytes = b""
    reason: str | None = None


class QuestionWriter:
    """Writes for one model, from `start` to `stop`; there is room for `limit` questions at one time.

    With `slots`, answers of more than `INLINE_BYTES` travel in these, and those of questions are freed.
    """

    def __init__(self, redis: Redis, place: str, limit: int, slots: Slots | None = None) -> None:
        self._slots = slots
        self._redis, self._model_id, self._stream, self._limit = redis, model_of(place), questions_of(place), limit
        self._script = redis.register_script(WRITE_ANSWERS)
        self._changed = threading.Condition(threading.RLock())
        self._under_way: dict[bytes, Taken] = {}
        self._words: list[_Word] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"answers-{place}", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Wait for what is being answered, as long as anybody else does, and write it."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    def await_room(self, seconds: float) -> int:
        """How many more questions may be taken; 0 when none may after so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._room() > 0, seconds)
            return self._room()

    def await_idle(self, seconds: float) -> bool:
        """Whether nothing is under way at the enclave, or comes to be within so long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._under_way, seconds)

    def has(self, entry: bytes) -> bool:
        """Whether it was given to the enclave and not written yet."""
        with self._changed:
            return entry in self._under_way or any(word.entry == entry for word in self._words)

    def take(self, taken: Taken) -> None:
        """It is given to the enclave now."""
        with self._changed:
            self._under_way[taken.entry] = taken

    def leave(self, taken: Taken) -> None:
        """The enclave is gone: its entry stays pending for the next launch."""
        with self._changed:
            self._under_way.pop(taken.entry, None)
            self._changed.notify_all()

    def answered(self, taken: Taken, done: Future[bytes]) -> None:
        """The enclave answered, refused in public, or is gone."""
        try:
            word = _Word(taken.entry, taken.question, OK, done.result())
        except Refusal as refusal:
            word = _Word(taken.entry, taken.question, refusal.code.encode())
        except PeerClosedError:
            self.leave(taken)
            return
        with self._changed:
            if self._under_way.pop(taken.entry, None) is not None:  # else nobody waits for it any more
                self._say(word)

    def forget(self, taken: Taken) -> None:
        """Nobody waits for it."""
        log_event(_log, "query_dropped", model_id=self._model_id, query_id=taken.question.query_id)
        with self._changed:
            self._say(_Word(taken.entry, taken.question))

    def bury(self, entry: bytes, reason: str, question: Question | None = None) -> None:
        """It is a dead letter; whoever asked the `question` in it, if there is one, hears that it is no good."""
        log_event(_log, "query_buried", logging.WARNING, model_id=self._model_id, reason=reason)
        with self._changed:
            self._say(_Word(entry, question, b"format.query", reason=reason))

    def _say(self, word: _Word) -> None:
        self._words.append(word)
        self._changed.notify_all()

    def _room(self) -> int:
        return self._limit - len(self._under_way) - len(self._words)

    def _run(self) -> None:
        while (words := self._await_words()) is not None:
            try:
                if words:
                    self._write(words)
            except OutOfMemoryError:
                self._make_room(words)
            except RedisError:
                log_event(_log, "cache_unreachable", logging.WARNING, model_id=self._model_id)
                with self._changed:
                    self._words[:0] = () if self._stopping else words
                time.sleep(_RETRY_SECONDS)

    def _await_words(self) -> list[_Word] | None:
        """What is to be written, which may be nothing yet; None at the end."""
        with self._changed:
            self._drop_overdue()
            if not self._words:
                if self._stopping and not self._under_way:
                    return None
                self._changed.wait(_LOOK_SECONDS)
            words, self._words = self._words, []
            self._changed.notify_all()
            return words

    def _drop_overdue(self) -> None:
        now = time.time()
        for taken in [one for one in self._under_way.values() if one.question.until <= now]:
            del self._under_way[taken.entry]
            self.forget(taken)

    def _write(self, words: list[_Word]) -> None:
        arguments: list[Any] = [GROUP, ANSWERS_EXPIRE_SECONDS, DEAD_LETTERS_KEPT]
        streams: dict[str, int] = {}
        for word in words:
            question_id, place = "", 0
            if word.question is not None and word.status:
                question_id = word.question.query_id
                place = streams.setdefault(word.question.to, len(streams) + 1)
            ((name, value),) = self._carried(word.question, word.body).items()
            kept = room_for(len(word.body), ANSWERS_KEPT)
            arguments += (word.entry, place, question_id, word.status, name, value, kept, word.reason or "")
        self._script(keys=[self._stream, DEAD_LETTERS, *streams], args=arguments)
        for word in words:
            if self._slots is not None and word.question is not None:
                self._slots.free(word.question.slot)

    def _make_room(self, words: list[_Word]) -> None:
        """Redis takes nothing, so it would never have room again: the questions go, and who asks again is answered
        from the enclave's memory.
        """
        log_event(_log, "cache_full", logging.WARNING, model_id=self._model_id, count=len(words))
        with contextlib.suppress(RedisError):
            self._write([_Word(word.entry, word.question) for word in words])

    def _carried(self, question: Question | None, body: bytes) -> dict[Any, Any]:
        """A large answer goes through Redis after all where there is no slot for it: it is not lost."""
        slot = None
        if self._slots is not None and question is not None and len(body) > INLINE_BYTES:
            with contextlib.suppress(UnavailableError):
                slot = self._slots.put(question.query_id, "a", body)
        return carried(body, slot)
