"""Front and worker over a real Redis: nothing is lost, nothing is answered twice, nothing malformed ends a reader."""

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from common.errors import FreshnessError, PeerClosedError, UnavailableError
from common.identifiers import JobId, ModelId, QueryId
from services.query_enclave import question_reader
from services.query_enclave.front_desk import FrontDesk
from services.query_enclave.leases import Leases
from services.query_enclave.placements import Placements
from services.query_enclave.question_reader import QuestionReader, connect
from services.query_enclave.streams import DEAD_LETTERS, GROUP, Kind, Question, answers_of, proof_of, questions_of
from tests.conftest import Broker
from tests.fakes.query_world import QueryWorld, rows_of

Ask = Callable[[str, bytes], bytes]


@pytest.fixture
def reader_of(redis_server: Broker, model_id: ModelId) -> Iterator[Callable[..., QuestionReader]]:
    """Starts readers of the model's stream; they are stopped after the test."""
    readers: list[QuestionReader] = []
    pool = ThreadPoolExecutor(4)

    def start(ask: Ask, consumer: str = "worker-a") -> QuestionReader:
        def begin(kind: str, body: bytes) -> Future[bytes]:
            return pool.submit(ask, kind, body)

        readers.append(QuestionReader(connect(redis_server.url), model_id, consumer, begin, under_way=4))
        readers[-1].start()
        return readers[-1]

    yield start
    for reader in readers:
        reader.stop()
    pool.shutdown()


def with_desk(url: str, work: Callable[[FrontDesk], Any], **options: Any) -> Any:
    """Run `work` with a started desk."""

    async def run() -> Any:
        desk = FrontDesk.connect(url, **options)
        await desk.start()
        try:
            return await work(desk)
        finally:
            await desk.stop()

    return asyncio.run(run())


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a condition that another thread brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def leave_pending(redis: Redis, model_id: ModelId, count: int = 1) -> tuple[str, list[QueryId]]:
    """Questions that a consumer took and died with; the front's stream and their ids."""
    stream, to, names = questions_of(model_id), answers_of(secrets.token_hex(16)), []
    redis.xgroup_create(stream, GROUP, id="0", mkstream=True)
    for number in range(count):
        names.append(QueryId.new())
        redis.xadd(stream, Question("query", names[-1], to, time.time() + 30, str(number).encode()).fields())
    redis.xreadgroup(GROUP, "dead", {stream: ">"})
    return to, names


def test_a_question_is_answered_and_leaves_nothing(
    redis_server: Broker, redis: Redis, model_id: ModelId, reader_of: Callable[..., QuestionReader]
) -> None:
    reader_of(lambda kind, body: kind.encode() + body[::-1])
    answer = with_desk(redis_server.url, lambda desk: desk.ask(model_id, "query", b"abc"))
    assert answer == b"querycba"
    until(lambda: redis.xlen(questions_of(model_id)) == 0)
    assert redis.xpending(questions_of(model_id), GROUP)["pending"] == 0


