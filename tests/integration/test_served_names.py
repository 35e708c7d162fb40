"""A name's promotion and roll-back under load, with real enclave processes, sandboxes, Redis and HTTP."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from client import served_exchange
from client.query_client import QueryClient
from client.query_session import QuerySession, QueryUser
from common.identifiers import GrantId, ModelId
from common.messages.broker_exchange import BrokerReply, BrokerRequest
from common.messages.query_tensors import Answer
from common.messages.serving import ReadServing, ServedName, ServingRecord, ServingShown
from common.messages.signed import Signed
from services.attestation.ledger import ANSWERS, tally_of
from services.query_enclave.blocks import BLOCK_ANSWERS, MOST_ANSWERS
from tests.conftest import Broker
from tests.fakes.exported_graphs import linear_graph
from tests.fakes.in_memory_job import FEATURES
from tests.fakes.query_service import QueryService
from tests.fakes.training_world import small_bundle

USERS = 6
PHASE_SECONDS = 3.0

pytestmark = pytest.mark.timeout(600)  # several launches, on a machine that may be busy


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, redis_server: Broker) -> Iterator[QueryService]:
    """Two versions of one model, both placed."""
    contents = small_bundle()
    document = json.dumps(linear_graph(contents.manifest)).encode()
    state = tmp_path_factory.mktemp("served_names")
    with QueryService(state, redis_server.url, contents, document, versions=2).running() as running:
        yield running


@dataclass
class Caller:
    """A user's thread, which asks one question after the other until it is told to stop."""

    service: QueryService
    session: QuerySession
    number: int
    stop: threading.Event
    answers: list[tuple[float, ModelId]] = field(default_factory=list)
    failure: BaseException | None = None

    def run(self) -> None:
        """Keep when each answer came and whose it was."""
        try:
            turn = 0
            while not self.stop.is_set():
                rows = rows_of(self.number + turn, 1 + turn % 4)
                answer = self.session.ask(rows)
                require_right(self.service, answer, rows)
                assert answer.model_id is not None
                self.answers.append((time.monotonic(), answer.model_id))
                turn += 1
        except BaseException as failure:  # told to the test
            self.failure = failure


def rows_of(user: int, count: int) -> NDArray[np.float32]:
    """Different ones for each user."""
    return ((np.arange(count * FEATURES).reshape(count, FEATURES) + user) / 7).astype(np.float32)


def require_right(service: QueryService, answer: Answer, rows: NDArray[np.float32]) -> None:
    """It is that of the version which the client says has answered."""
    (state_P,) = [one.state_P for one in service.models if one.model_id == answer.model_id]
    assert answer.scores is not None
    expected = (rows[:, : FEATURES - 2] * state_P[: FEATURES - 2]).sum(axis=1)
    np.testing.assert_allclose(answer.scores.astype(float), expected, rtol=1e-4, atol=1e-6)


def name_of(service: QueryService, name: str) -> ServedName:
    return ServedName(owner=service.world.owner.party, name=name)


def records(service: QueryService, served: ServedName) -> ServingRecord:
    """As the broker shows it, over the way that launches share."""
    raw = service.broker.ask(BrokerRequest(nonce=bytes(32), body=ReadServing(served=served)).encode())
    body = BrokerReply.decode(Signed.decode(raw).payload).body
    assert isinstance(body, ServingShown)
    return ServingRecord.decode(body.record.payload)


def open_session(service: QueryService, grant: Signed, served: ServedName) -> QuerySession:
    key = service.world.user.key
    user = QueryUser(key, grant, service.pins, records=lambda: records(service, served))
    return QuerySession.open(QueryClient(service.url, key), user, now=lambda: float(service.world.time))


def test_no_question_is_lost_over_a_promotion_and_a_roll_back(
    service: QueryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served_exchange, "LOOK_SECONDS", 0.2)
    world, (old, new) = service.world, service.models
    served = name_of(service, "digits")
    world.serve(world.serving(1, old.manifest, served=served))
    grant = world.grant(old.manifest, model_id=None, manifest=None, served=served, answers=1 << 20)
    stop = threading.Event()
    callers = [Caller(service, open_session(service, grant, served), number, stop) for number in range(USERS)]
    threads = [threading.Thread(target=one.run) for one in callers]
    for thread in threads:
        thread.start()
    time.sleep(PHASE_SECONDS)
    world.serve(world.serving(2, new.manifest, old.manifest, served=served))
    promoted = time.monotonic()
    time.sleep(PHASE_SECONDS)
    world.serve(world.serving(3, old.manifest, served=served))
    rolled_back = time.monotonic()
    time.sleep(PHASE_SECONDS)
    stop.set()
    for thread in threads:
        thread.join()
    assert [one.failure for one in callers] == [None] * USERS
    told = Counter[tuple[str, ModelId]]()
    for one in callers:
        for at, model_id in one.answers:
            phase = "before" if at < promoted else "promoted" if at < rolled_back else "back"
            told[phase, model_id] += 1
        assert {model_id for _, model_id in one.answers} == {old.model_id, new.model_id}
        assert one.answers[-1][1] == old.model_id
    assert told["before", new.model_id] == 0
    assert told["promoted", new.model_id] > told["promoted", old.model_id]
    assert told["back", old.model_id] > told["back", new.model_id]
    drawn = world.context.state.tally(tally_of(ANSWERS, GrantId.of(grant.digest)))
    rows = sum(1 + turn % 4 for one in callers for turn in range(len(one.answers)))
    held = 2 * 2 * MOST_ANSWERS  # each launch may hold two blocks
    assert rows <= drawn <= rows + held + 4 * USERS  # a switch repeats a question


def test_a_version_that_was_left_answers_what_it_has_drawn_and_no_more(service: QueryService) -> None:
    """Whoever stays with it by hand is refused by the broker, sealed, and told why."""
    world, (old, new) = service.world, service.models
    served = name_of(service, "left")
    world.serve(world.serving(1, old.manifest, served=served))
    grant = world.grant(old.manifest, model_id=None, manifest=None, served=served, answers=1 << 20)
    version = records(service, served).current
    key = world.user.key
    user = QueryUser(key, grant, service.pins, model=version)
    session = QuerySession.open(QueryClient(service.url, key), user, now=lambda: float(world.time))
    assert len(session.ask_all(rows_of(0, 4)).labels) == 4
    world.serve(world.serving(2, new.manifest, served=served))
    with pytest.raises(Exception, match=r"policy\.serving"):
        session.ask_all(rows_of(0, BLOCK_ANSWERS + 4))
