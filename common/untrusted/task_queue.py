"""Celery, configured once for everybody (side: host; it carries identifiers only).

A task is short: it starts or claims something and is acknowledged. The job board is the truth; a lost message is sent
again by ingest's scheduler, a doubled one finds its slot claimed. Hence no result backend, JSON only, late
acknowledgement, one message at a time, and arguments in the body alone: `send` blanks their representation in headers.
"""

import logging
from typing import Any, Final, Protocol

from celery import Celery, signals
from kombu.entity import Exchange, Queue
from kombu.exceptions import OperationalError

from common.errors import UnavailableError
from common.identifiers import JobId, ModelId
from common.untrusted.amqp_address import celery_settings

TRAINER_QUEUE: Final = "trainer"
PARAMSERVER_QUEUE: Final = "paramserver"
QUERY_QUEUE: Final = "query"

TRAINER_LAUNCH: Final = "trainer.launch"
PARAMSERVER_OPEN: Final = "paramserver.open"
QUERY_PLACE: Final = "query.place"

_CONNECT_SECONDS: Final = 3
_HIDDEN: Final = "(identifiers)"

_HEARTBEAT_SECONDS: Final = 60
"""A task may block its worker's connection for less than twice as long. kombu's loop sleeps until its next timer, at
most 10 s, although acknowledgements may have become due in the same turn; a check every second bounds that.
"""

_EXPIRE_SECONDS: Final = 60
"""A task that nobody took for so long is dropped: the scheduler has sent others since."""


class TaskSender(Protocol):
    """What sends tasks; the scheduler knows no more of Celery."""

    def launch_trainer(self, job_id: JobId, slot: int) -> None:
        """Ask a trainer worker to claim this slot. Raises `UnavailableError` (unavailable.queue)."""

    def open_paramserver(self, job_id: JobId) -> None:
        """Ask a parameter server worker to claim this job."""

    def place_model(self, model_id: ModelId) -> None:
        """Tell the query workers of a model."""


def make_task_queue(amqp_url: str) -> Celery:
    """The application for workers (`@app.task(name=TRAINER_LAUNCH)`) and senders. Connects on first use."""
    app = Celery("cloister", set_as_current=False)
    app.conf.update(
        celery_settings(amqp_url),
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_acks_on_failure_or_timeout=True,  # a task that raised is not poison: the scheduler sends another
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        task_send_sent_event=False,
        task_queues=[_queue(name) for name in (TRAINER_QUEUE, PARAMSERVER_QUEUE, QUERY_QUEUE)],
        task_default_queue=QUERY_QUEUE,
        task_default_delivery_mode="persistent",
        broker_transport_options={"confirm_publish": True, "connect_timeout": _CONNECT_SECONDS},
        broker_connection_timeout=_CONNECT_SECONDS,
        broker_heartbeat=_HEARTBEAT_SECONDS,
        broker_heartbeat_checkrate=_HEARTBEAT_SECONDS,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_publish_retry=False,
    )
    return app


def _queue(name: str) -> Queue:
    exchange = Exchange("cloister.tasks", "direct", durable=True)  # type: ignore[no-untyped-call]
    return Queue(name, exchange, name, durable=True)  # type: ignore[no-untyped-call]


def _leave_logging_alone(**_told: Any) -> None:
    """Celery sets no level or handler where this signal has a receiver: the process's own events keep theirs."""


def serve_tasks(app: Celery, queue: str, name: str) -> None:
    """Run tasks of one queue on the calling thread, one after the other, until the process is told to end.

    The pool is `solo`: what a task starts (a relay's launcher dies with its thread) lives as long as this thread.
    """
    logging.captureWarnings(capture=True)  # what Celery has to say goes the way of all logs
    signals.setup_logging.connect(_leave_logging_alone)
    app.Worker(
        queues=[queue],
        hostname=f"{name}@cloister",
        pool="solo",
        concurrency=1,
        loglevel="WARNING",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
        optimization="fair",
    ).start()


class CeleryTaskSender:
    """Sends tasks to RabbitMQ, persistently and confirmed."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def launch_trainer(self, job_id: JobId, slot: int) -> None:
        """`trainer.launch(job_id, slot)`."""
        self._send(TRAINER_LAUNCH, TRAINER_QUEUE, job_id, slot)

    def open_paramserver(self, job_id: JobId) -> None:
        """`paramserver.open(job_id)`."""
        self._send(PARAMSERVER_OPEN, PARAMSERVER_QUEUE, job_id)

    def place_model(self, model_id: ModelId) -> None:
        """`query.place(model_id)`."""
        self._send(QUERY_PLACE, QUERY_QUEUE, model_id)

    def _send(self, name: str, queue: str, *args: Any) -> None:
        try:
            self._app.send_task(
                name,
                args=args,
                queue=queue,
                argsrepr=_HIDDEN,
                kwargsrepr=_HIDDEN,
                ignore_result=True,
                expires=_EXPIRE_SECONDS,
            )
        except (OperationalError, OSError) as cause:
            raise UnavailableError("unavailable.queue") from cause
