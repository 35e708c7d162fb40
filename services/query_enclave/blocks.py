"""Answers that a query enclave holds under one grant, in the blocks that the broker handed out (side: enclave).

A block is spent when it is drawn. How large the next one is hangs on when blocks were drawn, which the host sees, and
on what the broker says is left.
"""

import math
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from common.messages.answer_bounds import NO_ANSWER_BOUNDS, AnswerBounds
from common.messages.bounds import tightest
from common.messages.budget import BudgetBlock
from common.messages.policy import AnswerDetail
from common.policy_rules import weakest_detail

BLOCK_ANSWERS: Final = 64
"""Answers drawn at a time, of who asks now and then."""

MOST_ANSWERS: Final = 1024
SHARE_OF_LEFT: Final = 8
"""The most that are drawn at a time, and of what is left: one in so many. What is held, and a crash can waste, is a
block and half of the one before at most."""

BUSY_SECONDS: Final = 2.0
"""A block that was used up in less is followed by one of twice as many, one that lasted by one of half as many."""

AHEAD_PAUSE_SECONDS: Final = 1.0
"""After a draw ahead that came to nothing."""


@dataclass
class Block:
    """What is left of one, and how much its answers may tell."""

    answers: int
    detail: AnswerDetail
    bounds: AnswerBounds


class Account:
    """What is held under one grant. `lock` guards it; `drawing`, which is taken first, is held while a block is asked
    for, so that blocks come in order.
    """

    def __init__(self) -> None:
        self.lock, self.drawing = threading.Lock(), threading.Lock()
        self.is_drawn_ahead, self._not_ahead_before = False, -math.inf
        self._blocks = deque[Block]()
        self._size, self._last, self._drawn_at = BLOCK_ANSWERS, 0, -math.inf
        self.behind = 0
        self.until = -math.inf
        self._newest = Block(0, "label", NO_ANSWER_BOUNDS)

    def add(self, block: BudgetBlock, asked_at: float, lease_seconds: int) -> None:
        """What was held before tells no more than the newest block does; that one was charged for all that it tells."""
        for held in self._blocks:
            held.detail = weakest_detail(held.detail, block.detail)
            held.bounds = tightest(AnswerBounds, (held.bounds, block.bounds))
        self._newest = Block(0, block.detail, block.bounds)
        if block.answers:
            self._blocks.append(Block(block.answers, block.detail, block.bounds))
            self._size, self._last, self._drawn_at = self._next_size(asked_at), block.answers, asked_at
        self.behind, self.until = block.remaining, asked_at + lease_seconds

    def next_block(self, now: float) -> int:
        """How many answers to ask for now."""
        return max(BLOCK_ANSWERS, min(self._next_size(now), self.behind // SHARE_OF_LEFT))

    def _next_size(self, now: float) -> int:
        is_busy = now - self._drawn_at < BUSY_SECONDS
        return min(2 * self._size, MOST_ANSWERS) if is_busy else max(self._size // 2, BLOCK_ANSWERS)

    def begins_ahead(self, now: float) -> bool:
        """Whether to ask for the next block now: half of a large one is used. Told once."""
        due = self._last > BLOCK_ANSWERS and self.held < self._last // 2 and self.behind > 0
        begins = due and not self.is_drawn_ahead and now >= self._not_ahead_before
        self.is_drawn_ahead = self.is_drawn_ahead or begins
        return begins

    def pause_ahead(self, now: float) -> None:
        """Ask for none ahead for a moment."""
        self._not_ahead_before = now + AHEAD_PAUSE_SECONDS

    def terms_of(self, rows: int) -> Block:
        """The next `rows` answers, and how much they may tell: the least that any block says which they are of."""
        blocks = list(self._reached(rows)) or [self._newest]
        bounds = tightest(AnswerBounds, (one.bounds for one in blocks))
        return Block(rows, weakest_detail(*(one.detail for one in blocks)), bounds)

    def spend(self, rows: int) -> None:
        """Take so many of what is held, the oldest first."""
        while rows:
            spent = min(rows, self._blocks[0].answers)
            self._blocks[0].answers -= spent
            rows -= spent
            if not self._blocks[0].answers:
                self._blocks.popleft()

    def _reached(self, rows: int) -> Iterator[Block]:
        for block in self._blocks:
            if rows <= 0:
                return
            yield block
            rows -= block.answers

    @property
    def held(self) -> int:
        """Answers that were drawn and not given."""
        return sum(block.answers for block in self._blocks)

    @property
    def left(self) -> int:
        """Of the grant, as far as is known here."""
        return self.held + self.behind
