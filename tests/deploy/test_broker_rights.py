"""RabbitMQ and Redis with the configuration of docker-compose.yml: TLS alone, and each service its own few rights."""

import socket
import ssl
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import pika
import pytest
from pika.exceptions import AMQPError, ChannelClosedByBroker, ProbableAccessDeniedError, ProbableAuthenticationError
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from common.errors import FormatError
from common.identifiers import JobId, ModelId
from common.untrusted.amqp_address import celery_settings, pika_parameters
from common.untrusted.task_queue import CeleryTaskSender, make_task_queue
from deploy.compose.authority import Authority
from deploy.embedded.stack import EmbeddedStack
from deploy.embedded.state import StateDirectory
from services.query_enclave.question_reader import connect
from services.query_enclave.settings import QueryWorkerSettings
from services.query_enclave.streams import ASKED, WORKERS, answers_of, proof_of, questions_of
from tests.conftest import require_brokers
from tests.deploy.broker_tables import address, localised, prepared_of

MODEL = ModelId("model_" + "0" * 32)
_ACCESS_REFUSED = 403

Call = tuple[str, Mapping[str, object]]
"""A method of a channel, and its arguments."""


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateDirectory]:
    require_brokers()
    stack = EmbeddedStack(tmp_path_factory.mktemp("compose") / "state", "tests.deploy.broker_tables:compose_brokers")
    stack.start(tied=True)
    try:
        stack.wait_ready()
        yield stack.state
    finally:
        stack.stop()


def refused(url: str, *calls: Call) -> list[bool]:
    """Of each call, on a channel of its own: whether RabbitMQ refuses it for want of a right."""
    said = []
    with pika.BlockingConnection(pika_parameters(url)) as connection:
        for method, arguments in calls:
            channel = connection.channel()
            try:
                channel.confirm_delivery()
                getattr(channel, method)(**arguments)
                said.append(False)
                channel.close()
            except ChannelClosedByBroker as closed:
                said.append(closed.reply_code == _ACCESS_REFUSED)
    return said


def declare(url: str) -> None:
    """What ingest and the workers declare when they start."""
    with pika.BlockingConnection(pika_parameters(url)) as connection:
        channel = connection.channel()
        channel.queue_declare("cloister.orders", durable=True)
    CeleryTaskSender(make_task_queue(url)).launch_trainer(JobId("job_" + "1" * 32), 0)


# ------------------------------------------------------------------------------------------------------------------ TLS


def test_nothing_answers_without_tls(state: StateDirectory) -> None:
    for name, greeting in (("amqp", b"AMQP\x00\x00\x09\x01"), ("redis", b"PING\r\n")):
        with socket.create_connection(("127.0.0.1", state.port(name)), 5) as connection:
            connection.sendall(greeting)
            connection.settimeout(5)
            try:
                said = connection.recv(64)
            except ConnectionError:
                said = b""
        assert said[:1] in (b"", b"\x15"), name  # closed, or a TLS alert (RFC 8446, 5.1)
    plain = address(state, "ingest").split("?")[0].replace("amqps:", "amqp:")
    with pytest.raises(AMQPError):
        pika.BlockingConnection(pika_parameters(plain))


def test_a_server_that_the_authority_does_not_vouch_for_is_not_spoken_to(state: StateDirectory) -> None:
    foreign = prepared_of(state).parent / "foreign.pem"
    foreign.write_bytes(Authority.generate().certificate_pem)
    url = address(state, "ingest")
    for wrong in (
        url.split("cafile=")[0] + f"cafile={foreign}",
        url.split("?")[0],
        url.replace("@localhost", "@127.0.0.1"),
    ):
        with pytest.raises((AMQPError, ssl.SSLError)) as raised:
            pika.BlockingConnection(pika_parameters(wrong))
        assert "CERTIFICATE_VERIFY_FAILED" in repr(raised.value) + repr(raised.value.args)
        with pytest.raises((OSError, ssl.SSLError)):
            make_task_queue(wrong).connection().connect()


def test_celery_speaks_tls_to_the_named_server(state: StateDirectory) -> None:
    with make_task_queue(address(state, "ingest")).connection_for_read() as connection:
        connection.ensure_connection(max_retries=0)
        assert isinstance(connection.connection.transport.sock, ssl.SSLSocket)


@pytest.mark.parametrize(
    "wrong",
    [
        "http://u:p@h:1/v",
        "amqp://u:p@h:1/v?cafile=/x",
        "amqps://u:p@h:1/v?verify=none",
        "amqps://u:p@h:1/v?cafile=/x&a=1",
    ],
)
def test_an_address_can_switch_nothing_off(wrong: str) -> None:
    for parse in (pika_parameters, celery_settings):
        with pytest.raises(FormatError):
            parse(wrong)


# ------------------------------------------------------------------------------------------------------------- RabbitMQ


@pytest.mark.parametrize("user", ["ingest", "trainer", "paramserver", "query-worker", "guest", "nobody"])
def test_wrong_credentials_are_refused(state: StateDirectory, user: str) -> None:
    url = address(state, "ingest")
    stranger = url.replace(urlsplit(url).netloc.split("@")[0], f"{user}:guest")
    with pytest.raises(ProbableAuthenticationError):
        pika.BlockingConnection(pika_parameters(stranger))


