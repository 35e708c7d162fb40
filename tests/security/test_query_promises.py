"""Promise: the host that carries queries learns sizes and times, and can neither forge, move, repeat nor read one."""

import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from client.query_session import QuerySession
from common.errors import AuthenticityError, FreshnessError, PolicyError, Refusal
from common.messages.query_tensors import decode_outcome
from tests.fakes.query_world import FEATURES, PROFILE, WEIGHTS_CF, Launch, QueryWorld, rows_of

MARKER = np.frombuffer(b"canary-in-a-query-row-24"[: FEATURES * 4], dtype="<f4").reshape(1, FEATURES)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[QueryWorld]:
    """Fresh parties and platform."""
    made = QueryWorld(tmp_path)
    yield made
    made.close()


def carried(launch: Launch) -> bytes:
    """Everything that the host saw of sessions and queries."""
    return b"".join([body for _, body in launch.sent] + launch.received)


def test_nothing_that_is_carried_shows_query_answer_user_or_grant(world: QueryWorld) -> None:
    launch, grant = world.launch(), world.grant()
    answer = world.session(launch, grant).ask(MARKER)
    assert answer.scores is not None
    seen = carried(launch)
    secrets = [MARKER.tobytes(), answer.scores.tobytes(), grant.payload, grant.payload[:32], world.user.party.encode(),
               world.user.party.raw(), WEIGHTS_CF.tobytes()]  # fmt: skip
    assert [secret for secret in secrets if secret in seen or zlib.compress(secret)[2:-4] in seen] == []


def test_the_same_question_twice_looks_unrelated(world: QueryWorld) -> None:
    launch = world.launch()
    session = world.session(launch)
    session.ask(MARKER)
    session.ask(MARKER)
    first, second = (body for path, body in launch.sent if path.endswith("/queries"))
    assert not any(first[at : at + 16] == second[at : at + 16] for at in range(40, len(first) - 16, 16))


def test_how_many_rows_and_what_comes_out_does_not_show(world: QueryWorld) -> None:
    launch = world.launch()
    session = world.session(launch, world.grant(answers=5))
    moments = [launch.clock.at]
    for rows in (1, 4):
        session.ask(rows_of(rows))
        moments.append(launch.clock.at)
    with pytest.raises(PolicyError, match=r"policy\.budget"):
        session.ask(rows_of(1))
    moments.append(launch.clock.at)
    sizes = {(len(body), len(answer)) for (path, body), answer in zip(launch.sent, launch.received, strict=True)
             if path.endswith("/queries")}  # fmt: skip
    assert sizes == {(PROFILE.query_bytes, PROFILE.answer_bytes)}
    assert len({round(later - earlier, 9) for earlier, later in itertools.pairwise(moments)}) == 1


def test_a_recorded_session_cannot_be_played_to_another_launch(world: QueryWorld) -> None:
    old, new = world.launch(), world.launch()
    world.session(old).ask(rows_of(1))
    with pytest.raises(AuthenticityError, match=r"authenticity\.wrapped_key"):
        new.sessions.open(old.sent[0][1])
    with pytest.raises(FreshnessError, match=r"freshness\.session"):
        new.answering.answer(old.sent[1][1])
    assert new.model.calls == 0


def test_replays_evaluate_nothing_and_charge_nothing(world: QueryWorld) -> None:
    launch = world.launch()
    session = world.session(launch, world.grant(answers=10))
    session.ask(rows_of(1))
    for _ in range(20):
        launch.sessions.open(launch.sent[0][1])
        launch.answering.answer(launch.sent[1][1])
    assert launch.model.calls == 1
    assert session.ask(rows_of(1)).answers_left == 8


def test_answers_cannot_be_exchanged_between_users(world: QueryWorld) -> None:
    launch = world.launch()
    first, second = world.session(launch), world.session(launch, world.grant(nonce=b"\2" * 16))
    first.ask(rows_of(1))
    foreign = launch.received[-1]
    launch.post = lambda _path, _body: foreign  # type: ignore[method-assign,assignment]
    with pytest.raises(AuthenticityError, match=r"authenticity\.query"):
        second.ask(rows_of(1))


def test_a_failed_evaluation_is_charged_or_it_would_be_a_free_bit(world: QueryWorld) -> None:
    launch = world.launch()
    session: QuerySession = world.session(launch, world.grant(answers=3))
    launch.model.code = "provider.raised"
    for _ in range(3):
        with pytest.raises(Refusal, match=r"provider\.raised"):
            session.ask(rows_of(1))
    with pytest.raises(PolicyError, match=r"policy\.budget"):
        session.ask(rows_of(1))
    assert launch.model.calls == 3


def test_an_error_is_not_told_apart_from_an_answer_by_its_bytes(world: QueryWorld) -> None:
    launch = world.launch()
    session = world.session(launch, world.grant(answers=1))
    session.ask(rows_of(1))
    with pytest.raises(PolicyError):
        session.ask(rows_of(1))
    answer, refusal = launch.received[-2:]
    assert answer[:24] == refusal[:24]
    assert abs(answer[40:].count(0) - refusal[40:].count(0)) < 24  # noise: about 4 zeros in 1 KiB of ciphertext
    with pytest.raises(AuthenticityError, match=r"authenticity\.query"):
        decode_outcome(session._channel.cipher.open_answer(launch.sent[-2][1], refusal), PROFILE)
