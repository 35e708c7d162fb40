"""The private RabbitMQ and Redis, as the stack starts them."""

import os
import signal
import time
from pathlib import Path

import pika
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.embedded.processes import descendants_of, start_times
from deploy.embedded.stack import EmbeddedStack
from tests.conftest import Broker, require_brokers
from tests.integration.test_embedded_supervisor import alive, wait_for

DELAYED_SECONDS = 2.5
"""RabbitMQ keeps names of queues in Mnesia, whose log Erlang writes out within two seconds (disk_log)."""


def test_rabbitmq_takes_our_user_and_no_guest(rabbitmq: Broker) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.url))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare("embedded-test", durable=True)
    channel.basic_publish("", "embedded-test", b"sealed", pika.BasicProperties(delivery_mode=2), mandatory=True)
    assert channel.basic_get("embedded-test", auto_ack=True)[2] == b"sealed"
    channel.queue_delete("embedded-test")
    connection.close()
    port = pika.URLParameters(rabbitmq.url).port
    for virtual_host in ("%2F", "cloister"):
        with pytest.raises(pika.exceptions.ProbableAuthenticationError):
            pika.BlockingConnection(pika.URLParameters(f"amqp://guest:guest@127.0.0.1:{port}/{virtual_host}"))


def test_redis_demands_its_password_and_appends_to_a_file(redis_server: Broker) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.ping()
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        port = client.connection_pool.connection_kwargs["port"]
    once = Retry(NoBackoff(), 0)
    with redis.Redis(port=port, retry=once) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_no_password_stands_in_any_command_line_or_environment(broker_stack: EmbeddedStack) -> None:
    guardian = broker_stack.status().guardian_pid
    assert guardian is not None
    passwords = [broker_stack.state.credential(name).encode() for name in ("amqp", "redis")]
    below = descendants_of(guardian)
    assert len(below) >= 4  # supervisor, epmd, node, redis
    for pid in start_times(below):
        public = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        assert not any(password in public for password in passwords)


def test_everything_listens_on_loopback_only(broker_stack: EmbeddedStack) -> None:
    ports = broker_stack.status().ports.values()
    found = {address for address, port in listening("tcp") if port in ports}
    assert found == {"0100007F"}  # 127.0.0.1 in the kernel's byte order
    assert {address for address, port in listening("tcp6") if port in ports} <= {"0" * 24 + "01000000"}  # ::1


def listening(family: str) -> list[tuple[str, int]]:
    rows = [line.split() for line in Path(f"/proc/net/{family}").read_text().splitlines()[1:]]
    local = [row[1].split(":") for row in rows if row[3] == "0A"]  # TCP_LISTEN
    return [(address, int(port, 16)) for address, port in local]


def test_data_survives_a_restart_and_sigkill_leaves_nothing(tmp_path: Path) -> None:
    require_brokers()
    stack = EmbeddedStack(tmp_path / "state", "deploy.embedded.table:brokers")
    try:
        stack.start(tied=True)
        status = stack.wait_ready()
        connection = pika.BlockingConnection(pika.URLParameters(stack.amqp_url))
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("kept", durable=True)
        channel.basic_publish("", "kept", b"sealed", pika.BasicProperties(delivery_mode=2), mandatory=True)
        connection.close()
        time.sleep(DELAYED_SECONDS)
        assert status.guardian_pid is not None
        assert status.supervisor_pid is not None
        before = start_times([status.guardian_pid, *descendants_of(status.guardian_pid)])
        os.kill(status.supervisor_pid, signal.SIGKILL)
        wait_for(lambda: not alive(before))
        stack.stop()
        stack.start(tied=True)
        stack.wait_ready()
        connection = pika.BlockingConnection(pika.URLParameters(stack.amqp_url))
        assert connection.channel().basic_get("kept", auto_ack=True)[2] == b"sealed"
        connection.close()
    finally:
        stack.stop()
