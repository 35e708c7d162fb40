"""One launch's lease: from before the question, renewed, over for good."""

import threading
import time
from collections.abc import Callable

import pytest

from common.errors import FreshnessError, PolicyError, UnavailableError
from common.lease import CODE, RETRY_SECONDS, LeaseKeeper

SECONDS = 60


class Machine:
    """A clock, and a broker that answers after a while."""

    def __init__(self) -> None:
        self.at, self.delay = 1000.0, 0.0
        self.refusal: Exception | None = None
        self.ended: list[str] = []

    def renew(self) -> int:
        self.at += self.delay
        if self.refusal is not None:
            raise self.refusal
        return SECONDS

    def keeper(self) -> LeaseKeeper:
        return LeaseKeeper(self.renew, self.ended.append, seconds=SECONDS, asked_at=self.at, now=lambda: self.at)


@pytest.fixture
def machine() -> Machine:
    return Machine()


def over(keeper: LeaseKeeper) -> bool:
    try:
        keeper.require()
    except FreshnessError:
        return True
    return False


def test_it_holds_for_its_time_and_no_longer(machine: Machine) -> None:
    keeper = machine.keeper()
    machine.at += SECONDS - 0.1
    assert not over(keeper)
    machine.at += 0.1
    assert over(keeper)
    with pytest.raises(FreshnessError, match=CODE):
        keeper.require()
    assert machine.ended == [CODE]


def test_a_renewal_counts_from_before_the_question(machine: Machine) -> None:
    """And from the one before the last: a host that delays the answer shortens the lease, it does not move it."""
    keeper = machine.keeper()
    machine.at += 10
    machine.delay = 10
    assert keeper.step() == SECONDS / 4
    machine.at += 10
    assert keeper.step() == SECONDS / 4
    machine.at += 29.9
    assert not over(keeper)
    machine.at += 0.2
    assert over(keeper)


def test_a_broker_that_is_away_is_asked_again_until_the_time_is_over(machine: Machine) -> None:
    keeper, machine.refusal = machine.keeper(), UnavailableError("unavailable.broker")
    for _ in range(10):
        machine.at += 5
        assert keeper.step() == RETRY_SECONDS
        assert not over(keeper)
    machine.at += 10
    assert over(keeper)


@pytest.mark.parametrize("code", ["policy.revoked", "policy.expired"])
def test_a_refusal_ends_it_at_once_and_for_good(machine: Machine, code: str) -> None:
    keeper, machine.refusal = machine.keeper(), PolicyError(code)
    keeper.step()
    assert over(keeper)
    assert machine.ended == [code]
    machine.refusal = None
    keeper.step()
    assert over(keeper)
    assert machine.ended == [code]


def test_a_frozen_broker_is_away(machine: Machine) -> None:
    keeper, machine.refusal = machine.keeper(), UnavailableError("unavailable.frozen")
    keeper.step()
    assert not over(keeper)


@pytest.mark.parametrize("trouble", [UnavailableError("unavailable.broker"), TimeoutError(), OSError(), ValueError()])
def test_the_thread_renews_and_ends_what_is_not_renewed(trouble: Exception) -> None:
    asked: list[float] = []
    ended: list[str] = []

    def renew() -> int:
        asked.append(1)
        raise trouble

    keeper = started(renew, ended.append)
    keeper._watcher.join(10)
    assert not keeper._watcher.is_alive()
    assert asked
    assert ended == [CODE]


def test_an_answer_that_never_comes_holds_no_lease() -> None:
    """The host keeps the answer to a renewal, or the quote for it: nobody else needs to ask for the lease to end."""
    ended, kept = threading.Event(), threading.Event()
    started(lambda: kept.wait(30) and SECONDS, lambda _: ended.set())
    assert ended.wait(10)
    kept.set()


def test_an_answer_after_the_end_revives_nothing(machine: Machine) -> None:
    keeper, machine.delay = machine.keeper(), SECONDS + 1
    machine.at += SECONDS - 1
    keeper.step()
    assert over(keeper)
    assert machine.ended == [CODE]


def test_a_challenge_that_was_lost_is_asked_for_again(machine: Machine) -> None:
    """The broker began anew between question and answer, or others drove the challenge out."""
    keeper, machine.refusal = machine.keeper(), FreshnessError("freshness.challenge")
    assert keeper.step() == RETRY_SECONDS
    assert not over(keeper)


def started(renew: Callable[[], int], on_end: Callable[[str], None]) -> LeaseKeeper:
    keeper = LeaseKeeper(renew, on_end, seconds=1, asked_at=time.monotonic())
    keeper.start()
    return keeper
