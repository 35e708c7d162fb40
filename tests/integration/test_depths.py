"""What waits in a real RabbitMQ and a real Redis, as the metrics tell it."""

import contextlib
import time
from collections.abc import Iterator

import pika
import pytest
from redis import Redis

from common.identifiers import ModelId
from services.ingest import queue_depths
from services.ingest.queue_depths import QueueDepths
from services.query_enclave.backlog import backlogs
from services.query_enclave.question_reader import connect
from services.query_enclave.streams import questions_of
from tests.conftest import Broker

pytestmark = pytest.mark.integration


@pytest.fixture
def redis(redis_server: Broker) -> Iterator[Redis]:
    with contextlib.closing(connect(redis_server.url)) as client:
        yield client


def depths(one: QueueDepths) -> dict[str, float]:
    (family,) = one.metrics()
    return {sample.labels["queue"]: sample.value for sample in family.samples}


def test_messages_are_counted_and_a_queue_that_is_not_there_is_left_out(
    rabbitmq: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_depths, "LOOK_SECONDS", 0.0)
    name, one = f"depth-{time.monotonic_ns()}", QueueDepths("absent-queue")
    watched = QueueDepths(name, "absent-queue")
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(rabbitmq.url))) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(name)
        for _ in range(3):
            channel.basic_publish("", name, b"{}")
        watched.look(connection)
        assert depths(watched)[name] == 3
        assert "absent-queue" not in depths(watched)
        channel.queue_purge(name)
        watched.look(connection)
        assert depths(watched)[name] == 0
        channel.queue_delete(name)
    watched.forget()
    assert depths(watched) == depths(one) == {}


def test_questions_of_models_that_have_a_stream_are_counted(redis: Redis) -> None:
    models = [ModelId(f"model_{number:032x}") for number in (1, 2)]
    try:
        for model in (*models, models[0]):
            redis.xadd(questions_of(model), {"kind": "query"})
        found = backlogs(redis)
        assert [found[model].depth for model in models] == [2, 1]
    finally:
        redis.delete(*map(questions_of, models))
    assert not backlogs(redis).keys() & set(models)
