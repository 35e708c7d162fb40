"""The event feed: public job events on a durable topic exchange, `cloister.events` (side: host).

Routing key `job.<kind>`, body a JobEvent, persistent and confirmed. The board remembers what was published, so nothing
is lost while RabbitMQ is away; after a crash an event may come twice, under the same number.
"""

from typing import Any, Final

import pika

from common.untrusted.amqp_loop import AmqpLoop
from common.untrusted.job_board import JobBoard
from services.ingest.job_desk import event_of

EXCHANGE: Final = "cloister.events"
_LOOK_SECONDS: Final = 0.5
_PERSISTENT: Final = 2


class EventFeed(AmqpLoop):
    """Publishes what the board has not published yet."""

    def __init__(self, amqp_url: str, board: JobBoard) -> None:
        super().__init__(amqp_url, EXCHANGE)
        self._board = board

    def serve(self, connection: Any) -> None:
        """Declare, then look for events until stopped."""
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, "topic", durable=True)
        channel.confirm_delivery()
        self.ready()
        properties = pika.BasicProperties(delivery_mode=_PERSISTENT, content_type="application/json")
        while not self.stopped.is_set():
            events = self._board.unpublished_events()
            for event in events:
                channel.basic_publish(EXCHANGE, f"job.{event.kind}", event_of(event).encode(), properties)
            if events:
                self._board.mark_published(events)
            self.pause(connection, _LOOK_SECONDS)
