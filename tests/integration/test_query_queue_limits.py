"""The queue is bounded: in questions, in bytes, in what stays of it, and by party; and it says when it is full."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from common.crypto.signing import SigningKey
from common.errors import FreshnessError, NotFoundError, QuotaError, UnavailableError
from common.identifiers import ModelId, QueryId
from services.query_enclave import submissions
from services.query_enclave.front_desk import FrontDesk
from services.query_enclave.question_reader import QuestionReader, connect
from services.query_enclave.slots import INLINE_BYTES, Slots
from services.query_enclave.streams import BACKLOG_BYTES, GROUP, Question, answers_of, questions_of, room_for
from tests.conftest import Broker

PARTY, OTHER = (SigningKey.generate().party for _ in range(2))
LARGE = secrets.token_bytes(INLINE_BYTES + 1)


class HeldEnclave:
    """Answers nothing until it is let; then what it was asked, reversed."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, Future[bytes]]] = []
        self.answers_at_once = False

    def ask(self, _kind: str, body: bytes) -> Future[bytes]:
        """A question."""
        answer = Future[bytes]()
        self.asked.append((body, answer))
        if self.answers_at_once:
            answer.set_result(body[::-1])
        return answer

    def let(self) -> None:
        """Answer all, and from now on."""
        self.answers_at_once = True
        for body, answer in self.asked:
            if not answer.done():
                answer.set_result(body[::-1])


@pytest.fixture
def enclave() -> HeldEnclave:
    """One for each test."""
    return HeldEnclave()


@pytest.fixture
def read(redis_server: Broker, model_id: ModelId, enclave: HeldEnclave) -> Iterator[Callable[..., None]]:
    """Starts a worker's reader."""
    readers: list[QuestionReader] = []

    def start(slots: Slots | None = None, under_way: int = 4) -> None:
        of = connect(redis_server.url), model_id, "worker", enclave.ask, slots
        readers.append(QuestionReader(*of, under_way=under_way))
        readers[-1].start()

    yield start
    enclave.let()
    for reader in readers:
        reader.stop()


def with_desk(url: str, work: Callable[[FrontDesk], Any], slots: Slots | None = None, **options: Any) -> Any:
    """Run `work` with a started desk."""

    async def run() -> Any:
        desk = FrontDesk.connect(url, slots, **options)
        await desk.start()
        try:
            return await work(desk)
        finally:
            await desk.stop()

    return asyncio.run(run())


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for what another thread brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.01)


async def collected(desk: FrontDesk, name: QueryId) -> bytes:
    """The answer to a submission, once there is one."""
    for _ in range(1000):
        answer = await desk.submissions.collect(PARTY, name)
        if answer is not None:
            return answer
        await asyncio.sleep(0.01)
    raise AssertionError("it was not answered")


def test_the_backlog_is_exact_whatever_comes_at_once(redis_server: Broker, redis: Redis, model_id: ModelId) -> None:
    async def work(desk: FrontDesk) -> list[Any]:
        asking = [asyncio.create_task(desk.ask(model_id, "query", b"%d" % number)) for number in range(50)]
        await until(lambda: sum(task.done() for task in asking) == 40)
        assert redis.xlen(questions_of(model_id)) == 10
        for task in asking:
            task.cancel()
        return await asyncio.gather(*asking, return_exceptions=True)

    ended = with_desk(redis_server.url, work, backlog=10)
    refused = [one for one in ended if isinstance(one, UnavailableError)]
    assert {one.code for one in refused} == {"unavailable.full"}
    assert len(refused) == 40


def test_a_worker_takes_what_it_has_room_for_and_no_more(
    redis_server: Broker, redis: Redis, model_id: ModelId, enclave: HeldEnclave, read: Callable[..., None]
) -> None:
    read(under_way=4)

    async def work(desk: FrontDesk) -> list[bytes]:
        asking = asyncio.gather(*(desk.ask(model_id, "query", b"%d." % number) for number in range(12)))
        await until(lambda: len(enclave.asked) >= 4)
        await asyncio.sleep(0.2)
        assert len(enclave.asked) == 4
        pending: Any = redis.xpending(questions_of(model_id), GROUP)
        assert pending["pending"] == 4
        enclave.let()
        return list(await asking)

    assert with_desk(redis_server.url, work) == [(b"%d." % number)[::-1] for number in range(12)]


