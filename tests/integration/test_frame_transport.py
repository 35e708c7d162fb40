"""Frames through a real RabbitMQ: order, fan-out, nothing left behind, reconnection."""

import threading
import time
from collections.abc import Iterator

import pika
import pytest

from common.crypto.digests import sha256
from common.identifiers import JobId
from common.untrusted.frame_transport import EXCHANGE, FrameTransport, downlink_key, uplink_key
from tests.conftest import Broker

JOB = JobId.of(sha256(b"a job"))
OTHER = JobId.of(sha256(b"another job"))
SECONDS = 20.0


class Listener:
    """A transport that counts what it takes."""

    def __init__(self, amqp_url: str, *keys: str) -> None:
        self.taken: list[tuple[str, bytes]] = []
        self.wanted = 0
        self.enough = threading.Event()
        self.transport = FrameTransport(amqp_url, self._take)
        for key in keys:
            self.transport.listen(key)
        self.transport.start()
        assert self.transport.connected.wait(SECONDS)

    def _take(self, key: str, frame: bytes) -> None:
        self.taken.append((key, frame))
        if len(self.taken) >= self.wanted:
            self.enough.set()

    def await_frames(self, count: int) -> list[tuple[str, bytes]]:
        self.wanted = count
        if len(self.taken) < count:
            self.enough.clear()
            assert self.enough.wait(SECONDS), f"{len(self.taken)} of {count} frames came"
        return self.taken


@pytest.fixture
def listeners() -> Iterator[list[Listener]]:
    made: list[Listener] = []
    yield made
    for one in made:
        one.transport.stop()


def test_frames_keep_their_order_and_reach_all_trainers(rabbitmq: Broker, listeners: list[Listener]) -> None:
    server = Listener(rabbitmq.url, uplink_key(JOB), uplink_key(OTHER))
    trainers = [Listener(rabbitmq.url, downlink_key(JOB)) for _ in range(2)]
    foreign = Listener(rabbitmq.url, downlink_key(OTHER))
    listeners += [server, *trainers, foreign]
    frames = [number.to_bytes(4, "big") * 1024 for number in range(300)]
    for frame in frames:
        server.transport.publish(downlink_key(JOB), frame)
        trainers[0].transport.publish(uplink_key(JOB), frame)
    assert [frame for _, frame in server.await_frames(300)] == frames
    assert {key for key, _ in server.taken} == {uplink_key(JOB)}
    for trainer in trainers:
        assert [frame for _, frame in trainer.await_frames(300)] == frames
    server.transport.publish(downlink_key(OTHER), b"last")
    assert foreign.await_frames(1) == [(downlink_key(OTHER), b"last")]
    assert server.transport.carried.total in (600 * 4096, 600 * 4096 + 4)  # the last one is counted once it is sent


def test_a_lost_connection_comes_back_with_its_bindings(rabbitmq: Broker, listeners: list[Listener]) -> None:
    first, second = Listener(rabbitmq.url, uplink_key(JOB)), Listener(rabbitmq.url)
    listeners += [first, second]
    first.transport._connection.add_callback_threadsafe(first.transport._connection.close)
    for _ in range(200):
        second.transport.publish(uplink_key(JOB), b"again")
        if first.enough.wait(0.1):
            break
    assert first.taken
    assert first.taken[0] == (uplink_key(JOB), b"again")


def test_what_is_forgotten_no_longer_comes_and_queues_do_not_stay(rabbitmq: Broker, listeners: list[Listener]) -> None:
    listener, sender = Listener(rabbitmq.url, uplink_key(JOB)), Listener(rabbitmq.url)
    listeners += [listener, sender]
    queue = listener.transport._queue
    listener.transport.listen(uplink_key(OTHER))
    sender.transport.publish(uplink_key(JOB), b"one")
    listener.await_frames(1)
    listener.transport.forget(uplink_key(JOB))
    assert any(
        not _hears(listener, sender, b"%d" % number) for number in range(100)
    )  # the queue lets go a moment later
    assert not _hears(listener, sender, b"last")
    listener.transport.stop()
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, "direct", passive=True)
        with pytest.raises(pika.exceptions.ChannelClosedByBroker):
            channel.queue_declare(queue, passive=True)


def _hears(listener: Listener, sender: Listener, word: bytes) -> bool:
    """Whether the listener gets a word on the forgotten route before the same word, sent after it, on the other."""
    sender.transport.publish(uplink_key(JOB), word)
    sender.transport.publish(uplink_key(OTHER), word)
    deadline = time.monotonic() + SECONDS
    while (uplink_key(OTHER), word) not in listener.taken and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (uplink_key(OTHER), word) in listener.taken
    return (uplink_key(JOB), word) in listener.taken
