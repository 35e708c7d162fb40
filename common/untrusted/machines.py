"""How fast the trainers' machines are, for whoever sizes an order (side: host; public, and only the operator's word).

A worker measures once, when it starts (common/reference_step): a figure that followed the load would tell everybody
what the jobs on that machine do. Beside the workers' table, so that a registry of an earlier
build goes on.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import insert, select, update

from common.errors import Refusal
from common.event_log import log_event
from common.messages.service import TrainerMachine
from common.reference_step import reference_microseconds
from common.untrusted.database import Database
from common.untrusted.slot_board import LIVE_SECONDS, TRAINER
from common.untrusted.tables import machines, workers

_log = logging.getLogger("machines")

MOST_LISTED: Final = 1024


class Machines:
    """What trainer workers said of their machines."""

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        self._database, self._now = database, now

    def tell(self, worker: str, cores: int, microseconds: int) -> None:
        """Keep a worker's figures, in place of older ones."""
        values = {"cores": cores, "reference_microseconds": microseconds}
        with self._database.writing() as connection:
            if not connection.execute(update(machines).where(machines.c.worker == worker).values(**values)).rowcount:
                connection.execute(insert(machines).values(worker=worker, **values))

    def live(self) -> list[TrainerMachine]:
        """The machines of trainer workers that were heard of lately."""
        live = (workers.c.role == TRAINER, workers.c.seen_at > self._now() - LIVE_SECONDS)
        query = select(workers.c.capacity, machines).join(machines, machines.c.worker == workers.c.worker).where(*live)
        with self._database.reading() as connection:
            return [
                TrainerMachine(slots=row.capacity, cores=row.cores, reference_microseconds=row.reference_microseconds)
                for row in connection.execute(query.order_by(workers.c.worker).limit(MOST_LISTED))
            ]


def measure_machine(known: Machines, worker: str) -> threading.Thread:
    """Measure this machine on a thread, and tell it. A machine that can't be measured is left out."""

    def measure() -> None:
        microseconds, cores = reference_microseconds(), len(os.sched_getaffinity(0))
        try:
            if microseconds is not None:
                known.tell(worker, cores, microseconds)
        except Refusal as refusal:
            log_event(_log, "board_unavailable", logging.WARNING, code=refusal.code)

    thread = threading.Thread(target=measure, name="measure-machine", daemon=True)
    thread.start()
    return thread
