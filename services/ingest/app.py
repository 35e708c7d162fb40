"""Entry point of the ingest service: `python -m services.ingest.app --settings PATH` (side: host)."""

import argparse
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI

from common.crypto.key_file import Identity
from common.crypto.signing import SigningKey
from common.event_log import configure_host_logging
from common.untrusted.blobs import BlobStore
from common.untrusted.board_metrics import BoardMetrics
from common.untrusted.broker_client import BrokerClient, BrokerRoute
from common.untrusted.database import Database
from common.untrusted.enrolment import Enrolments
from common.untrusted.health import Readiness
from common.untrusted.http_description import Service
from common.untrusted.http_health import count_bodies, health_router
from common.untrusted.http_identity import RequestGate
from common.untrusted.http_server import serve
from common.untrusted.job_board import JobBoard
from common.untrusted.machines import Machines
from common.untrusted.metrics import Source
from common.untrusted.publications import Publications
from common.untrusted.registry import Registry
from common.untrusted.task_queue import CeleryTaskSender, make_task_queue
from services.ingest.event_feed import EventFeed
from services.ingest.intake import Intake
from services.ingest.job_desk import JobDesk
from services.ingest.order_queue import OrderQueue
from services.ingest.publishing import Publishing
from services.ingest.routes import Desks, all_routes
from services.ingest.scheduling import Scheduler
from services.ingest.settings import IngestSettings
from services.ingest.submission import Submission


@dataclass(frozen=True)
class Ingest:
    """The assembled service."""

    app: Service
    board: JobBoard
    registry: Registry
    store: BlobStore
    intake: Intake


def build(settings: IngestSettings, *, broker: BrokerRoute | None = None) -> Ingest:
    """Assemble the service. Its threads run while the application does. `broker`: another way to the key broker."""
    database = Database(settings.database_url)
    registry, publications, board = Registry(database), Publications(database), JobBoard(database)
    store = BlobStore(settings.object_directory)
    broker = broker or BrokerClient(settings.attestation_url, _signing_key(settings.operator_identity))
    intake = Intake(registry, publications, board, store)
    scheduler = Scheduler(board, CeleryTaskSender(make_task_queue(settings.amqp_url)), intake)
    submission = Submission(registry, board, broker, on_accepted=scheduler.wake)
    orders, feed = OrderQueue(settings.amqp_url, submission), EventFeed(settings.amqp_url, board)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        threads = (scheduler, orders, feed)
        for thread in threads:
            thread.start()
        yield
        for loop in (orders, feed):
            loop.stopped.set()
        for thread in threads:
            thread.stop()
        broker.close()
        database.close()

    app = Service("cloister ingest", lifespan)
    desks = Desks(
        registry=registry,
        intake=intake,
        publishing=Publishing(registry, Enrolments(database), publications, intake, broker),
        submission=submission,
        jobs=JobDesk(board, publications, Machines(database)),
        open_quota_bytes=settings.default_quota_bytes if settings.open_enrolment else None,
    )
    readiness = Readiness(
        {
            "registry": database.is_alive,
            "rabbitmq": lambda: orders.connected.is_set() and feed.connected.is_set() and scheduler.queue_reached,
            "attestation": broker.is_ready,
        }
    )
    carried = {"ingest": count_bodies(app), "object_store": store.written}
    sources: dict[str, Source] = {"board": BoardMetrics(database), "queues": orders.depths.metrics}
    health = health_router(readiness, carried, sources, token=settings.metrics_token)
    for router in (health, *all_routes(desks, RequestGate(registry))):
        app.include_router(router)
    return Ingest(app, board, registry, store, intake)


def _signing_key(path: Path | None) -> SigningKey | None:
    return None if path is None else Identity.read(path).signing_key


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(prog="services.ingest.app")
    parser.add_argument("--settings", type=Path, required=True)
    settings = IngestSettings.read(parser.parse_args().settings)
    os.umask(0o077)
    configure_host_logging("ingest")
    serve(build(settings).app, settings.listen_host, settings.listen_port)


if __name__ == "__main__":
    main()
