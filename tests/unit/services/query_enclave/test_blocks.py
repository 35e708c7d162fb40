"""Blocks of answers: how large they are, and when the next one is drawn."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from common.errors import PolicyError, UnavailableError, refusal_of
from common.identifiers import GrantId
from common.messages.budget import BudgetBlock
from common.messages.policy import AnswerDetail
from common.messages.signed import Signed
from services.query_enclave.blocks import BLOCK_ANSWERS, BUSY_SECONDS, MOST_ANSWERS, SHARE_OF_LEFT
from services.query_enclave.grants import GrantBudgets
from tests.fakes.query_world import QueryWorld

PLENTY = 1 << 20


@dataclass
class Source:
    """A broker that hands out what it is asked for, and says of each draw how large it was."""

    left: int = PLENTY
    asked: list[int] = field(default_factory=list)
    refusal: str | None = None
    detail: AnswerDetail = "scores"
    answers: threading.Event = field(default_factory=threading.Event)

    def draw(self, grant: Signed, answers: int) -> BudgetBlock:
        self.asked.append(answers)
        assert self.answers.wait(30)
        if self.refusal is not None:
            raise refusal_of(self.refusal)
        block = min(answers, self.left)
        if answers and not block:
            raise PolicyError("policy.budget")
        self.left -= block
        return BudgetBlock(grant_id=GrantId.of(grant.digest), answers=block, remaining=self.left, detail=self.detail)


class Asker:
    """One grant's answers, one by one, at a time that stands still until it is moved."""

    def __init__(self, directory: Path) -> None:
        world = QueryWorld(directory)
        self.grant, self.user = world.grant(answers=PLENTY), world.user.party
        self.source, self.at = Source(), 100.0
        self.source.answers.set()
        self.budgets = GrantBudgets(self.source, 180, lambda: self.at)

    def take(self, count: int) -> None:
        for _ in range(count):
            self.budgets.take(self.grant, self.user, 1, 1)

    def take_held(self, count: int) -> int:
        """How many of them were had at once."""
        taken = (self.budgets.take_held(self.grant, self.user, 1, 1) for _ in range(count))
        return sum(charge is not None for charge in taken)

    def await_draws(self, count: int) -> None:
        give_up = time.monotonic() + 30
        while len(self.source.asked) < count or self.budgets._account(self.grant).is_drawn_ahead:
            assert time.monotonic() < give_up
            time.sleep(0.001)


@pytest.fixture
def asker(tmp_path: Path) -> Asker:
    return Asker(tmp_path)


def test_blocks_that_are_used_up_at_once_are_followed_by_larger_ones(asker: Asker) -> None:
    asker.take(sum(sizes := [64, 128, 256, 512, 1024, 1024]))
    assert asker.source.asked == sizes
    assert sizes[-1] == MOST_ANSWERS


def test_blocks_that_last_are_followed_by_smaller_ones(asker: Asker) -> None:
    asker.take(64 + 128 + 256)
    for _ in range(3):
        asker.at += BUSY_SECONDS
        asker.take(1)
        asker.take(asker.budgets._account(asker.grant).held)
    assert asker.source.asked == [64, 128, 256, 128, 64, 64]


@pytest.mark.parametrize(("left", "asked"), [(100 * SHARE_OF_LEFT, 100), (10, BLOCK_ANSWERS)])
def test_a_block_is_no_more_than_a_share_of_what_is_left(asker: Asker, left: int, asked: int) -> None:
    """A small rest is drawn whole, as ever."""
    asker.source.left = 64 + left
    asker.take(64 + 1)
    assert asker.source.asked == [64, asked]


def test_a_larger_block_s_successor_is_drawn_before_it_is_used_up(asker: Asker) -> None:
    """While the broker answers, nobody waits: what is held is given."""
    asker.take(64 + 1)
    asker.source.answers.clear()
    assert asker.take_held(127) == 127
    assert asker.take_held(1) == 0, "what is not held takes the broker's word"
    asker.source.answers.set()
    asker.await_draws(3)
    assert asker.source.asked == [64, 128, 256], "it was asked once, and before that"
    assert asker.take_held(100) == 100


def test_who_waits_for_the_block_that_is_drawn_ahead_draws_no_other(asker: Asker) -> None:
    asker.take(64 + 1)
    asker.source.answers.clear()
    asker.take_held(127)
    waiting = threading.Thread(target=asker.take, args=(1,))
    waiting.start()
    time.sleep(0.05)
    asker.source.answers.set()
    waiting.join(30)
    assert asker.source.asked == [64, 128, 256]


def test_a_refusal_ahead_is_heard_by_whoever_needs_the_block(asker: Asker) -> None:
    asker.take(64 + 1)
    asker.source.refusal = "unavailable.broker"
    assert asker.take_held(127) == 127
    asker.await_draws(3)
    with pytest.raises(UnavailableError):
        asker.take(1)
    asker.source.refusal = None
    asker.take(1)


def test_a_broker_that_is_away_is_not_asked_ahead_by_each_question(asker: Asker) -> None:
    asker.take(64 + 1)
    asker.source.refusal = "unavailable.broker"
    for _ in range(120):
        asker.take_held(1)
        asker.await_draws(2)
    assert len(asker.source.asked) == 3


def test_nothing_is_given_after_a_refusal_ahead_without_the_broker_s_word(asker: Asker) -> None:
    """A grant that was revoked: what is held of it is not answered for the rest of a lease."""
    asker.take(64 + 1)
    asker.source.refusal = "policy.revoked"
    assert asker.take_held(64) == 64
    asker.await_draws(3)
    assert asker.take_held(1) == 0
    with pytest.raises(PolicyError, match="policy.revoked"):
        asker.take(1)


@pytest.mark.parametrize("total", [300, 1200, 2000, 9000])
def test_little_is_held_of_a_grant_that_comes_to_its_end(asker: Asker, total: int) -> None:
    asker.source.left = total
    for spent in range(total):
        if asker.take_held(1) == 0:
            asker.take(1)
        asker.await_draws(0)
        account = asker.budgets._account(asker.grant)
        assert account.held <= 1.5 * max(BLOCK_ANSWERS, (total - spent) // SHARE_OF_LEFT + 1), spent
    with pytest.raises(PolicyError, match="policy.budget"):
        asker.take(1)


def test_terms_that_were_loosened_count_for_answers_that_are_drawn_since(asker: Asker) -> None:
    asker.source.detail = "label"
    asker.take(64 + 128)
    asker.take(1)
    asker.source.detail = "scores"
    told = Counter[str]()
    for _ in range(3000):
        charge = asker.budgets.take_held(asker.grant, asker.user, 1, 1)
        charge = charge or asker.budgets.take(asker.grant, asker.user, 1, 1)
        told[charge.detail] += 1
        asker.await_draws(0)
    assert 255 <= told["label"] < 600
    assert told["scores"] > 2400


def test_terms_that_were_tightened_count_for_what_is_held_too(asker: Asker) -> None:
    asker.take(64 + 128 + 1)
    asker.source.detail = "label"
    assert asker.take_held(128) == 128
    asker.await_draws(4)
    charge = asker.budgets.take_held(asker.grant, asker.user, 1, 1)
    assert charge is not None
    assert charge.detail == "label"


def test_nothing_is_drawn_ahead_for_who_asks_now_and_then(asker: Asker) -> None:
    asker.take(1)
    assert asker.take_held(63) == 63
    time.sleep(0.05)
    assert asker.source.asked == [BLOCK_ANSWERS]
