"""Every message that RabbitMQ is given, while the tap is open: its firehose (side: host).

RabbitMQ itself republishes each message of the virtual host, from every exchange (Celery's, the frames', the events',
the default one with its order queue and replies), to `amq.rabbitmq.trace` (rabbitmq.com/docs/firehose).
"""

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pika

from deploy.embedded.rabbitmq import VIRTUAL_HOST
from deploy.embedded.specification import base_environment
from deploy.embedded.stack import EmbeddedStack
from tests.e2e.raw_bytes import flat

TRACE: Final = "amq.rabbitmq.trace"
_CONTROL: Final = Path("/usr/lib/rabbitmq/bin/rabbitmqctl")
"""Debian's wrapper in /usr/sbin refuses ordinary users."""


@dataclass(frozen=True)
class Message:
    """A published message: exchange, routing key, all of its properties, and its body."""

    exchange: str
    key: str
    properties: bytes
    body: bytes


class MessageTap:
    """Collects messages on a thread of its own, in the order in which RabbitMQ took them."""

    def __init__(self, stack: EmbeddedStack) -> None:
        self._stack = stack
        self._messages: list[Message] = []
        self._stopped = threading.Event()
        self._connection = pika.BlockingConnection(pika.URLParameters(stack.amqp_url))
        self._channel = self._connection.channel()
        queue = self._channel.queue_declare("", exclusive=True).method.queue
        self._channel.queue_bind(queue, TRACE, "publish.#")
        self._channel.basic_consume(queue, self._take, auto_ack=True)
        self._thread = threading.Thread(target=self._run, name="message-tap", daemon=True)

    @classmethod
    @contextlib.contextmanager
    def open(cls, stack: EmbeddedStack) -> Iterator["MessageTap"]:
        """Tap from now on, until the end of the block."""
        tap = cls(stack)
        tap._control("trace_on")
        tap._thread.start()
        try:
            yield tap
        finally:
            tap._control("trace_off")
            tap._stopped.set()
            tap._thread.join()

    def messages(self, key: str | None = None) -> list[Message]:
        """What was published so far, to any routing key or to one."""
        return [message for message in list(self._messages) if key in (None, message.key)]

    def _control(self, command: str) -> None:
        state = self._stack.state
        environment = base_environment(state.folder("rabbitmq")) | {
            "RABBITMQ_NODENAME": "node@localhost",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "ERL_EPMD_PORT": str(state.port("epmd")),
        }
        subprocess.run(
            [_CONTROL, "--quiet", command, "-p", VIRTUAL_HOST], env=environment, check=True, stdout=subprocess.DEVNULL
        )

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._connection.process_data_events(time_limit=0.2)
        self._connection.close()

    def _take(self, _channel: object, _method: object, properties: Any, body: bytes) -> None:
        headers = properties.headers
        key = "".join(headers["routing_keys"][:1])
        self._messages.append(Message(headers["exchange_name"], key, flat(headers), body))
