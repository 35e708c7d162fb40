"""A thread that keeps one RabbitMQ connection and does its work on it, again and again (side: host).

pika's connection belongs to one thread. When it ends, or the work fails on it (a database that is locked, a full disk),
another is made after a pause that doubles up to a bound; what the work had not acknowledged comes again. `connected` is
what /readyz looks at.
"""

import contextlib
import logging
import threading
import time
from abc import ABC, abstractmethod
from typing import Any, Final

import pika

from common.errors import Refusal
from common.event_log import log_event
from common.untrusted.amqp_address import pika_parameters

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 2.0
"""Work that went on for longer begins anew after the first pause."""

LOOK_SECONDS: Final = 0.1
"""How soon work notices that it was stopped."""

_log = logging.getLogger("queue")


class AmqpLoop(ABC):
    """Subclasses say what happens on a connection; `self.stopped` ends them."""

    def __init__(self, amqp_url: str, name: str) -> None:
        self._parameters = pika_parameters(amqp_url)
        self._name = name
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.stopped, self.connected = threading.Event(), threading.Event()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, seconds: float = 10.0) -> None:
        """End, and wait for it. Several are told by `stopped` first, so that they end at the same time."""
        self.stopped.set()
        self._thread.join(seconds)

    @abstractmethod
    def serve(self, connection: Any) -> None:
        """Work on a fresh connection until `stopped`; must let the connection breathe at least every few seconds.

        Call `ready` when all is declared. Whatever it raises, a new connection follows.
        """

    def ready(self) -> None:
        """All is declared."""
        self.connected.set()
        log_event(_log, "queue_connected", queue=self._name)

    def pause(self, connection: Any, seconds: float) -> None:
        """Let the connection breathe for so long, or until stopped."""
        until = time.monotonic() + seconds
        while not self.stopped.is_set() and (left := until - time.monotonic()) > 0:
            connection.sleep(min(left, LOOK_SECONDS))

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self.stopped.is_set():
            connection, began = None, time.monotonic()
            try:
                connection = pika.BlockingConnection(self._parameters)
                self.serve(connection)
            except Exception as error:  # whatever one connection ran into, the next one is due
                went_on = time.monotonic() - began > LONGEST_PAUSE_SECONDS
                pause = FIRST_PAUSE_SECONDS if went_on else min(2 * pause, LONGEST_PAUSE_SECONDS)
                self._log_loss(error, pause)
            finally:
                self.connected.clear()
                with contextlib.suppress(Exception):  # it is given up one way or the other
                    if connection is not None and connection.is_open:
                        connection.close()
            self.stopped.wait(pause)

    def _log_loss(self, error: Exception, pause: float) -> None:
        code = error.code if isinstance(error, Refusal) else None
        reason = type(error).__name__
        log_event(_log, "queue_lost", logging.WARNING, queue=self._name, reason=reason, code=code, seconds=pause)
