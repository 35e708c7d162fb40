"""Questions of several users in one evaluation: each gets its own answer, and no neighbour changes or fails it."""

import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest
from numpy.typing import NDArray

from client.query_session import QuerySession
from common.errors import PolicyError, Refusal, UnavailableError
from common.messages.query_tensors import Answer, decode_outcome, encode_question
from common.sandbox.protocol import QueryOutcome
from services.query_enclave import batching
from services.query_enclave.departures import (
    DEADLINE_SECONDS,
    GRAPH_QUANTUM_SECONDS,
    QUANTUM_SECONDS,
    Departures,
    Timing,
)
from tests.fakes.query_world import FEATURES, PROFILE, ROWS, WEIGHTS_CF, Launch, QueryWorld, VirtualClock, rows_of

NOT_AFTER = int(time.time()) + 3600

LONG = 5.0
"""Seconds that the first question waits where a test fills the batch itself."""


class Asker:
    """One user's session, and what he asked without waiting."""

    def __init__(self, world: QueryWorld, launch: Launch, number: int, answers: int = 100) -> None:
        grant = world.grant(nonce=bytes([number]) * 16, answers=answers, not_after=NOT_AFTER)
        session: QuerySession = world.session(launch, grant)
        self._cipher, self._launch, self._counter = session._channel.cipher, launch, 0
        self.answer: Future[bytes] = Future()
        self.query = b""

    def ask(self, rows: NDArray[np.float32]) -> "Asker":
        """Begin."""
        self.query = self._cipher.seal_query(self._counter, encode_question(rows, PROFILE))
        self._counter += 1
        self.answer = self._launch.answering.begin(self.query)
        return self

    def hear(self) -> Answer:
        """What came; raises the refusal that was sealed."""
        sealed = self.answer.result(LONG)
        assert len(sealed) == PROFILE.answer_bytes
        return decode_outcome(self._cipher.open_answer(self.query, sealed), PROFILE)


def askers(world: QueryWorld, launch: Launch, count: int) -> list[Asker]:
    """Users, each of whom has asked before: their blocks are drawn."""
    made = [Asker(world, launch, number) for number in range(count)]
    for one in made:
        one.ask(rows_of(1)).hear()
    launch.model.calls, launch.model.units = 0, []
    return made


