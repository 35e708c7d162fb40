"""Ingest with a real RabbitMQ: orders from the queue, tasks, events; down at start, lost and back."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest

from common.identifiers import JobId, ModelId
from common.messages.service import JobEvent, JobView, OrderReceipt, RefusalBody
from common.messages.signed import Signed, sign
from common.sealed_object import ObjectKind
from common.untrusted.slot_board import PARAMSERVER, TRAINER, Slot
from deploy.embedded.specification import CODE_ROOT
from services.ingest.event_feed import EXCHANGE
from services.ingest.order_queue import ORDERS, REFUSED
from tests.conftest import Broker
from tests.fakes.broker_world import BrokerWorld, Party
from tests.fakes.ingest_world import sealed_bytes
from tests.integration.ingest_service import IngestService, attestation_service, eventually
from tests.integration.valve import Valve


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> BrokerWorld:
    return BrokerWorld(tmp_path_factory.mktemp("world"))


@pytest.fixture
def attestation_url(tmp_path: Path, world: BrokerWorld) -> Iterator[str]:
    with attestation_service(tmp_path, world) as url:
        yield url


@pytest.fixture
def amqp(rabbitmq: Broker) -> Iterator[Any]:
    """A channel beside the service, on clean queues."""
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.url))
    channel = connection.channel()
    for queue in (ORDERS, REFUSED):
        channel.queue_delete(queue)
    for queue in ("trainer", "paramserver", "query"):
        channel.queue_declare(queue, durable=True)
        channel.queue_purge(queue)
    yield channel
    connection.close()


@pytest.fixture
def service(
    tmp_path: Path, world: BrokerWorld, attestation_url: str, rabbitmq: Broker, amqp: Any
) -> Iterator[IngestService]:
    with IngestService(tmp_path, world, attestation_url, rabbitmq.url).running() as running:
        running.await_ready()
        yield running


def publish(channel: Any, body: bytes, reply_to: str | None = None) -> None:
    channel.confirm_delivery()
    properties = pika.BasicProperties(delivery_mode=2, reply_to=reply_to, correlation_id="order-1")
    channel.basic_publish("", ORDERS, body, properties, mandatory=True)


def answer_of(channel: Any, queue: str) -> tuple[Any, bytes]:
    """The next message of a queue."""
    taken: list[tuple[Any, bytes]] = []

    def take() -> bool:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is not None:
            taken.append((properties, body))
        return bool(taken)

    eventually(take, f"a message in {queue}")
    return taken[0]


def test_an_order_from_the_queue_is_an_order(service: IngestService, amqp: Any) -> None:
    owner, data, bundle = service.parties()
    order = service.order(data, bundle)
    replies = amqp.queue_declare("", exclusive=True).method.queue
    for _ in range(2):  # a second delivery gets the same answer
        publish(amqp, order.encode(), replies)
        properties, body = answer_of(amqp, replies)
        assert properties.correlation_id == "order-1"
        assert OrderReceipt.decode(body).job_id == JobId.of(order.digest)
    assert JobView.decode(service.client(owner).get(f"/v1/jobs/{JobId.of(order.digest)}").content).state == "accepted"
    assert service.client(owner).submit(order).status_code == 200  # nor is it another one over HTTP


def test_direct_reply_to_is_answered_too(service: IngestService, amqp: Any) -> None:
    _, data, bundle = service.parties()
    order, answers = service.order(data, bundle), list[bytes]()
    take = amqp.basic_consume(
        "amq.rabbitmq.reply-to", lambda _channel, _method, _properties, body: answers.append(body), auto_ack=True
    )
    publish(amqp, order.encode(), "amq.rabbitmq.reply-to")
    eventually(lambda: amqp.connection.process_data_events(0.1) or answers, "an answer")
    amqp.basic_cancel(take)
    assert OrderReceipt.decode(answers[0]).job_id == JobId.of(order.digest)


def test_the_submitter_of_the_document_is_answered_as_over_http(
    service: IngestService, amqp: Any, rabbitmq: Broker, tmp_path: Path
) -> None:
    """The ten lines of docs/formats.md, run as they stand."""
    (submitter, *_) = re.findall(r"```python\n(.*?)```", (CODE_ROOT / "docs" / "formats.md").read_text(), re.DOTALL)
    (tmp_path / "submit.py").write_text(submitter)
    (tmp_path / "ingest.json").write_text(json.dumps({"amqp_url": rabbitmq.url}))

    def submit(order: bytes) -> bytes:
        (tmp_path / "order.json").write_bytes(order)
        command = [sys.executable, "submit.py", "ingest.json", "order.json"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, timeout=90).stdout.strip()

    owner, data, bundle = service.parties()
    order, client = service.order(data, bundle), service.client(owner)
    answers = [submit(order.encode()), submit(order.encode()), client.submit(order).content]
    assert [OrderReceipt.decode(one).job_id for one in answers] == [JobId.of(order.digest)] * 3
    assert [one.job_id for one in service.ingest.board.jobs_of(owner.party)] == [JobId.of(order.digest)]
    bad = order.model_copy(update={"signatures": sign(service.world.order(data, bundle), Party().key).signatures})
    assert RefusalBody.decode(submit(bad.encode())) == RefusalBody.decode(client.submit(bad).content)


@pytest.mark.parametrize("kind", ["malformed", "wrong signer", "nothing"])
def test_a_bad_order_is_dead_lettered_with_its_code_and_answered(service: IngestService, amqp: Any, kind: str) -> None:
    _, data, bundle = service.parties()
    good = service.order(data, bundle)
    expected, body = {
        "malformed": ("format.message", good.encode()[:-7]),
        "nothing": ("format.message", b""),
        "wrong signer": ("authenticity.signature", good.model_copy(update={
            "signatures": sign(service.world.order(data, bundle), Party().key).signatures}).encode()),
    }[kind]  # fmt: skip
    replies = amqp.queue_declare("", exclusive=True).method.queue
    publish(amqp, body, replies)
    assert RefusalBody.decode(answer_of(amqp, replies)[1]).code == expected
    properties, refused = answer_of(amqp, REFUSED)
    assert (properties.headers, refused) == ({"code": expected}, body)
    publish(amqp, good.encode(), replies)  # it did not stop the queue
    assert OrderReceipt.decode(answer_of(amqp, replies)[1])


def test_answers_go_to_no_queue_of_ours(service: IngestService, amqp: Any) -> None:
    _, data, bundle = service.parties()
    order = service.order(data, bundle)
    amqp.queue_declare("victim")
    for reply_to in (ORDERS, "trainer", "victim"):
        publish(amqp, order.encode(), reply_to)
    replies = amqp.queue_declare("", exclusive=True).method.queue
    publish(amqp, order.encode(), replies)
    answer_of(amqp, replies)
    assert amqp.queue_declare("victim", passive=True).method.message_count == 0
    amqp.queue_delete("victim")


def test_what_it_sends_are_tasks_without_arguments_in_headers(service: IngestService, amqp: Any) -> None:
    owner, data, bundle = service.parties()
    slots = service.ingest.board.slots
    slots.heartbeat("t", TRAINER, 2)
    slots.heartbeat("p", PARAMSERVER, 1)
    job_id = OrderReceipt.decode(service.client(owner).submit(service.order(data, bundle)).content).job_id
    eventually(lambda: service.ingest.board.state(job_id) == "reserved", "reserved")
    eventually(lambda: not slots.due(resend_seconds=60), "tasks sent")
    sent = []
    for queue, count in (("trainer", 2), ("paramserver", 1)):
        for _ in range(count):
            properties, body = answer_of(amqp, queue)
            assert job_id not in json.dumps(properties.headers, default=str)
            assert properties.delivery_mode == 2
            sent.append((properties.headers["task"], json.loads(body)[0]))
    assert sorted(sent) == [
        ("paramserver.open", [job_id]), ("trainer.launch", [job_id, 0]), ("trainer.launch", [job_id, 1]),
    ]  # fmt: skip


def test_events_and_models_are_announced(service: IngestService, amqp: Any) -> None:
    owner, data, bundle = service.parties()
    queue = amqp.queue_declare("", exclusive=True).method.queue
    amqp.queue_bind(queue, EXCHANGE, "job.*")
    job_id = OrderReceipt.decode(service.client(owner).submit(service.order(data, bundle)).content).job_id
    model_id, root = ModelId("model_" + job_id[4:]), sealed_bytes(ObjectKind.MODEL).root
    service.ingest.board.finish(job_id, "finished", model=(model_id, b"{}", root))
    events = [JobEvent.decode(answer_of(amqp, queue)[1]) for _ in range(3)]
    assert [one.kind for one in events] == ["accepted", "finished", "model_sealed"]
    assert {one.job_id for one in events} == {job_id}
    assert json.loads(answer_of(amqp, "query")[1])[0] == [model_id]


def test_three_jobs_share_two_slots_and_all_finish_in_order(service: IngestService, amqp: Any) -> None:
    owner, data, bundle = service.parties()
    board, client = service.ingest.board, service.client(owner)
    board.slots.heartbeat("t", TRAINER, 2)
    board.slots.heartbeat("p", PARAMSERVER, 4)
    jobs = [OrderReceipt.decode(client.submit(service.order(data, bundle)).content).job_id for _ in range(3)]
    finished = []
    for _ in jobs:
        current = eventually(lambda: [job for job in jobs if board.state(job) == "reserved"], "a reservation")
        assert len(current) == 1
        seats = [Slot(current[0], TRAINER, 0), Slot(current[0], TRAINER, 1), Slot(current[0], PARAMSERVER, 0)]
        assert all(board.slots.claim(seat, "p" if seat.role == PARAMSERVER else "t") for seat in seats)
        board.slots.heartbeat("t", TRAINER, 2)
        board.slots.heartbeat("p", PARAMSERVER, 4)
        board.finish(current[0], "finished")
        finished.append(current[0])
    assert finished == jobs


def test_rabbitmq_down_at_start_and_lost_later_loses_nothing(
    tmp_path: Path, world: BrokerWorld, attestation_url: str, rabbitmq: Broker, amqp: Any
) -> None:
    target = pika.URLParameters(rabbitmq.url)
    valve = Valve(target.host, target.port)
    amqp_url = rabbitmq.url.replace(f":{target.port}/", f":{valve.port}/")
    with IngestService(tmp_path, world, attestation_url, amqp_url).running() as service:
        assert service.waiting_for() == ["rabbitmq"]
        owner, data, bundle = service.parties()
        slots, client = service.ingest.board.slots, service.client(owner)
        slots.heartbeat("t", TRAINER, 4)
        slots.heartbeat("p", PARAMSERVER, 2)
        first = accepted(client.submit(service.order(data, bundle)).content)  # HTTP takes orders meanwhile
        eventually(lambda: service.ingest.board.state(first) == "reserved", "reserved without RabbitMQ")
        assert slots.due(resend_seconds=60)  # and nothing counts as sent
        valve.open()
        service.await_ready()
        assert {json.loads(answer_of(amqp, "trainer")[1])[0][0] for _ in range(2)} == {first}
        valve.shut()
        eventually(lambda: service.waiting_for() == ["rabbitmq"], "noticed")
        waiting = service.order(data, bundle)
        publish(amqp, waiting.encode())  # it waits in the queue
        third = accepted(client.submit(service.order(data, bundle)).content)
        valve.open()
        service.await_ready()
        second = JobId.of(waiting.digest)
        eventually(lambda: {second, third} <= {one.job_id for one in service.ingest.board.jobs_of(owner.party)}, "both")
    valve.shut()


def accepted(raw: bytes) -> JobId:
    return OrderReceipt.decode(raw).job_id


def test_an_order_waits_in_the_queue_until_the_broker_is_there(
    tmp_path: Path, world: BrokerWorld, rabbitmq: Broker, amqp: Any
) -> None:
    with attestation_service(tmp_path, world) as url:
        service = IngestService(tmp_path, world, url, rabbitmq.url)
        with service.running():
            service.await_ready()
            owner, data, bundle = service.parties()
    order: Signed = service.order(data, bundle)
    amqp.queue_declare(ORDERS, durable=True)
    publish(amqp, order.encode())
    service.restarted()
    with service.running():
        eventually(lambda: service.waiting_for() == ["attestation"], "waiting for attestation alone")
        assert service.ingest.board.jobs_of(owner.party) == []
    second = IngestService(tmp_path, world, url, rabbitmq.url)
    with attestation_service(tmp_path, world) as again:
        second.settings = second.settings.model_copy(update={"attestation_url": again})
        second.restarted()
        with second.running():
            eventually(lambda: second.ingest.board.jobs_of(owner.party), "the order is taken")