def test_a_wrong_virtual_host_is_refused(state: StateDirectory) -> None:
    for place in ("%2F", "other"):
        wrong = address(state, "trainer").replace("/cloister?", f"/{place}?")
        with pytest.raises(ProbableAccessDeniedError):
            pika.BlockingConnection(pika_parameters(wrong))


def test_workers_can_do_their_work_and_nobody_elses(state: StateDirectory) -> None:
    declare(address(state, "ingest"))
    frames = {"exchange": "cloister.frames", "exchange_type": "direct"}
    for name in ("trainer", "paramserver", "query-worker"):
        queue, url = name.removesuffix("-worker"), address(state, name)
        assert refused(url, ("basic_get", {"queue": queue, "auto_ack": True})) == [False], name
        assert refused(url, ("exchange_declare", frames)) == [name == "query-worker"]
        others = [one for one in ("trainer", "paramserver", "query", "cloister.orders") if one != queue]
        calls: list[Call] = [
            *(("basic_get", {"queue": one}) for one in others),
            *(("queue_purge", {"queue": one}) for one in others),
            *(("queue_delete", {"queue": one}) for one in others),
            ("basic_publish", {"exchange": "cloister.tasks", "routing_key": "trainer", "body": b"{}"}),
            ("basic_publish", {"exchange": "", "routing_key": "trainer", "body": b"{}"}),
            ("basic_publish", {"exchange": "", "routing_key": "cloister.orders", "body": b"{}"}),
            ("exchange_delete", {"exchange": "cloister.events"}),
            ("queue_declare", {"queue": "of-my-own"}),
        ]
        assert refused(url, *calls) == [True] * len(calls), name


def test_ingest_reads_neither_tasks_nor_frames(state: StateDirectory) -> None:
    url = address(state, "ingest")
    declare(url)
    calls: list[Call] = [
        *(("basic_get", {"queue": one}) for one in ("trainer", "paramserver", "query")),
        ("exchange_declare", {"exchange": "cloister.frames", "exchange_type": "direct"}),
        ("basic_publish", {"exchange": "cloister.frames", "routing_key": "up/x", "body": b"frame"}),
    ]
    assert refused(url, *calls)[3:] == [True] * 2
    assert refused(url, *calls[1:3])[1:] == [True]  # `query` was declared by its sender, or not yet


# ---------------------------------------------------------------------------------------------------------------- Redis


def query_worker(state: StateDirectory) -> Redis:
    path = prepared_of(state) / "query-worker_settings.json"
    return connect(localised(state, QueryWorkerSettings.read(path).redis_url))


def test_redis_knows_no_default_user(state: StateDirectory) -> None:
    url = address(state, "query")
    credentials = urlsplit(url).netloc.split("@")[0]
    for stranger in (
        url.replace(f"{credentials}@", ""),
        url.replace(credentials, "query:wrong"),
        url.replace(credentials, ":wrong"),
    ):
        with pytest.raises((AuthenticationError, NoPermissionError)):
            connect(stranger).ping()
    with pytest.raises(NoPermissionError):
        connect(url.replace(credentials, "health:none")).get("cloister:query:asked")
    assert connect(url.replace(credentials, "health:none")).ping()


def test_the_front_asks_and_cannot_answer(state: StateDirectory) -> None:
    front = connect(address(state, "query"))
    assert front.ping()
    front.zadd(ASKED, {MODEL: 1.0})
    front.xadd(questions_of(MODEL), {"kind": "query"})
    assert front.get(proof_of(MODEL)) is None
    length = front.script_load("return redis.call('XLEN', KEYS[1])")
    assert front.evalsha(length, 1, questions_of(MODEL)) == 1
    forging = front.script_load("return redis.call('SET', KEYS[1], 'forged')")
    with pytest.raises(RedisError):  # a script may do what its caller may
        front.evalsha(forging, 1, proof_of(MODEL))
    assert list(front.scan_iter(match=WORKERS + "*")) == []
    attempts = (
        lambda: front.set(proof_of(MODEL), b"forged"),
        lambda: front.xadd(answers_of("0" * 32), {"id": "x"}),
        lambda: front.delete(ASKED),
        lambda: front.get("cloister:query:lease:" + MODEL),
        lambda: front.set("anything", b""),
        front.flushall,
        lambda: front.config_get("*"),
        lambda: front.keys("*"),
        lambda: front.eval("return 1", 0),
        front.client_list,
    )
    for attempt in attempts:
        with pytest.raises(NoPermissionError):
            attempt()


def test_the_query_worker_keeps_to_its_keys(state: StateDirectory) -> None:
    worker = query_worker(state)
    with worker.pipeline(transaction=True) as batch:
        batch.xadd(answers_of("0" * 32), {"id": "x"})
        batch.expire(answers_of("0" * 32), 60)
        batch.execute()
    worker.set(proof_of(MODEL), b"proof", ex=5)
    worker.client_unblock(worker.client_id())
    for attempt in (lambda: worker.set("elsewhere", b""), worker.flushdb, lambda: worker.config_get("*")):
        with pytest.raises((NoPermissionError, RedisError)):
            attempt()
