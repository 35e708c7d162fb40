"""Sessions beside other tasks, questions in batches, and answers that are fetched later: the same exchange as ever."""

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from client.async_query_session import UNDER_WAY, AsyncQuerySession, Threaded
from client.query_session import QuerySession, QueryUser
from common.dcap.completion import CompleteEvidence, complete_evidence
from common.errors import FreshnessError, PolicyError, Refusal, UnavailableError
from common.identifiers import QueryId
from common.messages.evidence import Evidence
from common.messages.query_batch import MAX_BATCH, QuerySubmitted, decode_answers, encode_answers, split_queries
from services.query_enclave.sessions import ANSWERS_KEPT
from tests.fakes.query_world import PROFILE, ROWS, WEIGHTS_CF, Launch, QueryWorld, rows_of


def require_right(labels: "np.ndarray[Any, Any]", rows: "np.ndarray[Any, Any]") -> None:
    """They are the model's."""
    np.testing.assert_array_equal(labels, (rows @ WEIGHTS_CF.T).argmax(axis=1))


def in_tasks(world: QueryWorld, launch: Any, work: Any, **grant: Any) -> Any:
    """Run `work` with an open session."""

    async def run() -> Any:
        transport = Threaded(launch)
        try:
            user = QueryUser(world.user, world.grant(**grant), world.pins)
            session = await AsyncQuerySession.open(transport, user, pause=lambda _seconds: asyncio.sleep(0))
            return await work(session)
        finally:
            transport.close()

    return asyncio.run(run())


def test_many_tasks_ask_in_one_session(world: QueryWorld) -> None:
    launch = world.launch(questions=8)

    async def work(session: AsyncQuerySession) -> None:
        rows = [rows_of(2) + number for number in range(3 * UNDER_WAY)]
        answers = await asyncio.gather(*map(session.ask, rows))
        for answer, own in zip(answers, rows, strict=True):
            require_right(answer.labels, own)

    in_tasks(world, launch, work)
    assert UNDER_WAY <= ANSWERS_KEPT // 2
    assert launch.model.calls < 3 * UNDER_WAY  # they shared evaluations


def test_the_loop_goes_on_while_a_quote_is_verified(world: QueryWorld) -> None:
    """Completing the evidence, which comes before and may ask a service, waits here for the loop to do something."""
    launch, did = world.launch(), threading.Event()

    def complete(evidence: Evidence) -> CompleteEvidence:
        assert did.wait(10), "the loop did nothing meanwhile"
        return complete_evidence(evidence)

    async def run() -> None:
        transport = Threaded(launch)
        try:
            asyncio.get_running_loop().call_later(0.01, did.set)
            user = QueryUser(world.user, world.grant(), world.pins, complete=complete)
            session = await AsyncQuerySession.open(transport, user)
            require_right((await session.ask(rows_of(1))).labels, rows_of(1))
        finally:
            transport.close()

    asyncio.run(run())


def test_an_enclave_that_was_started_anew_is_verified_by_all_tasks(world: QueryWorld) -> None:
    class Moving:
        launch: Launch = world.launch()

        def get(self, path: str) -> bytes:
            return self.launch.get(path)

        def post(self, path: str, body: bytes) -> bytes:
            return self.launch.post(path, body)

    transport = Moving()

    async def work(session: AsyncQuerySession) -> None:
        await session.ask(rows_of(1))
        first = session.enclave
        transport.launch = world.launch()
        for answer in await asyncio.gather(*(session.ask(rows_of(1)) for _ in range(5))):
            require_right(answer.labels, rows_of(1))
        assert session.enclave.wrapping_public != first.wrapping_public

    in_tasks(world, transport, work)


def test_a_refusal_is_the_tasks_own(world: QueryWorld) -> None:
    async def work(session: AsyncQuerySession) -> None:
        ended = await asyncio.gather(*(session.ask(rows_of(1)) for _ in range(4)), return_exceptions=True)
        refused = [one for one in ended if isinstance(one, PolicyError)]
        assert len(refused) == 1

    in_tasks(world, world.launch(), work, answers=3)


def test_many_rows_go_in_few_requests(world: QueryWorld) -> None:
    launch = world.launch()
    count = ROWS * (1 + MAX_BATCH + 3)
    session = world.session(launch, world.grant(answers=count))
    launch.sent = []
    answer = session.ask_all(rows_of(count))
    require_right(answer.labels, rows_of(count))
    assert answer.answers_left == 0
    paths = [path.rpartition("/")[2] for path, _ in launch.sent]
    assert paths == ["queries", "batches", "batches"]
    assert len(launch.sent[1][1]) == MAX_BATCH * PROFILE.query_bytes


