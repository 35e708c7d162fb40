"""The query worker: keeps a query enclave for each model of the registry (side: host).

`python -m services.query_enclave.worker --settings PATH`. The Celery task `query.place(model_id)` only makes the
placements look at the registry at once, which they do anyhow: with RabbitMQ down, models are placed a little later.
SIGTERM ends the worker and its enclaves; they also end when it is killed.
"""

import argparse
import functools
import threading
from dataclasses import replace
from pathlib import Path

from celery import Celery

from common.event_log import configure_host_logging
from common.identifiers import JobId, ModelId
from common.memory import keep_freed_memory
from common.untrusted.blobs import BlobStore
from common.untrusted.database import Database
from common.untrusted.enclave_probe import EnclaveProbe
from common.untrusted.health import Check, HealthServer, Readiness
from common.untrusted.job_board import JobBoard
from common.untrusted.relay import common_handlers
from common.untrusted.task_queue import QUERY_PLACE, QUERY_QUEUE, make_task_queue, serve_tasks
from services.query_enclave.backlog import RedisLoad
from services.query_enclave.leases import Leases
from services.query_enclave.placements import Placements
from services.query_enclave.question_reader import connect
from services.query_enclave.relay import QueryRelay, Service
from services.query_enclave.settings import QueryWorkerSettings
from services.query_enclave.sharing import Sharing
from services.query_enclave.spare import SpareEnclave


def build(amqp_url: str, placements: Placements) -> Celery:
    """The Celery application with this worker's task."""
    app = make_task_queue(amqp_url)

    def place(model_id: str) -> None:
        ModelId(model_id)
        placements.nudge()

    app.task(place, name=QUERY_PLACE)
    return app


def served_models(board: JobBoard) -> dict[ModelId, JobId]:
    """Every model of the registry, and the job that made it."""
    return {model.model_id: model.job_id for model in board.models()}


def enclave_checks(probe: EnclaveProbe, placements: Placements) -> dict[str, Check]:
    """Ready means that enclaves can serve here; `confinement` stands apart because the operator must mend it."""

    def can_confine() -> bool:
        return not any(code.startswith("confinement.") for code in (probe.failure or "", *placements.failures.values()))

    return {"enclave": lambda: probe.passed and placements.settled, "confinement": can_confine}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m services.query_enclave.worker")
    parser.add_argument("--settings", type=Path, required=True)
    settings = QueryWorkerSettings.read(parser.parse_args().settings)
    configure_host_logging("query-worker")
    keep_freed_memory()
    database, broker, redis = (Database(settings.database_url), settings.broker(), connect(settings.redis_url))
    board, leases = JobBoard(database), Leases(redis, settings.worker_name)
    handlers = common_handlers(BlobStore(settings.object_directory), broker)
    service = Service(settings.launcher, handlers, redis, settings.worker_name, settings.slots())
    spare = SpareEnclave(service.launch) if settings.spare_enclave else None
    service = replace(service, spare=spare)
    placements = Placements(
        functools.partial(served_models, board),
        functools.partial(QueryRelay.start, service),
        leases,
        capacity=settings.capacity,
        ahead=settings.ahead,
        sharing=Sharing(RedisLoad(redis), leases.withdraw),
        prepare=spare.prepare if spare is not None else lambda: None,
    )
    probe = EnclaveProbe("query", settings.launcher)
    checks = {"registry": database.is_alive, "redis": lambda: bool(redis.ping()), "attestation": broker.is_ready}
    checks |= enclave_checks(probe, placements)
    health = HealthServer(
        settings.listen_port,
        Readiness(checks, notes=lambda: placements.failures),
        host=settings.listen_host,
        sources={"placements": placements.metrics},
        token=settings.metrics_token,
    )
    threads = [threading.Thread(target=one.run, name=type(one).__name__) for one in (leases, placements)]
    for thread in threads:
        thread.start()
    probe.start()
    try:
        serve_tasks(build(settings.amqp_url, placements), QUERY_QUEUE, settings.worker_name)
    finally:
        placements.stop()
        threads[1].join()
        if spare is not None:
            spare.close()
        leases.stop()
        threads[0].join()
        health.stop()


if __name__ == "__main__":
    main()
