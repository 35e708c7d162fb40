"""The trainer worker: Celery tasks claim slots, each slot gets a relay process (side: host).

`python -m services.trainer_enclave.worker --settings PATH`. The task `trainer.launch(job_id, slot)` claims the slot on
the board, starts its relay and is done; the slot keeper renews the lease while the relay lives. Tasks run on the main
thread (solo pool). SIGTERM ends the worker and all relays; a relay also ends when the worker is killed.
"""

import argparse
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from celery import Celery

from common.errors import CloisterError
from common.event_log import configure_host_logging, log_event
from common.identifiers import JobId
from common.untrusted.database import Database
from common.untrusted.enclave_probe import EnclaveProbe
from common.untrusted.health import HealthServer, Readiness
from common.untrusted.job_board import JobBoard
from common.untrusted.machines import Machines, measure_machine
from common.untrusted.slot_board import TRAINER, Slot
from common.untrusted.slot_keeper import SlotKeeper
from common.untrusted.task_queue import TRAINER_LAUNCH, TRAINER_QUEUE, make_task_queue, serve_tasks
from services.trainer_enclave.settings import TrainerSettings

_log = logging.getLogger("trainer.worker")

_STOP_SECONDS: Final = 8.0


class RelayProcess:
    """One relay, as the slot keeper sees it."""

    def __init__(self, settings: Path, slot: Slot) -> None:
        command = [sys.executable, "-P", "-m", "services.trainer_enclave.relay", "--settings", str(settings.resolve()),
                   "--job", slot.job_id, "--slot", str(slot.slot), "--parent", str(os.getpid())]  # fmt: skip
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def ended(self) -> bool:
        """Whether the process is gone; it is reaped then."""
        return self._process.poll() is not None

    def crashed(self) -> bool:
        """Whether the slot's work was not done."""
        return self._process.returncode != 0

    def code(self) -> str | None:
        """What the relay wrote last, if it wrote a code."""
        if self._process.stdout is None:
            return None
        return self._process.stdout.read(64).decode("ascii", errors="replace").strip() or None

    def stop(self) -> None:
        """End it; with it end its launcher and its enclave."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def build(settings: TrainerSettings, path: Path, keeper: SlotKeeper) -> Celery:
    """The Celery application with this worker's task."""
    app = make_task_queue(settings.amqp_url)

    def launch(job_id: str, slot: int) -> None:
        seat = Slot(JobId(job_id), TRAINER, int(slot))
        try:
            keeper.take(seat, lambda: RelayProcess(path, seat))
        except (CloisterError, OSError) as error:  # the scheduler sends another task
            log_event(_log, "launch_failed", logging.WARNING, job_id=job_id, slot=slot, reason=type(error).__name__)

    app.task(launch, name=TRAINER_LAUNCH)
    return app


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m services.trainer_enclave.worker")
    parser.add_argument("--settings", type=Path, required=True)
    path = parser.parse_args().settings
    configure_host_logging("trainer")
    settings = TrainerSettings.read(path)
    database, broker = Database(settings.database_url), settings.broker()
    keeper = SlotKeeper(JobBoard(database).slots, settings.worker_name, TRAINER, settings.capacity)
    app = build(settings, path, keeper)
    checks = {"registry": database.is_alive, "rabbitmq": lambda: broker_answers(app), "attestation": broker.is_ready,
              "slots": lambda: keeper.alive}  # fmt: skip
    health = HealthServer(
        settings.listen_port,
        Readiness(checks),
        host=settings.listen_host,
        sources={"slots": keeper.metrics},
        token=settings.metrics_token,
    )
    keeper.start()
    measure_machine(Machines(database), settings.worker_name)
    EnclaveProbe("trainer", settings.launcher).start()  # measurement and bytecode are there when the first job comes
    try:
        serve_tasks(app, TRAINER_QUEUE, settings.worker_name)
    finally:
        keeper.stop()
        health.stop()


def broker_answers(app: Celery) -> bool:
    """Whether RabbitMQ accepts a connection, asked once: kombu would wait two seconds before it asks again."""
    with app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=0)
        return True


if __name__ == "__main__":
    main()
