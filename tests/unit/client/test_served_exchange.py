"""Asking under a name: the version is chosen here, a switch costs no question, and no host chooses another."""

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from client import served_exchange
from client.async_query_session import AsyncQuerySession, Threaded
from client.query_exchange import joined
from client.query_session import QuerySession, QueryUser
from common.errors import AppraisalError, FreshnessError, PolicyError, UnavailableError
from common.identifiers import ModelId
from common.messages.objects import ModelManifest
from common.messages.serving import ServedModel, ServedName, ServingRecord
from common.messages.signed import Signed
from services.query_enclave.blocks import BLOCK_ANSWERS
from tests.fakes.query_world import Launch, Ledger, QueryWorld, rows_of


def model_of(manifest: Signed) -> ServedModel:
    return ServedModel(model_id=ModelManifest.decode(manifest.payload).model_id, manifest=manifest.digest)


class Served:
    """Three versions, each with a launch of its own, and the record that leads to them; a QueryTransport to all."""

    def __init__(self, world: QueryWorld) -> None:
        self.world, self.reads, self.away = world, 0, set[ModelId]()
        self.launches: dict[ModelId, Launch] = {}
        self.versions: list[ServedModel] = []
        for name in (b"one", b"two", b"three"):
            world.manifest, world.ledger = world.make_manifest(name), Ledger()
            self.versions.append(model_of(world.manifest))
            self.launches[self.versions[-1].model_id] = world.launch(questions=4)
        self.served = ServedName(owner=world.owner.party, name="digits")
        self.record = ServingRecord(
            served=self.served, number=1, broker=world.broker.party, current=self.versions[0], created=1
        )
        self.down = False

    def say(self, current: int, previous: int | None = None, canary: int | None = None, permille: int = 0) -> None:
        """The next record."""
        named = [None if one is None else self.versions[one] for one in (current, previous, canary)]
        fields = dict(zip(("current", "previous", "canary"), named, strict=True))
        self.record = ServingRecord.model_validate(
            self.record.model_dump() | fields | {"number": self.record.number + 1, "canary_permille": permille}
        )

    def read(self) -> ServingRecord:
        """As the broker shows it."""
        self.reads += 1
        if self.down:
            raise UnavailableError("unavailable.broker")
        return self.record

    def get(self, path: str) -> bytes:
        return self._launch(path).get(path)

    def post(self, path: str, body: bytes) -> bytes:
        return self._launch(path).post(path, body)

    def _launch(self, path: str) -> Launch:
        model_id = ModelId(path.split("/")[3])
        if model_id in self.away:
            raise UnavailableError("unavailable.enclave")
        return self.launches[model_id]

    @property
    def user(self) -> QueryUser:
        grant = self.world.grant(model_id=None, manifest=None, served=self.served, answers=1 << 20)
        return QueryUser(self.world.user, grant, self.world.pins, records=self.read)

    def session(self) -> QuerySession:
        return QuerySession.open(self, self.user, pause=lambda _seconds: None)

    def version(self, session: QuerySession, count: int = 2) -> int:
        """Which one answers."""
        answer = session.ask_all(rows_of(count))
        assert len(answer.labels) == count
        return [one.model_id for one in self.versions].index(answer.model_id)  # type: ignore[arg-type]