def scores(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the model says of them alone."""
    return (rows @ WEIGHTS_CF.T).astype(np.float32)


def require_own(asker: Asker, rows: NDArray[np.float32]) -> None:
    """It got the model's answer to its own rows."""
    answer = asker.hear()
    assert answer.scores is not None
    np.testing.assert_allclose(answer.scores.astype(np.float32), scores(rows), rtol=1e-5)


def test_questions_of_several_users_are_one_evaluation(world: QueryWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = world.launch(questions=4)
    users = askers(world, launch, 4)
    monkeypatch.setattr(batching, "WAIT_SECONDS", LONG)
    rows = [rows_of(1 + number) + number for number in range(4)]
    for user, own in zip(users, rows, strict=True):
        user.ask(own)
    for user, own in zip(users, rows, strict=True):
        require_own(user, own)
    assert [unit.shape for unit in launch.model.units] == [(4 * ROWS, FEATURES)]


def test_a_question_without_company_waits_no_longer_than_stated(world: QueryWorld) -> None:
    launch = world.launch(questions=4)
    (user,) = askers(world, launch, 1)
    require_own(user.ask(rows_of(2)), rows_of(2))
    assert batching.WAIT_SECONDS <= GRAPH_QUANTUM_SECONDS / 5


def full_batch(
    world: QueryWorld, monkeypatch: pytest.MonkeyPatch, hostile: NDArray[np.float32], launch: Launch | None = None
) -> tuple[Launch, list[Asker]]:
    """Three honest users and, in their midst, one who asks `hostile` rows."""
    launch = launch or world.launch(questions=4)
    users = askers(world, launch, 4)
    monkeypatch.setattr(batching, "WAIT_SECONDS", LONG)
    for number, user in enumerate(users):
        user.ask(hostile if number == 1 else rows_of(2) + number)
    return launch, users


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_no_numbers_never_meet_anybodys(
    world: QueryWorld, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    launch, users = full_batch(world, monkeypatch, np.full((1, FEATURES), value, np.float32))
    for _ in range(2):  # so that the batch behind it is full
        users[0].ask(rows_of(1))
    for number in (2, 3):
        require_own(users[number], rows_of(2) + number)
    with pytest.raises(Refusal, match=r"provider\.output"):
        users[1].hear()
    for unit in launch.model.units:
        if not np.isfinite(unit).all():
            assert len(unit) == ROWS


@pytest.mark.parametrize("value", [3e38, -3e38])
def test_rows_that_overflow_fail_their_own_question_alone(
    world: QueryWorld, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    hostile = np.full((ROWS, FEATURES), value, np.float32)
    launch, users = full_batch(world, monkeypatch, hostile)
    for number in (0, 2, 3):
        require_own(users[number], rows_of(2) + number)
    with pytest.raises(Refusal, match=r"provider\.output"):
        users[1].hear()
    assert [len(unit) for unit in launch.model.units] == [4 * ROWS, ROWS, ROWS, ROWS, ROWS]


def test_who_spoiled_a_batch_spoils_no_other(world: QueryWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under that grant, also in a new session."""
    hostile = np.full((1, FEATURES), 3e38, np.float32)
    launch, users = full_batch(world, monkeypatch, hostile)
    for number in (0, 2, 3):
        require_own(users[number], rows_of(2) + number)
    launch.model.units = []
    again = Asker(world, launch, 1)
    again.ask(hostile)
    for number in (0, 2, 3):
        users[number].ask(rows_of(1))
    extra = Asker(world, launch, 9)
    extra.ask(rows_of(1))
    for number in (0, 2, 3):
        require_own(users[number], rows_of(1))
    require_own(extra, rows_of(1))
    with pytest.raises(Refusal, match=r"provider\.output"):
        again.hear()
    assert sorted(len(unit) for unit in launch.model.units) == [ROWS, 4 * ROWS]


def test_a_refused_question_takes_part_as_a_row_that_is_not_its_own(
    world: QueryWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So neither the work of an evaluation nor when its answers leave tells the host who was refused."""
    launch = world.launch(questions=2)
    rich, poor = Asker(world, launch, 0), Asker(world, launch, 1, answers=1)
    for one in (rich, poor):
        one.ask(rows_of(1)).hear()
    monkeypatch.setattr(batching, "WAIT_SECONDS", LONG)
    launch.model.units = []
    poor.ask(rows_of(3) + 7)
    rich.ask(rows_of(2))
    require_own(rich, rows_of(2))
    with pytest.raises(PolicyError, match=r"policy\.budget"):
        poor.hear()
    assert [unit.shape for unit in launch.model.units] == [(2 * ROWS, FEATURES)]
    assert not np.isin(rows_of(3) + 7, launch.model.units[0]).any()


def test_provider_code_sees_one_question_at_a_time(world: QueryWorld) -> None:
    launch = world.launch()
    users = askers(world, launch, 6)
    for number, user in enumerate(users):
        user.ask(rows_of(1) + number)
    for number, user in enumerate(users):
        require_own(user, rows_of(1) + number)
    assert [len(unit) for unit in launch.model.units] == [ROWS] * 6


@pytest.mark.parametrize("broken", ["raises", "fewer", "fails"])
def test_an_evaluation_that_breaks_is_a_sealed_refusal_for_each_and_the_launch_goes_on(
    world: QueryWorld, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    launch = world.launch(questions=3)
    users = askers(world, launch, 3)
    monkeypatch.setattr(batching, "WAIT_SECONDS", LONG)
    good = launch.model.answer

    def answer(input_NX: NDArray[np.generic], _seconds: float) -> QueryOutcome:
        if broken == "raises":
            raise RuntimeError("a window is closed")
        return QueryOutcome(np.zeros((1, 3), np.float32)) if broken == "fewer" else QueryOutcome(code="provider.raised")

    launch.model.answer = answer  # type: ignore[method-assign,assignment]
    for user in users:
        user.ask(rows_of(2))
    for user in users:
        with pytest.raises((Refusal, UnavailableError)):
            user.hear()
    launch.model.answer = good  # type: ignore[method-assign]
    monkeypatch.setattr(batching, "WAIT_SECONDS", 0.0)
    for user in users:
        require_own(user.ask(rows_of(1)), rows_of(1))


def test_an_answer_is_what_it_is_alone_whatever_its_neighbours(
    world: QueryWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of anybody's rows gets into another's answer, whichever place they have."""
    launch = world.launch(questions=3)
    users = askers(world, launch, 3)
    monkeypatch.setattr(batching, "WAIT_SECONDS", LONG)
    for turn in range(6):
        order = np.random.default_rng(turn).permutation(3)
        rows = {int(number): rows_of(1 + int(number)) * (turn + 1) for number in order}
        for number in order:
            users[number].ask(rows[int(number)])
        for number, own in rows.items():
            require_own(users[number], own)


def test_while_the_broker_is_asked_for_one_grant_others_are_answered(
    world: QueryWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that hears all queries never waits for a draw."""
    launch = world.launch(questions=4)
    others = askers(world, launch, 2)[1]
    asked, go_on, drawn = threading.Event(), threading.Event(), world.ledger.draw

    def slowly(*of: object) -> object:
        asked.set()
        assert go_on.wait(LONG)
        return drawn(*of)  # type: ignore[arg-type]

    monkeypatch.setattr(world.ledger, "draw", slowly)
    waits = Asker(world, launch, 7)
    waits.ask(rows_of(1))
    assert asked.wait(LONG)
    require_own(others.ask(rows_of(2)), rows_of(2))
    assert not waits.answer.done()
    go_on.set()
    require_own(waits, rows_of(1))


@pytest.mark.parametrize(
    ("seconds", "leaves"), [(0.0, 0.01), (0.004, 0.01), (0.0101, 0.02), (0.1, 0.1), (0.101, 0.2), (4.95, 5.0)]
)
def test_a_graphs_answer_leaves_at_a_fine_quantum_first_and_at_a_coarse_one_later(
    seconds: float, leaves: float
) -> None:
    assert Timing.of_graph().leaves_after(seconds) == pytest.approx(leaves)
    assert DEADLINE_SECONDS / QUANTUM_SECONDS == 50


@pytest.mark.parametrize("seconds", [0.0, 0.0042, 0.0101, 0.26])
def test_a_graphs_answer_leaves_when_it_is_ready_where_its_order_says_so(seconds: float) -> None:
    """And provider code's never does."""
    immediate = PROFILE.model_copy(update={"answer_timing": "immediate"})
    assert Timing.of(immediate.model_copy(update={"answered_by": "graph"})).leaves_after(seconds) == seconds
    assert Timing.of(immediate) == Timing.of(PROFILE) == Timing()
    assert Timing.of(PROFILE.model_copy(update={"answered_by": "graph"})) == Timing.of_graph()


def test_what_is_due_sooner_leaves_sooner() -> None:
    """A late evaluation does not hold back what was ready after it and is due before."""
    order: list[str] = []
    both_wait, both_left = threading.Event(), threading.Event()
    clock = VirtualClock()

    def wait(due: threading.Condition, seconds: float) -> None:
        if both_wait.is_set():
            clock.wait(due, seconds)
        else:
            due.wait(0.01)

    def sent(name: str) -> None:
        order.append(name)
        if len(order) == 2:
            both_left.set()

    departures = Departures(Timing(0.2, 0.05, monotonic=lambda: clock.at, wait=wait))
    departures.leave(clock.at - 0.06, lambda: sent("late"))  # due in 0.04
    departures.leave(clock.at - 0.03, lambda: sent("soon"))  # due in 0.02
    both_wait.set()
    assert both_left.wait(LONG)
    departures.close()
    assert order == ["soon", "late"]
