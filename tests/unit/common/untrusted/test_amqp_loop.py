"""A loop outlives whatever its work runs into. RabbitMQ is played here; the real one is tests/integration's."""

from collections.abc import Iterator
from typing import Any

import pytest

from common.errors import UnavailableError
from common.untrusted.amqp_loop import AmqpLoop


class Connection:
    """An open connection that can't be closed well."""

    is_open = True

    def close(self) -> None:
        raise RuntimeError("a library's own fault")


class Work(AmqpLoop):
    """Fails as it is told, connection by connection; the one after the last failure goes on until it is stopped."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__("amqp://127.0.0.1:1/", "test")
        self._failures: Iterator[Exception] = iter(failures)
        self.served = 0

    def serve(self, _connection: Any) -> None:
        self.served += 1
        self.ready()
        for failure in self._failures:
            raise failure
        self.stopped.set()


def test_whatever_fails_is_tried_again_after_a_pause_that_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    work = Work(UnavailableError("unavailable.registry"), OSError("disk full"), ValueError("unforeseen"))
    monkeypatch.setattr("pika.BlockingConnection", lambda _parameters: Connection())
    monkeypatch.setattr(work.stopped, "wait", pauses.append)
    work.start()
    work._thread.join(10)
    assert work.served == 4
    assert pauses[:3] == [0.4, 0.8, 1.6]
    assert not work.connected.is_set()
