"""RabbitMQ is stopped in the middle of a job: no frame and no task passes for so long (side: owner).

SIGSTOP keeps its connections open and silent, as a network does that drops all packets: nobody is told.
"""

import contextlib
import os
import signal
import threading
from typing import Final

from bench.kill_victims import VICTIMS
from deploy.embedded.stack import EmbeddedStack

PARTITION_SECONDS: Final = 30.0
BEGINS_AT: Final = 0.3
"""Of the schedule: rounds are under way."""


class Partition:
    """One silence of a stack's RabbitMQ, on a thread of its own."""

    def __init__(self, stack: EmbeddedStack, schedule_seconds: float) -> None:
        self._stack, self._moment = stack, BEGINS_AT * schedule_seconds
        self._over = threading.Event()
        self.held_seconds = 0.0
        self._thread = threading.Thread(target=self._run, name="partition", daemon=True)

    def start(self) -> None:
        """The order was accepted now."""
        self._thread.start()

    def finish(self) -> None:
        """The job has ended, which it should not while nothing passes."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        if self._over.wait(self._moment):
            return
        stopped = VICTIMS["rabbitmq"].find(self._stack.status())
        try:
            self._signal(stopped, signal.SIGSTOP)
            if not self._over.wait(PARTITION_SECONDS):
                self.held_seconds = PARTITION_SECONDS
        finally:
            self._signal(stopped, signal.SIGCONT)

    def _signal(self, pids: list[int], number: signal.Signals) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
