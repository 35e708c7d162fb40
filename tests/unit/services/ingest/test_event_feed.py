"""Events reach the exchange although the board was away for a moment."""

import threading
from typing import Any

import pytest

from common.errors import UnavailableError
from common.identifiers import JobId, PartyKey
from common.messages.service import JobEvent
from common.untrusted.job_board import JobBoard, NewJob
from common.untrusted.job_results import EventRecord
from services.ingest.event_feed import EventFeed
from tests.fakes.ingest_world import IngestWorld

JOB = JobId("job_" + "1" * 32)


class LockedOnce:
    """A real board whose database is locked at the first look."""

    def __init__(self, board: JobBoard) -> None:
        self._board, self.looks = board, 0

    def unpublished_events(self) -> list[EventRecord]:
        self.looks += 1
        if self.looks == 1:
            raise UnavailableError("unavailable.registry")
        return self._board.unpublished_events()

    def mark_published(self, events: list[EventRecord]) -> None:
        self._board.mark_published(events)


class Exchange:
    """A connection with one channel, as far as the feed uses it; what is published is kept."""

    is_open = True

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes]] = []
        self.ended = threading.Event()

    def channel(self) -> "Exchange":
        return self

    def exchange_declare(self, *_: Any, **__: Any) -> None: ...

    def confirm_delivery(self) -> None: ...

    def basic_publish(self, _exchange: str, key: str, body: bytes, _properties: Any) -> None:
        self.published.append((key, body))

    def sleep(self, _seconds: float) -> None:
        self.ended.set()

    def close(self) -> None: ...


def test_a_board_that_is_locked_once_does_not_end_the_feed(world: IngestWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    board, exchange = world.ingest.board, Exchange()
    board.submit(NewJob(JOB, b"order", [PartyKey("a1" * 32)], 1, 2**40, "simulation"))
    monkeypatch.setattr("pika.BlockingConnection", lambda _parameters: exchange)
    locked: Any = LockedOnce(board)
    feed = EventFeed("amqp://127.0.0.1:1/", locked)
    feed.start()
    assert exchange.ended.wait(10)
    feed.stop()
    assert [(key, JobEvent.decode(body).job_id) for key, body in exchange.published] == [("job.accepted", JOB)]
    assert board.unpublished_events() == []
