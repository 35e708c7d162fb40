"""How many messages wait in RabbitMQ's queues, asked on a connection that is there anyway (side: host)."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Final

from pika.exceptions import AMQPChannelError
from prometheus_client.metrics_core import Metric

from common.untrusted.metrics import gauge
from common.untrusted.task_queue import PARAMSERVER_QUEUE, QUERY_QUEUE, TRAINER_QUEUE

LOOK_SECONDS: Final = 5.0


class QueueDepths:
    """Of the orders' queue and of the tasks'. `look` on the connection's thread, `metrics` on any."""

    def __init__(self, *more: str) -> None:
        self._names = (TRAINER_QUEUE, PARAMSERVER_QUEUE, QUERY_QUEUE, *more)
        self._depths: dict[str, float] = {}
        self._look_at = 0.0

    def look(self, connection: Any) -> None:
        """Ask, unless that was a moment ago. A queue that nobody has declared yet has no depth."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_SECONDS
        found: dict[str, float] = {}
        for name in self._names:
            with contextlib.suppress(AMQPChannelError):  # it closes the channel that asked
                channel = connection.channel()
                found[name] = float(channel.queue_declare(name, passive=True).method.message_count)
                channel.close()
        self._depths = found

    def forget(self) -> None:
        """The connection is gone: nothing is known."""
        self._depths, self._look_at = {}, 0.0

    def metrics(self) -> Iterator[Metric]:
        """The depths."""
        yield gauge("cloister_queue_depth", "Messages that wait in a queue of RabbitMQ.", "queue", dict(self._depths))