def test_large_bodies_stand_in_slots_and_their_names_in_redis(
    redis_server: Broker,
    redis: Redis,
    model_id: ModelId,
    enclave: HeldEnclave,
    read: Callable[..., None],
    tmp_path: Path,
) -> None:
    slots = Slots(tmp_path / "slots")
    read(slots)

    async def work(desk: FrontDesk) -> bytes:
        asking = asyncio.create_task(desk.ask(model_id, "query", LARGE))
        await until(lambda: len(enclave.asked) == 1)
        questions: Any = redis.xrange(questions_of(model_id))
        ((_, fields),) = questions
        assert b"body" not in fields
        assert len(b"".join(fields.values())) < 300
        assert len(list((tmp_path / "slots").iterdir())) == 1
        enclave.let()
        answer = await asking
        entries: Any = redis.xrange(desk._answers)
        assert b"body" not in entries[0][1]
        return answer

    assert with_desk(redis_server.url, work, slots) == LARGE[::-1]
    assert list((tmp_path / "slots").iterdir()) == []


def test_what_nobody_waits_for_leaves_no_slot(redis_server: Broker, model_id: ModelId, tmp_path: Path) -> None:
    slots = Slots(tmp_path / "slots")
    with pytest.raises(UnavailableError, match=r"unavailable\.enclave"):
        with_desk(redis_server.url, lambda desk: desk.ask(model_id, "query", LARGE), slots, wait_seconds=0.2)
    with pytest.raises(UnavailableError, match=r"unavailable\.full"):
        with_desk(redis_server.url, lambda desk: desk.ask(model_id, "query", LARGE), slots, backlog=0)
    assert list((tmp_path / "slots").iterdir()) == []


def test_slots_that_are_full_are_a_full_queue(
    redis_server: Broker, redis: Redis, model_id: ModelId, tmp_path: Path
) -> None:
    slots = Slots(tmp_path / "slots", most_bytes=len(LARGE) - 1)
    with pytest.raises(UnavailableError, match=r"unavailable\.full"):
        with_desk(redis_server.url, lambda desk: desk.ask(model_id, "query", LARGE), slots)
    assert redis.xlen(questions_of(model_id)) == 0


def test_a_question_whose_slot_is_gone_or_never_was_is_dropped_and_the_next_is_answered(
    redis_server: Broker,
    redis: Redis,
    model_id: ModelId,
    enclave: HeldEnclave,
    read: Callable[..., None],
    tmp_path: Path,
) -> None:
    enclave.let()
    for slot in (f"{QueryId.new()}-q-20000", "../../etc/passwd", ""):
        of = "query", QueryId.new(), answers_of("0" * 32), time.time() + 9, b"", slot
        redis.xadd(questions_of(model_id), Question(*of).fields())  # type: ignore[arg-type]
    read(Slots(tmp_path / "slots"))
    assert with_desk(redis_server.url, lambda desk: desk.ask(model_id, "query", b"abc")) == b"cba"
    assert [body for body, _ in enclave.asked] == [b"abc"]
    assert redis.xlen(questions_of(model_id)) == 0


def test_without_slots_large_bodies_are_bounded_by_bytes() -> None:
    assert room_for(100, 256) == 256
    assert room_for(1 << 20, 256) == BACKLOG_BYTES >> 20
    assert room_for(BACKLOG_BYTES + 1, 256) == 1


