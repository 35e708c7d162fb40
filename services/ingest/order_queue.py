"""Orders straight from RabbitMQ (side: host).

    cloister.orders          durable; body: an encoded Signed order; `reply_to` and `correlation_id` as anywhere
    cloister.orders.refused  durable, bounded; what was refused, with the public code in the header `code`

An order is acknowledged when it stands on the job board, or when its refusal is in the refused queue, not before; then
its sender is answered: an OrderReceipt or a RefusalBody. An answer may get lost; the same order again gets it again.
While something that an order needs is away, the order waits here and the queue behind it.
"""

import contextlib
import logging
import re
from typing import Any, Final

import pika
from pika.exceptions import AMQPError

from common.errors import Refusal, UnavailableError
from common.event_log import log_event
from common.messages.service import OrderReceipt, RefusalBody
from common.untrusted.amqp_loop import LOOK_SECONDS, AmqpLoop
from services.ingest.queue_depths import QueueDepths
from services.ingest.submission import Submission

ORDERS: Final = "cloister.orders"
REFUSED: Final = "cloister.orders.refused"

REFUSED_KEPT: Final = 10_000
REFUSED_MILLISECONDS: Final = 7 * 86_400_000

_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 10.0
_REPLY_QUEUES = re.compile(r"(amq\.rabbitmq\.reply-to\.|amq\.gen-|cloister\.replies\.)[\x21-\x7e]{1,200}")
"""Answers go to a sender's own queue, never into one of ours."""

_PERSISTENT: Final = 2

_log = logging.getLogger("ingest")


class OrderQueue(AmqpLoop):
    """Consumes orders, one at a time."""

    def __init__(self, amqp_url: str, submission: Submission) -> None:
        super().__init__(amqp_url, ORDERS)
        self._submission = submission
        self.depths = QueueDepths(ORDERS, REFUSED)

    def serve(self, connection: Any) -> None:
        """Declare, then take orders until stopped."""
        channel = connection.channel()
        channel.queue_declare(ORDERS, durable=True)
        bounds = {"x-max-length": REFUSED_KEPT, "x-message-ttl": REFUSED_MILLISECONDS}
        channel.queue_declare(REFUSED, durable=True, arguments=bounds)
        channel.confirm_delivery()
        channel.basic_qos(prefetch_count=1)
        self.ready()
        self.depths.forget()
        for method, properties, body in channel.consume(ORDERS, inactivity_timeout=LOOK_SECONDS):
            if self.stopped.is_set():
                return
            self.depths.look(connection)
            if method is None:
                continue
            answer = self._judge(connection, channel, body)
            if answer is None:
                return
            channel.basic_ack(method.delivery_tag)
            _reply(connection, properties, answer)

    def _judge(self, connection: Any, channel: Any, body: bytes) -> bytes | None:
        """The answer to an order, which is durably on the board or among the refused; None: stopped while waiting."""
        pause = _FIRST_PAUSE_SECONDS
        while not self.stopped.is_set():
            try:
                return OrderReceipt(job_id=self._submission.submit(body)).encode()
            except UnavailableError as error:
                log_event(_log, "order_waits", logging.WARNING, code=error.code, seconds=pause)
                self.pause(connection, pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            except Refusal as refusal:
                log_event(_log, "order_refused", code=refusal.code, queue=ORDERS)
                properties = pika.BasicProperties(delivery_mode=_PERSISTENT, headers={"code": refusal.code})
                channel.basic_publish("", REFUSED, body, properties, mandatory=True)
                return RefusalBody.of(refusal).encode()
        return None


def _reply(connection: Any, asked: Any, answer: bytes) -> None:
    """Best effort, on a channel of its own: a sender that is gone must not disturb the queue."""
    if asked.reply_to is None or _REPLY_QUEUES.fullmatch(asked.reply_to) is None:
        return
    properties = pika.BasicProperties(correlation_id=asked.correlation_id, content_type="application/json")
    with contextlib.suppress(AMQPError):
        channel = connection.channel()
        channel.basic_publish("", asked.reply_to, answer, properties)
        channel.close()
