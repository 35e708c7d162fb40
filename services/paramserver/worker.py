"""The parameter server's worker: Celery tasks claim jobs for the one enclave behind it (side: host).

`python -m services.paramserver.worker --settings PATH`. The task `paramserver.open(job_id)` claims the job's seat on
the board, opens the job in the enclave and is done; the slot keeper renews the lease while the job lives there. SIGTERM
ends worker and enclave; the enclave also ends when the worker is killed.
"""

import argparse
import logging
from pathlib import Path

from celery import Celery

from common.errors import CloisterError
from common.event_log import configure_host_logging, log_event
from common.identifiers import JobId
from common.untrusted.database import Database
from common.untrusted.health import HealthServer, Readiness
from common.untrusted.job_board import JobBoard
from common.untrusted.slot_board import PARAMSERVER, Slot
from common.untrusted.slot_keeper import SlotKeeper
from common.untrusted.task_queue import PARAMSERVER_OPEN, PARAMSERVER_QUEUE, make_task_queue, serve_tasks
from services.paramserver.relay import ParamserverRelay
from services.paramserver.settings import ParamserverSettings

_log = logging.getLogger("paramserver.worker")


def build(settings: ParamserverSettings, relay: ParamserverRelay, keeper: SlotKeeper) -> Celery:
    """The Celery application with this worker's task."""
    app = make_task_queue(settings.amqp_url)

    def open_job(job_id: str) -> None:
        job = JobId(job_id)
        try:
            keeper.take(Slot(job, PARAMSERVER, 0), lambda: relay.open(job))
        except (CloisterError, OSError, TimeoutError) as error:  # the scheduler sends another task
            log_event(_log, "open_failed", logging.WARNING, job_id=job, reason=type(error).__name__)

    app.task(open_job, name=PARAMSERVER_OPEN)
    return app


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m services.paramserver.worker")
    parser.add_argument("--settings", type=Path, required=True)
    path = parser.parse_args().settings
    configure_host_logging("paramserver")
    settings = ParamserverSettings.read(path)
    database, broker = Database(settings.database_url), settings.broker()
    board = JobBoard(database)
    relay = ParamserverRelay(settings, board)
    keeper = SlotKeeper(board.slots, settings.worker_name, PARAMSERVER, settings.capacity)
    checks = {"registry": database.is_alive, "rabbitmq": relay.is_connected, "attestation": broker.is_ready,
              "enclave": relay.is_alive, "slots": lambda: keeper.alive}  # fmt: skip
    health = HealthServer(
        settings.listen_port,
        Readiness(checks),
        host=settings.listen_host,
        carried=relay.carried,
        sources={"slots": keeper.metrics},
        token=settings.metrics_token,
    )
    relay.start()
    keeper.start()
    try:
        serve_tasks(build(settings, relay, keeper), PARAMSERVER_QUEUE, settings.worker_name)
    finally:
        keeper.stop()
        relay.stop()
        health.stop()


if __name__ == "__main__":
    main()
