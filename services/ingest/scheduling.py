"""The scheduler: from the job board to tasks in RabbitMQ (side: host).

One step: (1) requeue slots whose lease lapsed, fail orders whose time is over; (2) reserve accepted jobs, all their
slots or none; (3) send a task for each slot that waits; (4) tell the query workers of new models. The board is the
truth: while RabbitMQ is away tasks are not marked as sent, and one that got lost is sent again.
"""

import logging
import threading
from typing import Final

from common.errors import UnavailableError
from common.event_log import log_event
from common.untrusted.job_board import JobBoard
from common.untrusted.slot_board import PARAMSERVER, Slot
from common.untrusted.task_queue import TaskSender
from services.ingest.intake import Intake

STEP_SECONDS: Final = 0.5
RESEND_SECONDS: Final = 10.0
"""A slot that nobody claimed within this time is asked for again."""

_CLEANING_SECONDS: Final = 3600.0

_log = logging.getLogger("ingest")


class Scheduler:
    """Runs steps on its thread, every `STEP_SECONDS` or when woken."""

    def __init__(self, board: JobBoard, tasks: TaskSender, intake: Intake) -> None:
        self._board, self._tasks, self._intake = board, tasks, intake
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._until_cleaning = 0.0
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self.queue_reached = True

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, seconds: float = 10.0) -> None:
        """End, and wait for it."""
        self._stopped.set()
        self._wake.set()
        self._thread.join(seconds)

    def wake(self) -> None:
        """Something is on the board."""
        self._wake.set()

    def step(self) -> None:
        """One step. Raises `UnavailableError` of database or queue; the next step goes on where it stopped."""
        for slot in self._board.slots.reap():  # (1)
            log_event(_log, "lease_lapsed", job_id=slot.job_id, role=slot.role, slot=slot.slot)
        for job_id in self._board.slots.reserve():  # (2)
            log_event(_log, "job_reserved", job_id=job_id)
        for slot in self._board.slots.due(resend_seconds=RESEND_SECONDS):  # (3)
            self._send(slot)
            self._board.slots.mark_sent(slot)
        for model_id in self._board.unannounced_models():  # (4)
            self._tasks.place_model(model_id)
            self._board.mark_announced(model_id)
        self.queue_reached = True

    def _send(self, slot: Slot) -> None:
        if slot.role == PARAMSERVER:
            self._tasks.open_paramserver(slot.job_id)
        else:
            self._tasks.launch_trainer(slot.job_id, slot.slot)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.step()
                self._clean()
            except UnavailableError as error:
                if self.queue_reached:
                    log_event(_log, "scheduling_waits", logging.WARNING, code=error.code)
                self.queue_reached = error.code != "unavailable.queue"
            except Exception as error:  # whatever one step ran into, the next one is due
                log_event(_log, "scheduling_failed", logging.ERROR, reason=type(error).__name__)
            self._wake.wait(STEP_SECONDS)
            self._wake.clear()

    def _clean(self) -> None:
        self._until_cleaning -= STEP_SECONDS
        if self._until_cleaning <= 0:
            self._until_cleaning = _CLEANING_SECONDS
            count = self._intake.abandon_stale()
            if count:
                log_event(_log, "uploads_abandoned", count=count)