def test_a_redis_without_memory_is_a_full_queue_and_works_again_afterwards(
    redis_server: Broker, redis: Redis, model_id: ModelId, enclave: HeldEnclave, read: Callable[..., None]
) -> None:
    """What is under way then is not written, and does not keep the memory that it takes."""
    read()

    async def work(desk: FrontDesk) -> bytes:
        lost = asyncio.create_task(desk.ask(model_id, "query", b"lost"))
        await until(lambda: len(enclave.asked) == 1)
        memory: Any = redis.config_get("maxmemory")
        redis.config_set("maxmemory", 1)
        try:
            with pytest.raises(UnavailableError, match=r"unavailable\.full"):
                await desk.ask(model_id, "query", b"no room")
            enclave.let()
            await until(lambda: redis.xlen(questions_of(model_id)) == 0)
        finally:
            redis.config_set("maxmemory", memory["maxmemory"])
        lost.cancel()
        return await desk.ask(model_id, "query", b"abc")

    assert with_desk(redis_server.url, work) == b"cba"


def test_a_submission_is_answered_later_and_shown_again(
    redis_server: Broker, model_id: ModelId, enclave: HeldEnclave, read: Callable[..., None], tmp_path: Path
) -> None:
    """By another front, too; to its party alone."""
    slots = Slots(tmp_path / "slots")
    read(slots)

    async def submit(desk: FrontDesk) -> list[QueryId]:
        names = [await desk.submissions.submit(model_id, PARTY, body) for body in (b"abc", LARGE)]
        await until(lambda: len(enclave.asked) == 2)
        assert await desk.submissions.collect(PARTY, names[0]) is None
        return names

    async def collect(desk: FrontDesk, names: list[QueryId]) -> None:
        enclave.let()
        for name, answer in zip(names, (b"cba", LARGE[::-1]), strict=True):
            assert await collected(desk, name) == answer == await desk.submissions.collect(PARTY, name)
            with pytest.raises(NotFoundError, match=r"not_found\.answer"):
                await desk.submissions.collect(OTHER, name)
        with pytest.raises(NotFoundError, match=r"not_found\.answer"):
            await desk.submissions.collect(PARTY, QueryId.new())

    names = with_desk(redis_server.url, submit, slots)
    with_desk(redis_server.url, lambda desk: collect(desk, names), slots)
    assert [path.name.partition("-")[0] for path in (tmp_path / "slots").iterdir()] == [names[1]]  # until it is swept


def test_a_public_refusal_of_a_submission_is_its_answer(
    redis_server: Broker, model_id: ModelId, enclave: HeldEnclave, read: Callable[..., None]
) -> None:
    read()

    async def work(desk: FrontDesk) -> None:
        name = await desk.submissions.submit(model_id, PARTY, b"abc")
        await until(lambda: len(enclave.asked) == 1)
        enclave.asked[0][1].set_exception(FreshnessError("freshness.session"))
        with pytest.raises(FreshnessError, match=r"freshness\.session"):
            await collected(desk, name)

    with_desk(redis_server.url, work)


def test_a_party_has_so_many_submissions_and_others_have_theirs(
    redis_server: Broker, redis: Redis, model_id: ModelId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submissions, "SUBMISSIONS_KEPT", 3)
    party, other = (SigningKey.generate().party for _ in range(2))

    async def work(desk: FrontDesk) -> None:
        for _ in range(3):
            await desk.submissions.submit(model_id, party, b"abc")
        with pytest.raises(QuotaError, match=r"quota\.requests"):
            await desk.submissions.submit(model_id, party, b"abc")
        await desk.submissions.submit(model_id, other, b"abc")

    with_desk(redis_server.url, work)
    assert redis.xlen(questions_of(model_id)) == 4


def test_a_submission_that_is_given_up_says_so(redis_server: Broker, model_id: ModelId) -> None:
    async def work(desk: FrontDesk) -> None:
        desk.submissions._seconds = 0.1
        name = await desk.submissions.submit(model_id, PARTY, b"abc")
        await asyncio.sleep(0.15)
        with pytest.raises(UnavailableError, match=r"unavailable\.enclave"):
            await desk.submissions.collect(PARTY, name)

    with_desk(redis_server.url, work)