def test_many_at_once_get_their_own_answers(
    redis_server: Broker, model_id: ModelId, reader_of: Callable[..., QuestionReader]
) -> None:
    reader_of(lambda _kind, body: body * 2)
    carried: list[int] = []

    async def work(desk: FrontDesk) -> list[bytes]:
        answers = await asyncio.gather(*(desk.ask(model_id, "query", b"%d." % n) for n in range(50)))
        carried.append(desk.carried.total)
        return list(answers)

    answers = [b"%d.%d." % (n, n) for n in range(50)]
    assert with_desk(redis_server.url, work) == answers
    assert carried == [sum(map(len, answers)) * 3 // 2]


def test_a_public_refusal_comes_back_as_its_code(
    redis_server: Broker, model_id: ModelId, reader_of: Callable[..., QuestionReader]
) -> None:
    def refuse(_kind: str, _body: bytes) -> bytes:
        raise FreshnessError("freshness.session")

    reader_of(refuse)
    with pytest.raises(FreshnessError, match="freshness.session"):
        with_desk(redis_server.url, lambda desk: desk.ask(model_id, "query", b""))


def test_what_a_dead_consumer_left_is_answered_once(
    redis: Redis, model_id: ModelId, reader_of: Callable[..., QuestionReader]
) -> None:
    to, names = leave_pending(redis, model_id, count=20)
    asked: list[bytes] = []

    def ask(_kind: str, body: bytes) -> bytes:
        asked.append(body)
        return body

    reader_of(ask, "worker-b")
    until(lambda: redis.xlen(to) == 20)
    assert sorted(asked, key=int) == [str(number).encode() for number in range(20)]
    answers: Any = redis.xrange(to)
    assert {fields[b"id"].decode() for _, fields in answers} == set(names)
    assert redis.xlen(questions_of(model_id)) == 0


def test_an_enclave_that_dies_with_a_question_leaves_it_to_the_next(
    redis_server: Broker, redis: Redis, model_id: ModelId, reader_of: Callable[..., QuestionReader]
) -> None:
    died = threading.Event()

    def die(_kind: str, _body: bytes) -> bytes:
        died.set()
        raise PeerClosedError("the door is closed")

    async def work(desk: FrontDesk) -> bytes:
        first = reader_of(die)
        asking = asyncio.create_task(desk.ask(model_id, "query", b"abc"))
        await asyncio.to_thread(died.wait, 10)
        await asyncio.to_thread(first.stop)
        reader_of(lambda _kind, body: body)
        return await asking

    assert with_desk(redis_server.url, work) == b"abc"


def test_a_question_that_no_launch_survives_is_buried(
    redis: Redis, model_id: ModelId, reader_of: Callable[..., QuestionReader]
) -> None:
    to, _ = leave_pending(redis, model_id)
    for _ in range(question_reader.MAX_DELIVERIES - 1):
        redis.xautoclaim(questions_of(model_id), GROUP, "dead", 0)
    asked: list[bytes] = []
    reader_of(lambda _kind, body: asked.append(body) or b"")  # type: ignore[func-returns-value]
    until(lambda: redis.xlen(to) == 1)
    answers: Any = redis.xrange(to)
    assert answers[0][1][b"status"] == b"format.query"
    assert asked == []
    dead: Any = redis.xrevrange(DEAD_LETTERS, count=1)
    assert dead[0][1][b"stream"] == questions_of(model_id).encode()


def test_a_question_that_ends_every_launch_takes_no_other_with_it(
    redis_server: Broker, redis: Redis, model_id: ModelId
) -> None:
    """Each launch ends with it, and with whatever else is under way; all others are answered in the end."""
    to, names = leave_pending(redis, model_id, count=6)
    launches, answered = 0, list[bytes]()
    while redis.xlen(to) < 6:
        launches += 1
        assert launches < 20
        gone = threading.Event()
        waiting: list[tuple[bytes, Future[bytes]]] = []

        def ask(
            _kind: str, body: bytes, gone: threading.Event = gone, waiting: list[tuple[bytes, Future[bytes]]] = waiting
        ) -> Future[bytes]:
            if gone.is_set():
                raise PeerClosedError("the door is closed")
            answer = Future[bytes]()
            waiting.append((body, answer))
            if body == b"2":
                gone.set()
            return answer

        reader = QuestionReader(connect(redis_server.url), model_id, "worker", ask)
        reader.start()
        end = time.monotonic() + 0.6
        while time.monotonic() < end and not gone.is_set() and redis.xlen(to) < 6:
            time.sleep(0.01)
            left = [(body, answer) for body, answer in list(waiting) if not answer.done()]
            if len(left) == 1 and left[0][0] != b"2":  # alone
                answered.append(left[0][0])
                left[0][1].set_result(left[0][0])
        gone.set()
        for _, answer in waiting:
            if not answer.done():
                answer.set_exception(PeerClosedError("the door is closed"))
        reader.stop()
    answers: Any = redis.xrange(to)
    outcomes = {fields[b"id"].decode(): fields[b"status"] for _, fields in answers}
    assert [outcomes[name] for name in names] == [b"ok", b"ok", b"format.query", b"ok", b"ok", b"ok"]
    assert b"2" not in answered


@pytest.mark.parametrize(
    "fields",
    [
        {"nonsense": "1"},
        {
            "kind": "query",
            "id": "query_" + "0" * 32,
            "to": "cloister:query:lease:x",
            "until": "99999999999999",
            "body": "",
        },
        {"kind": "place", "id": "query_" + "0" * 32, "to": answers_of("0" * 32), "until": "99999999999999", "body": ""},
        {"kind": "query", "id": "../../etc", "to": answers_of("0" * 32), "until": "99999999999999", "body": ""},
        {"kind": "query", "id": "query_" + "0" * 32, "to": answers_of("0" * 32), "until": "soon", "body": ""},
    ],
)
def test_a_malformed_entry_is_buried_and_the_next_is_answered(
    redis_server: Broker,
    redis: Redis,
    model_id: ModelId,
    reader_of: Callable[..., QuestionReader],
    fields: dict[str, str],
) -> None:
    asked: list[bytes] = []

    def ask(_kind: str, body: bytes) -> bytes:
        asked.append(body)
        return b"good"

    redis.xadd(questions_of(model_id), fields)  # type: ignore[arg-type]
    reader_of(ask)
    assert with_desk(redis_server.url, lambda desk: desk.ask(model_id, "query", b"abc")) == b"good"
    assert asked == [b"abc"]
    dead: Any = redis.xrevrange(DEAD_LETTERS, count=1)
    assert dead[0][1][b"stream"] == questions_of(model_id).encode()


def test_a_question_that_nobody_waits_for_is_dropped(
    redis: Redis, model_id: ModelId, reader_of: Callable[..., QuestionReader]
) -> None:
    stream, asked = questions_of(model_id), []
    redis.xadd(stream, Question("query", QueryId.new(), answers_of("0" * 32), time.time() - 1, b"old").fields())
    redis.xadd(stream, Question("query", QueryId.new(), answers_of("0" * 32), time.time() + 9, b"new").fields())
    reader_of(lambda _kind, body: asked.append(body) or b"")  # type: ignore[func-returns-value]
    until(lambda: redis.xlen(stream) == 0)
    assert asked == [b"new"]


def test_a_full_stream_refuses_at_once(redis_server: Broker, redis: Redis, model_id: ModelId) -> None:
    for _ in range(3):
        redis.xadd(questions_of(model_id), {"kind": "query"})
    with pytest.raises(UnavailableError, match="unavailable.full"):
        with_desk(redis_server.url, lambda desk: desk.ask(model_id, "query", b""), backlog=3)


def test_no_answer_in_time_is_unavailable(redis_server: Broker, model_id: ModelId) -> None:
    with pytest.raises(UnavailableError, match="unavailable.enclave"):
        with_desk(redis_server.url, lambda desk: desk.ask(model_id, "query", b""), wait_seconds=0.3)


def test_without_redis_it_says_so(model_id: ModelId) -> None:
    url = "redis://127.0.0.1:1/0"
    with pytest.raises(UnavailableError, match="unavailable.cache"):
        with_desk(url, lambda desk: desk.ask(model_id, "query", b""))


def test_a_stream_that_redis_lost_is_opened_again(
    redis_server: Broker, redis: Redis, model_id: ModelId, reader_of: Callable[..., QuestionReader]
) -> None:
    reader_of(lambda _kind, body: body)
    assert with_desk(redis_server.url, lambda desk: desk.ask(model_id, "query", b"one")) == b"one"
    redis.delete(questions_of(model_id))
    assert with_desk(redis_server.url, lambda desk: desk.ask(model_id, "query", b"two")) == b"two"


def test_one_worker_serves_a_model_at_a_time(redis: Redis, model_id: ModelId) -> None:
    first, second, first_again = Leases(redis, "a"), Leases(redis, "b"), Leases(redis, "a")
    assert first.hold(model_id)
    first.publish(model_id, b"proof")
    assert not second.hold(model_id)
    assert redis.get(proof_of(model_id)) == b"proof"
    assert first_again.hold(model_id)
    assert redis.get(proof_of(model_id)) is None
    first_again.release(model_id)
    assert second.hold(model_id)
    first.beat()
    assert not first.hold(model_id)


class Launch:
    """A placed model without an enclave."""

    def __init__(self) -> None:
        self.alive, self.stopped, self.proof, self.not_after = True, False, b"proof", int(time.time()) + 3600

    def stop(self) -> None:
        """End it."""
        self.stopped, self.alive = True, False


def test_placements_follow_the_registry(redis: Redis, model_id: ModelId) -> None:
    models, launches = {model_id: JobId.new()}, []

    def launch(*_of: object) -> Launch:
        launches.append(Launch())
        return launches[-1]

    leases = Leases(redis, "a")
    placements = Placements(lambda: dict(models), launch, leases, capacity=4)
    placements.reconcile()
    placements.reconcile()
    assert len(launches) == 1
    launches[0].alive = False
    placements.reconcile()
    assert len(launches) == 2
    assert redis.get(proof_of(model_id)) == b"proof"
    launches[1].not_after = int(time.time()) + 1
    placements.reconcile()
    assert len(launches) == 3
    assert launches[1].stopped
    models.clear()
    placements.reconcile()
    assert launches[2].stopped
    assert redis.get(proof_of(model_id)) is None
    assert leases.hold(model_id)


def test_a_launch_that_fails_is_tried_again_later(redis_server: Broker, redis: Redis, model_id: ModelId) -> None:
    tries: list[int] = []

    def fail(*_of: object) -> Launch:
        tries.append(1)
        raise UnavailableError("unavailable.broker")

    placements = Placements(lambda: {model_id: JobId.new()}, fail, Leases(redis, "a"), capacity=4)
    with pytest.raises(UnavailableError):  # it is waited for, because somebody asks for it
        with_desk(redis_server.url, lambda desk: desk.proof(model_id))
    placements.reconcile()
    placements.reconcile()
    assert len(tries) == 1
    assert placements.missing == (model_id,)


def test_a_whole_session_over_redis(
    redis_server: Broker, tmp_path: Path, reader_of: Callable[..., QuestionReader], model_id: ModelId
) -> None:
    world = QueryWorld(tmp_path)
    launch = world.launch()
    kinds = {"session": launch.sessions.open, "query": launch.answering.answer}
    reader_of(lambda kind, body: kinds[kind](body))

    class OverRedis:
        """A transport that asks as the front would."""

        def get(self, path: str) -> bytes:
            return launch.get(path)

        def post(self, path: str, body: bytes) -> bytes:
            kind: Kind = "session" if path.partition("?")[0].endswith("/sessions") else "query"
            return bytes(with_desk(redis_server.url, lambda desk: desk.ask(model_id, kind, body)))

    launch_like: Any = OverRedis()
    session = world.session(launch_like)
    assert session.ask(rows_of(3)).answers_left == 97
