"""A served graph with a real enclave process, sandbox, Redis and HTTP: many users, kills, and other ways to ask."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from client.async_query_session import AsyncQuerySession, Threaded
from client.http_client import ServiceClient
from client.query_client import QueryClient
from client.query_session import QuerySession, QueryUser
from common.errors import FormatError, NotFoundError
from common.identifiers import QueryId
from tests.conftest import Broker
from tests.fakes.exported_graphs import linear_graph
from tests.fakes.in_memory_job import FEATURES
from tests.fakes.query_service import QueryService
from tests.fakes.training_world import small_bundle

USERS = 12


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, redis_server: Broker) -> Iterator[QueryService]:
    """One running service for all tests of this file."""
    contents = small_bundle()
    document = json.dumps(linear_graph(contents.manifest)).encode()
    state = tmp_path_factory.mktemp("query_batches")
    with QueryService(state, redis_server.url, contents, document).running() as running:
        yield running


def rows_of(user: int, count: int = 3) -> NDArray[np.float32]:
    """Different ones for each user."""
    return ((np.arange(count * FEATURES).reshape(count, FEATURES) + user) / 7).astype(np.float32)


def require_right(service: QueryService, scores: object, rows: NDArray[np.float32]) -> None:
    """They are the sum of a row's first values, each times one of the first tensor's."""
    assert isinstance(scores, np.ndarray)
    weight = service.model.state_P[: FEATURES - 2]
    np.testing.assert_allclose(scores.astype(float), (rows[:, : FEATURES - 2] * weight).sum(axis=1), rtol=1e-4)


def sessions(service: QueryService, count: int = USERS) -> list[QuerySession]:
    """One for each of so many grants."""
    return [service.session() for _ in range(count)]


def test_the_model_is_answered_by_its_graph(service: QueryService) -> None:
    assert service.session().profile.answered_by == "graph"


def test_many_users_at_once_get_their_own_answers(service: QueryService) -> None:
    def ask(user: int, session: QuerySession) -> None:
        for turn in range(4):
            rows = rows_of(user + turn, 1 + (user + turn) % 4)
            require_right(service, session.ask(rows).scores, rows)

    with ThreadPoolExecutor(USERS) as pool:
        list(pool.map(ask, range(USERS), sessions(service)))


def test_a_hostile_user_among_them_gets_refusals_and_nobody_else_does(service: QueryService) -> None:
    stop = threading.Event()
    spoiled = np.zeros((1, FEATURES), np.float32)

    def spoil(session: QuerySession) -> int:
        refused = 0
        while not stop.is_set() and refused < 50:
            spoiled[0, 0] = np.nan if refused % 2 else np.inf
            with pytest.raises(Exception, match=r"provider\.output"):
                session.ask(spoiled)
            refused += 1
        return refused

    def ask(user: int, session: QuerySession) -> None:
        for _ in range(4):
            require_right(service, session.ask(rows_of(user)).scores, rows_of(user))

    hostile, *honest = sessions(service, USERS)
    with ThreadPoolExecutor(USERS) as pool:
        spoiling = pool.submit(spoil, hostile)
        list(pool.map(ask, range(len(honest)), honest))
        stop.set()
        assert spoiling.result() > 0


def test_an_enclave_that_is_killed_under_load_loses_no_question(service: QueryService) -> None:
    """Each user gets an answer to each question, and each is right, from whichever launch."""
    launches, begun = len(service.relays), threading.Barrier(USERS + 1)
    done: list[int] = []

    def ask(user: int, session: QuerySession) -> None:
        begun.wait(30)
        for turn in range(6):
            rows = rows_of(user + turn)
            require_right(service, session.ask(rows).scores, rows)
            done.append(user)

    with ThreadPoolExecutor(USERS) as pool:
        asking = [pool.submit(ask, user, session) for user, session in enumerate(sessions(service))]
        begun.wait(30)
        time.sleep(0.03)
        os.kill(service.relays[-1].pid, signal.SIGKILL)
        assert len(done) < 6 * USERS
        service.await_placed(launches + 1)
        for one in asking:
            one.result(60)
    assert len(done) == 6 * USERS


def test_many_rows_go_in_batches(service: QueryService) -> None:
    rows = rows_of(0, 90)
    answer = service.session().ask_all(rows)
    require_right(service, answer.scores, rows)
    assert answer.answers_left == 10


@pytest.mark.parametrize("size", [0, 1, -1])
def test_a_batch_that_is_no_number_of_queries_is_refused(service: QueryService, size: int) -> None:
    query_bytes = service.session().profile.query_bytes
    body = bytes(33 * query_bytes) if size == -1 else bytes(size)
    with pytest.raises(FormatError):
        ServiceClient(service.url, service.world.user.key).post(f"/v1/models/{service.model.model_id}/batches", body)


def test_an_answer_is_fetched_later_and_by_its_party_alone(service: QueryService) -> None:
    session = service.session()
    submitted = session.submit(rows_of(5))
    end = time.monotonic() + 10
    while (answer := session.collect(submitted)) is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    require_right(service, answer.scores, rows_of(5))
    path = f"/v1/models/{service.model.model_id}/submissions/"
    other = service.world.owner.key
    service.registry.enrol(other.party, 1 << 20)
    for key, name in ((other, submitted.query_id), (service.world.user.key, QueryId.new())):
        with pytest.raises(NotFoundError, match=r"not_found\.answer"):
            ServiceClient(service.url, key).get(path + name)


def test_a_session_for_an_event_loop(service: QueryService) -> None:
    async def run() -> None:
        key = service.world.user.key
        transport = Threaded(QueryClient(service.url, key))
        user = QueryUser(key, service.world.grant(service.model.manifest), service.pins)
        session = await AsyncQuerySession.open(transport, user, now=lambda: float(service.world.time))
        rows = [rows_of(number) for number in range(20)]
        for answer, own in zip(await asyncio.gather(*map(session.ask, rows)), rows, strict=True):
            require_right(service, answer.scores, own)
        transport.close()

    asyncio.run(run())
