"""Queries a minute, as the terms bound them: of one user, over all sessions and grants, at one launch."""

import pytest

from client.query_session import QuerySession, QueryUser
from common.crypto.signing import SigningKey
from common.errors import PolicyError, UnavailableError
from common.identifiers import PartyKey
from common.messages.answer_bounds import AnswerBounds
from services.query_enclave.rates import KEPT, USERS, QueryRates
from tests.fakes.query_world import Launch, QueryWorld, rows_of

USER, OTHER = PartyKey("1" * 64), PartyKey("2" * 64)
THREE = AnswerBounds(queries_per_minute=3)


class Clock:
    """Moved by hand."""

    at = 50.0

    def __call__(self) -> float:
        return self.at


def impatient(world: QueryWorld, launch: Launch, **grant: object) -> QuerySession:
    """A session that is told at once what the enclave refuses."""
    user = QueryUser(world.user, world.grant(**grant), world.pins)
    return QuerySession.open(launch, user, pause=lambda _seconds: None)


def test_never_more_than_so_many_in_any_minute() -> None:
    clock, answered = Clock(), []
    rates = QueryRates(clock)
    for _ in range(600):
        clock.at += 0.7
        try:
            rates.admit(USER, 5)
        except UnavailableError:
            continue
        answered.append(clock.at)
    assert all(later - earlier >= 60 for earlier, later in zip(answered, answered[5:], strict=False))
    assert len(answered) == pytest.approx(600 * 0.7 / 60 * 5, abs=5)


def test_a_refused_query_does_not_count_and_another_user_is_not_refused() -> None:
    clock = Clock()
    rates = QueryRates(clock)
    rates.admit(USER, 1)
    for _ in range(5):
        clock.at += 10
        with pytest.raises(UnavailableError, match=r"unavailable\.rate") as caught:
            rates.admit(USER, 1)
        assert caught.value.seen == f"{110 - clock.at:.0f} s to wait"
        rates.admit(OTHER, 7)
    clock.at += 10
    rates.admit(USER, 1)


def test_what_was_asked_without_a_bound_counts_when_there_is_one() -> None:
    rates = QueryRates(Clock())
    rates.admit(USER, None)
    with pytest.raises(UnavailableError):
        rates.admit(USER, 1)


def test_memory_is_bounded_by_users_of_a_minute_and_by_the_largest_bound() -> None:
    clock = Clock()
    rates = QueryRates(clock)
    for number in range(3 * USERS):
        clock.at += 0.1
        rates.admit(PartyKey(f"{number:064x}"), None)
    assert len(rates._asked) <= USERS + 1
    for _ in range(KEPT + 10):
        rates.admit(USER, None)
    assert len(rates._asked[USER]) == KEPT
    with pytest.raises(UnavailableError):
        rates.admit(USER, KEPT)


@pytest.mark.parametrize("by", ["grant", "terms"])
def test_the_enclave_refuses_what_is_too_much_in_a_minute_and_charges_nothing(world: QueryWorld, by: str) -> None:
    launch = world.launch()
    if by == "terms":
        world.ledger.bounds = THREE
    session = impatient(world, launch, **({"answer_bounds": THREE} if by == "grant" else {}))
    for _ in range(3):
        session.ask(rows_of(4))
    calls = launch.model.calls
    with pytest.raises(UnavailableError, match=r"unavailable\.rate") as caught:
        session.ask(rows_of(1))
    assert caught.value.expected == "at most 3 queries a minute"
    assert launch.model.calls == calls
    launch.clock.at += 60
    assert session.ask(rows_of(1)).answers_left == 100 - 13


def test_a_second_session_or_grant_is_no_second_minute(world: QueryWorld) -> None:
    launch = world.launch()
    world.ledger.bounds = THREE
    for number in range(3):
        impatient(world, launch, nonce=bytes([number]) * 16).ask(rows_of(1))
    with pytest.raises(UnavailableError, match=r"unavailable\.rate"):
        impatient(world, launch, nonce=b"\x09" * 16).ask(rows_of(1))
    world.user = SigningKey.generate()
    impatient(world, launch).ask(rows_of(1))


def test_a_client_waits_until_the_minute_is_over(world: QueryWorld) -> None:
    launch = world.launch()
    world.ledger.bounds = AnswerBounds(queries_per_minute=1)
    user = QueryUser(world.user, world.grant(), world.pins)
    session = QuerySession.open(launch, user, pause=launch.clock.sleep)
    answer = session.ask_all(rows_of(9))  # three queries
    assert (len(answer.labels), answer.answers_left) == (9, 91)
    assert launch.model.calls == 3


def test_a_budget_that_does_not_suffice_is_said_before_the_rate(world: QueryWorld) -> None:
    launch = world.launch()
    world.ledger.bounds = AnswerBounds(queries_per_minute=1)
    session = impatient(world, launch, answers=2)
    session.ask(rows_of(1))
    with pytest.raises(PolicyError, match=r"policy\.budget"):
        session.ask(rows_of(2))
