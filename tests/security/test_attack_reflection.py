"""Promise: what somebody sent is not an answer to himself, and what he was told is no request.

The host carries all of it, and may bring each message back to whoever made it. Frames: `test_frames_hostile_host.py`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from common.broker_channel import BrokerChannel
from common.errors import AppraisalError, AuthenticityError, FormatError, Refusal
from common.messages.admission import Admission
from common.messages.broker_identity import BrokerDescription, DescribeBroker
from tests.fakes.broker_world import BrokerWorld
from tests.fakes.half_launch import HalfLaunch
from tests.fakes.query_world import QueryWorld, rows_of


@pytest.fixture
def broker(tmp_path: Path) -> BrokerWorld:
    return BrokerWorld(tmp_path)


@pytest.fixture
def queries(tmp_path: Path) -> Iterator[QueryWorld]:
    made = QueryWorld(tmp_path)
    yield made
    made.close()


def test_a_question_is_no_answer_of_the_broker(broker: BrokerWorld) -> None:
    channel = BrokerChannel(lambda raw: raw, broker.genesis.signing_public)
    with pytest.raises(FormatError, match=r"format\.message"):
        channel.ask(DescribeBroker(), BrokerDescription)


def test_an_answer_of_the_broker_is_no_question_to_it(broker: BrokerWorld) -> None:
    answers = list[bytes]()

    def twice(raw: bytes) -> bytes:
        answers.append(broker.handle(raw))
        return broker.handle(answers[-1])

    before = broker.head.size
    with pytest.raises(Refusal) as refused:
        BrokerChannel(twice, broker.genesis.signing_public).ask(DescribeBroker(), BrokerDescription)
    assert refused.value.code in {"format.message", "authenticity.broker_reply"}
    assert len(answers) == 1
    assert broker.head.size == before


def test_the_brokers_own_quote_admits_nobody(broker: BrokerWorld) -> None:
    """It is genuine, fresh and of the release: of another role, over another binding."""
    job_id = broker.start_job()
    body = HalfLaunch(broker, job_id).body()
    reflected = body.model_copy(update={"evidence": broker.describe().evidence})
    with pytest.raises(AppraisalError, match=r"appraisal\.(measurement|binding)"):
        broker.channel().ask(reflected, Admission)
    assert broker.context.job(job_id).launches == ()


def test_a_query_is_no_answer_and_an_opening_no_reply(queries: QueryWorld) -> None:
    launch = queries.launch()
    session = queries.session(launch)
    post = launch.post
    launch.post = lambda _path, body: body  # type: ignore[method-assign,assignment]
    with pytest.raises(AuthenticityError, match=r"authenticity\.query"):
        session.ask(rows_of(1))
    with pytest.raises(Refusal) as refused:
        queries.session(launch).ask(rows_of(1))
    assert refused.value.code.startswith(("authenticity.", "format."))
    assert launch.model.calls == 0
    launch.post = post  # type: ignore[method-assign]
    assert queries.session(launch).ask(rows_of(1)).answers_left >= 0


def test_an_answer_is_no_query(queries: QueryWorld) -> None:
    launch = queries.launch()
    queries.session(launch).ask(rows_of(1))
    drawn, calls = sum(queries.ledger.drawn.values()), launch.model.calls
    for received in launch.received:
        for show in (launch.sessions.open, launch.answering.answer):
            with pytest.raises(Refusal):
                show(received)
    assert (sum(queries.ledger.drawn.values()), launch.model.calls) == (drawn, calls)
