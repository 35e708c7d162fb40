"""The scheduler: the board is the truth, a task that could not be sent is sent later."""

import threading

import pytest

from common.errors import UnavailableError
from common.identifiers import JobId, ModelId
from common.messages.service import OrderReceipt
from common.untrusted.slot_board import PARAMSERVER, TRAINER
from services.ingest.scheduling import Scheduler
from tests.fakes.broker_world import Party
from tests.fakes.ingest_world import IngestWorld, register_bundle, register_dataset, signed_order


class RecordingQueue:
    """A task queue that may be down."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, ...]] = []
        self.down = False

    def _take(self, *task: str) -> None:
        if self.down:
            raise UnavailableError("unavailable.queue")
        self.sent.append(task)

    def launch_trainer(self, job_id: JobId, slot: int) -> None:
        self._take("trainer", job_id, str(slot))

    def open_paramserver(self, job_id: JobId) -> None:
        self._take("paramserver", job_id)

    def place_model(self, model_id: ModelId) -> None:
        self._take("query", model_id)


def test_tasks_are_sent_once_the_queue_is_there_and_models_announced(world: IngestWorld) -> None:
    owner, provider = Party(), world.broker.provider
    client = world.client(owner)
    bundle = register_bundle(world.broker, world.client(provider), provider)
    data = register_dataset(world.broker, client, owner)
    job_id = OrderReceipt.decode(client.submit(signed_order(world.broker, data, bundle)).content).job_id
    board, queue = world.ingest.board, RecordingQueue()
    scheduler = Scheduler(board, queue, world.ingest.intake)
    scheduler.step()
    assert (queue.sent, board.state(job_id)) == ([], "accepted")  # no workers yet
    board.slots.heartbeat("t", TRAINER, 2)
    board.slots.heartbeat("p", PARAMSERVER, 1)
    queue.down = True
    for _ in range(2):
        try:
            scheduler.step()
        except UnavailableError:
            assert board.state(job_id) == "reserved"
    assert queue.sent == []
    queue.down = False
    for _ in range(2):  # nothing is sent twice at once
        scheduler.step()
    assert sorted(queue.sent) == [("paramserver", job_id), ("trainer", job_id, "0"), ("trainer", job_id, "1")]
    model_id = ModelId("model_" + job_id[4:])
    board.finish(job_id, "finished", model=(model_id, b"{}", data.manifest.digest))
    for _ in range(2):
        scheduler.step()
    assert queue.sent[3:] == [("query", model_id)]


def test_a_step_that_fails_is_not_the_last(world: IngestWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = Scheduler(world.ingest.board, RecordingQueue(), world.ingest.intake)
    full_disk, cleaned = iter([OSError("disk full")]), threading.Event()

    def clean_up() -> int:
        for failure in full_disk:
            raise failure
        cleaned.set()
        return 0

    monkeypatch.setattr("services.ingest.scheduling._CLEANING_SECONDS", 0.0)
    monkeypatch.setattr(world.ingest.intake, "abandon_stale", clean_up)
    scheduler.start()
    try:
        assert cleaned.wait(10)
    finally:
        scheduler.stop()
