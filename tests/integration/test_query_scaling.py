"""A second worker beside the first takes over a part of a busy model's questions: none is lost, none doubled.

Over a real Redis, with the services' own desk, readers, leases and placements, and the SDK's sessions; the enclaves'
code runs in this process (tests/fakes/query_world), with a model that takes a while.
"""

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from client.query_session import QuerySession, QueryUser
from common.errors import Refusal
from common.identifiers import JobId, ModelId
from services.query_enclave import backlog, sharing
from services.query_enclave.backlog import RedisLoad, backlogs
from services.query_enclave.front_desk import FrontDesk
from services.query_enclave.leases import Leases
from services.query_enclave.placements import Placements
from services.query_enclave.question_reader import QuestionReader, connect
from services.query_enclave.sharing import Sharing
from services.query_enclave.streams import Kind, place_of, proof_of
from tests.conftest import Broker
from tests.fakes.query_world import WEIGHTS_CF, QueryWorld, rows_of

USERS = 24
ROOM = 12
"""Questions that may wait at one place: with so many users a front refuses some, which then go to the other place."""

WORK_SECONDS = 0.01
JOB = JobId("job_" + "0" * 32)
pytestmark = pytest.mark.timeout(300)


class Placed:
    """A launch in this process, and the reader of its place."""

    def __init__(self, world: QueryWorld, url: str, place: str, worker: str) -> None:
        self.launch = world.launch(questions=1, answer_timing="immediate")
        self.proof, self.not_after, self.alive = self.launch.proof.encode(), int(time.time()) + 3600, True
        evaluate = self.launch.model.answer

        def slowly(*of: Any) -> Any:
            time.sleep(WORK_SECONDS)
            return evaluate(*of)

        self.launch.model.answer = slowly  # type: ignore[method-assign,assignment]
        self._reader = QuestionReader(connect(url), place, worker, self._ask)
        self._reader.start()

    def _ask(self, kind: str, body: bytes) -> Future[bytes]:
        answered = Future[bytes]()
        try:
            if kind == "query":
                return self.launch.answering.begin(body)
            answered.set_result(self.launch.sessions.open(body))
        except Refusal as refusal:
            answered.set_exception(refusal)
        return answered

    def stop(self) -> None:
        self.alive = False
        self._reader.stop()