@pytest.fixture
def served(world: QueryWorld, monkeypatch: pytest.MonkeyPatch) -> Served:
    monkeypatch.setattr(served_exchange, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(served_exchange, "_AGAIN_SECONDS", 0.0)
    return Served(world)


def test_a_session_goes_where_the_record_leads(served: Served) -> None:
    session = served.session()
    assert served.version(session) == 0
    served.say(1, previous=0)
    assert served.version(session) == 1
    served.say(0)
    assert served.version(session, count=50) == 0
    assert session.quotes_verified == 3


def test_a_record_is_followed_for_a_while_before_it_is_read_again(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served_exchange, "LOOK_SECONDS", 3600.0)
    session = served.session()
    for _ in range(3):
        served.version(session)
    assert served.reads == 1


def test_while_the_new_version_is_not_placed_the_one_before_answers(served: Served) -> None:
    session = served.session()
    served.away = {served.versions[1].model_id}
    served.say(1, previous=0)
    assert [served.version(session) for _ in range(3)] == [0, 0, 0]
    served.away = set()
    assert served.version(session) == 1


def test_it_does_not_for_ever(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that keeps the new version away delays it, and is seen to."""
    monkeypatch.setattr(served_exchange, "MOVE_SECONDS", 0.0)
    session = served.session()
    served.away = {served.versions[1].model_id}
    served.say(1, previous=0)
    for seconds in (0.0, 3600.0):  # also where the record is not read again
        with pytest.raises(UnavailableError):
            served.version(session)
        monkeypatch.setattr(served_exchange, "LOOK_SECONDS", seconds)
    served.away = set()
    assert served.version(session) == 1


def test_an_older_record_is_refused(served: Served) -> None:
    session = served.session()
    before = served.record
    served.say(1, previous=0)
    assert served.version(session) == 1
    served.record = before
    with pytest.raises(FreshnessError, match=r"freshness\.serving"):
        served.version(session)


def test_a_version_that_the_record_left_is_asked_no_more_also_while_the_next_one_is_away(served: Served) -> None:
    session = served.session()
    served.away = {served.versions[1].model_id}
    served.say(1)
    with pytest.raises(UnavailableError):
        served.version(session)


def test_what_is_refused_because_the_name_left_its_version_is_asked_where_it_leads(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = served.session()
    assert served.version(session) == 0
    monkeypatch.setattr(served_exchange, "LOOK_SECONDS", 3600.0)
    served.version(session)
    served.say(1)
    first = served.launches[served.versions[0].model_id]
    _ledger(first).refusal = "policy.serving"
    held = BLOCK_ANSWERS - 4
    assert served.version(session, count=held) == 0  # what it had drawn
    assert served.version(session, count=20) == 1
    assert session.ask(rows_of(3)).model_id == served.versions[1].model_id


def _ledger(launch: Launch) -> Ledger:
    source = launch.answering._budgets._source
    assert isinstance(source, Ledger)
    return source


def test_a_refusal_that_the_record_does_not_explain_is_told(served: Served) -> None:
    session = served.session()
    _ledger(served.launches[served.versions[0].model_id]).refusal = "policy.serving"
    with pytest.raises(PolicyError, match=r"policy\.serving"):
        session.ask(rows_of(1))


def test_the_canary_is_tried_by_its_share_and_by_nobody_elses_choice(served: Served) -> None:
    served.say(0, canary=1, permille=250)
    found = Counter(served.version(served.session()) for _ in range(200))
    assert set(found) == {0, 1}
    assert 20 <= found[1] <= 90  # 50 are expected, with a deviation of 6


@pytest.mark.parametrize(("drawn", "chosen"), [(99, 1), (100, 0)])
def test_a_host_that_does_not_answer_for_the_chosen_version_gets_no_question_for_the_other(
    served: Served, monkeypatch: pytest.MonkeyPatch, drawn: int, chosen: int
) -> None:
    monkeypatch.setattr("client.served_exchange.secrets.randbelow", lambda _most: drawn)
    served.say(0, canary=1, permille=100)
    served.away = {served.versions[chosen].model_id}
    with pytest.raises(UnavailableError):
        served.session()
    assert all(not launch.sent for launch in served.launches.values())
    served.away = set()
    assert served.version(served.session()) == chosen


def test_an_enclave_with_another_model_than_the_record_names_is_refused(served: Served) -> None:
    """Also with one that the record named before: each session is verified against its own version."""
    session = served.session()
    first, second = served.versions[:2]
    served.launches[second.model_id] = served.launches[first.model_id]
    served.say(1, previous=0)
    sent = len(served.launches[first.model_id].sent)
    with pytest.raises(AppraisalError, match=r"appraisal\.placement"):
        session.ask(rows_of(1))
    assert len(served.launches[first.model_id].sent) == sent


def test_one_version_can_be_asked_for_alone(served: Served) -> None:
    user = replace(served.user, records=None, model=served.versions[2])
    session = QuerySession.open(served, user, pause=lambda _seconds: None)
    assert served.version(session) == 2
    served.say(1)
    assert served.version(session) == 2


def test_a_broker_that_is_away_stops_nobody_for_a_while(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    session = served.session()
    served.down = True
    assert served.version(session) == 0
    monkeypatch.setattr(served_exchange, "KNOWN_SECONDS", 0.0)
    served.down = False
    served.version(session)
    served.down = True
    with pytest.raises(UnavailableError, match=r"unavailable\.broker"):
        served.version(session)


def test_tasks_follow_a_name_too(served: Served) -> None:
    async def run() -> list[Any]:
        transport = Threaded(served)
        try:
            session = await AsyncQuerySession.open(transport, served.user, pause=lambda _seconds: asyncio.sleep(0))
            before = await asyncio.gather(*(session.ask(rows_of(1)) for _ in range(8)))
            served.say(1, previous=0)
            after = await asyncio.gather(*(session.ask_all(rows_of(9)) for _ in range(8)))
            return [*before, *after]
        finally:
            transport.close()

    models = [one.model_id for one in served.versions]
    found = [models.index(one.model_id) for one in asyncio.run(run())]
    assert found[:8] == [0] * 8
    assert set(found[8:]) <= {0, 1}
    assert found[-1] == 1


def test_a_receipt_names_the_version_that_answered(served: Served) -> None:
    session = served.session()
    book = session.receipt_book()
    session.ask(rows_of(1), book=book)
    served.say(1, previous=0)
    session.ask(rows_of(1), book=book)
    assert [one.model_id for one in book.receipts] == [one.model_id for one in served.versions[:2]]


def test_an_answer_joined_of_two_versions_names_none(served: Served) -> None:
    session = served.session()
    answers = [session.ask(rows_of(1))]
    served.say(1, previous=0)
    answers.append(session.ask(rows_of(1)))
    assert joined(answers).model_id is None
    np.testing.assert_array_equal(joined(answers).labels, [one.labels[0] for one in answers])