def test_answers_come_request_by_request(world: QueryWorld) -> None:
    session = world.session(world.launch(), world.grant(answers=1000))
    parts = list(session.ask_each(rows_of(ROWS * (MAX_BATCH + 2))))
    assert [len(part.labels) for part in parts] == [ROWS, ROWS * MAX_BATCH, ROWS]
    require_right(np.concatenate([part.labels for part in parts]), rows_of(ROWS * (MAX_BATCH + 2)))


class Spoiling:
    """A transport that spoils a batch's answers."""

    def __init__(self, launch: Launch, spoiled: dict[int, Refusal], *, lost: bool = False) -> None:
        self.launch, self.spoiled, self.lost = launch, spoiled, lost

    def get(self, path: str) -> bytes:
        """The proof."""
        return self.launch.get(path)

    def post(self, path: str, body: bytes) -> bytes:
        """The answers, and a refusal in place of some; `lost`: the enclave has answered all the same."""
        if not path.endswith("/batches"):
            return self.launch.post(path, body)
        queries = split_queries(body, PROFILE.query_bytes)
        sent = [query for number, query in enumerate(queries) if self.lost or number not in self.spoiled]
        answers = iter(decode_answers(self.launch.post(path, b"".join(sent)), len(sent)))
        said = []
        for number in range(len(queries)):
            answer = next(answers) if self.lost or number not in self.spoiled else b""
            said.append(self.spoiled.get(number, answer))
        return encode_answers(said)


@pytest.mark.parametrize("lost", [False, True])
def test_what_a_batch_left_without_an_answer_is_asked_again_and_charged_once(world: QueryWorld, lost: bool) -> None:
    """As the very same bytes: whether the enclave had them or not."""
    launch = world.launch()
    spoiled: dict[int, Refusal] = {1: UnavailableError("unavailable.full"), 3: UnavailableError("unavailable.enclave")}
    user = QueryUser(world.user, world.grant(answers=100), world.pins)
    session = QuerySession.open(Spoiling(launch, spoiled, lost=lost), user, pause=lambda _seconds: None)
    answer = session.ask_all(rows_of(6 * ROWS))
    require_right(answer.labels, rows_of(6 * ROWS))
    assert answer.answers_left == 100 - 6 * ROWS


def test_a_batch_of_a_session_that_is_over_is_asked_in_the_next_one(world: QueryWorld) -> None:
    launch = world.launch()
    user = QueryUser(world.user, world.grant(answers=1000), world.pins)
    transport = Spoiling(launch, {number: FreshnessError("freshness.session") for number in range(3)})
    session = QuerySession.open(transport, user, pause=lambda _seconds: None)
    require_right(session.ask_all(rows_of(5 * ROWS)).labels, rows_of(5 * ROWS))


def test_a_refusal_in_a_batch_is_raised(world: QueryWorld) -> None:
    session = world.session(world.launch(), world.grant(answers=2 * ROWS))
    world.session(world.launches[0], world.grant(nonce=b"\7" * 16))
    with pytest.raises(PolicyError, match=r"policy\.budget"):
        session.ask_all(rows_of(3 * ROWS))


class Front:
    """A transport with submissions as a front has them."""

    def __init__(self, launch: Launch) -> None:
        self.launch, self.submitted, self.ready = launch, dict[str, bytes](), False

    def get(self, path: str) -> bytes:
        """The proof, or the answer to a submission."""
        if "/submissions/" not in path:
            return self.launch.get(path)
        query = self.submitted[path.rpartition("/")[2]]
        return self.launch.post("/queries", query) if self.ready else b""

    def post(self, path: str, body: bytes) -> bytes:
        """The name of an answer to come."""
        if "/submissions?" not in path:
            return self.launch.post(path, body)
        name = QueryId.new()
        self.submitted[name] = body
        return QuerySubmitted(query_id=name).encode()


def test_an_answer_is_fetched_later_as_often_as_wanted(world: QueryWorld) -> None:
    front = Front(world.launch())
    session = QuerySession.open(front, QueryUser(world.user, world.grant(answers=10), world.pins))
    submitted = session.submit(rows_of(2))
    assert session.collect(submitted) is None
    front.ready = True
    for _ in range(2):
        answer = session.collect(submitted)
        assert answer is not None
        require_right(answer.labels, rows_of(2))
        assert answer.answers_left == 8


def test_submissions_of_tasks(world: QueryWorld) -> None:
    front = Front(world.launch())
    front.ready = True

    async def work(session: AsyncQuerySession) -> None:
        submitted = await session.submit(rows_of(3))
        answer = await session.collect(submitted)
        assert answer is not None
        require_right(answer.labels, rows_of(3))

    in_tasks(world, front, work)