class Service:
    """A front, and as many workers as are started; a QueryTransport."""

    def __init__(self, world: QueryWorld, url: str) -> None:
        self.world, self.url, self.redis = world, url, connect(url)
        self.placed: list[Placed] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._desk: FrontDesk | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator["Service"]:
        self._thread.start()

        async def connected() -> FrontDesk:
            desk = FrontDesk.connect(self.url, backlog=ROOM)
            await desk.start()
            return desk

        self._desk = self._wait(connected())
        try:
            yield self
        finally:
            self._wait(self.desk.stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    @contextlib.contextmanager
    def worker(self, name: str) -> Iterator[Placements]:
        """Until the end of the block."""
        leases = Leases(connect(self.url), name)

        def launch(place: str, _job: JobId, _on_exit: Callable[[], None]) -> Placed:
            self.placed.append(Placed(self.world, self.url, place, name))
            return self.placed[-1]

        shared = Sharing(RedisLoad(self.redis), leases.withdraw)
        placements = Placements(lambda: {self.world.model_id: JOB}, launch, leases, capacity=4, sharing=shared)
        threads = [threading.Thread(target=placements.run), threading.Thread(target=leases.run)]
        for thread in threads:
            thread.start()
        try:
            yield placements
        finally:
            placements.stop()
            threads[0].join()
            leases.stop()
            threads[1].join()

    @property
    def desk(self) -> FrontDesk:
        assert self._desk is not None
        return self._desk

    def get(self, path: str) -> bytes:
        """A proof."""
        proof: bytes = self._wait(self.desk.proof(ModelId(path.split("/")[3]))).encoded
        return proof

    def post(self, path: str, body: bytes) -> bytes:
        """The answer of the launch that the path names."""
        target = urlsplit(path)
        _, _, _, model_id, route = target.path.split("/")
        kind: Kind = "session" if route == "sessions" else "query"
        answer: bytes = self._wait(self.desk.ask(ModelId(model_id), kind, body, parse_qs(target.query)["launch"][0]))
        return answer

    def session(self, grant: Any) -> QuerySession:
        user = QueryUser(self.world.user, grant, self.world.pins)
        return QuerySession.open(self, user, pause=lambda _seconds: time.sleep(0.02))

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[QueryWorld]:
    """A model of this test alone."""
    made = QueryWorld(tmp_path)
    made.manifest = made.make_manifest(str(tmp_path).encode())
    yield made
    made.close()


@pytest.fixture
def service(world: QueryWorld, redis_server: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(backlog, "HOT_DEPTH", 4)
    monkeypatch.setattr(sharing, "IDLE_SECONDS", 3.0)
    monkeypatch.setattr(sharing, "LEAVE_SECONDS", 1.5)
    with Service(world, redis_server.url).running() as running:
        yield running


@dataclass
class Caller:
    """A user's thread."""

    session: QuerySession
    stop: threading.Event
    launches: Counter[str] = field(default_factory=Counter)
    failure: BaseException | None = None

    def run(self) -> None:
        """Ask one question after the other; whose launch answered is kept."""
        rows = rows_of(1)
        try:
            while not self.stop.is_set():
                labels = self.session.ask(rows).labels
                np.testing.assert_array_equal(labels, (rows @ WEIGHTS_CF.T).argmax(axis=1))
                self.launches[self.session.enclave.placement.launch] += 1
        except BaseException as failure:  # told to the test
            self.failure = failure


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for what other threads bring about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def is_placed(service: Service, number: int) -> bool:
    return service.redis.get(proof_of(place_of(service.world.model_id, number))) is not None


def test_a_second_worker_takes_over_a_part_and_leaves_again(service: Service) -> None:
    grant = service.world.grant(answers=1 << 20)
    stop, model_id = threading.Event(), service.world.model_id
    with service.worker("query-1"):
        service.redis.zadd("cloister:query:asked", {model_id: time.time()})
        until(lambda: is_placed(service, 0))
        callers = [Caller(service.session(grant), stop) for _ in range(USERS)]
        threads = [threading.Thread(target=one.run) for one in callers]
        for thread in threads:
            thread.start()
        try:
            until(lambda: backlogs(service.redis)[model_id].is_hot)
            with service.worker("query-2"):
                until(lambda: is_placed(service, 1))
                until(lambda: sum(len(one.launches) == 2 for one in callers) >= 4)
                assert RedisLoad(service.redis).of_model(model_id).places == 2
                time.sleep(1.0)
                stop.set()
                for thread in threads:
                    thread.join()
                until(lambda: not is_placed(service, 1))
                until(lambda: not service.placed[1].alive)
                assert is_placed(service, 0)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert [one.failure for one in callers] == [None] * USERS
    answered = sum((one.launches for one in callers), Counter[str]())
    evaluated = Counter({one.launch.signing.party: one.launch.model.calls for one in service.placed})
    assert answered == evaluated, "each question was evaluated once, by the launch that answered it"
    assert len(answered) == 2
    assert min(answered.values()) > 0.1 * answered.total()


def test_without_a_backlog_a_second_worker_takes_nothing(service: Service) -> None:
    with service.worker("query-1"):
        service.redis.zadd("cloister:query:asked", {service.world.model_id: time.time()})
        until(lambda: is_placed(service, 0))
        with service.worker("query-2") as second:
            until(lambda: second.settled)
            session = service.session(service.world.grant())
            for _ in range(5):
                session.ask(rows_of(1))
            second.nudge()
            time.sleep(0.5)
            assert not is_placed(service, 1)


def test_sessions_of_a_place_whose_worker_ended_go_on_in_the_next_launch(service: Service) -> None:
    grant = service.world.grant(answers=1 << 20)
    with service.worker("query-1"):
        service.redis.zadd("cloister:query:asked", {service.world.model_id: time.time()})
        until(lambda: is_placed(service, 0))
        session = service.session(grant)
        first = session.enclave.placement.launch
        session.ask(rows_of(1))
    with service.worker("query-1"):
        until(lambda: is_placed(service, 0))
        time.sleep(1.1)  # a front shows a proof for so long
        assert len(session.ask(rows_of(1)).labels) == 1
        assert session.enclave.placement.launch != first
