"""What a user says under a name, whichever model that stands for (side: owner: the user's machine).

The owner's newest record, which the key broker shows over a fresh nonce, says what the name stands for; it is read
before the first question and every `LOOK_SECONDS` after. The version is chosen here, by a number that no other draws:
the canary by its share, else the current one. So a host chooses none; what it can do is to answer for one and not for
another, and then the question waits, or fails, and is not asked of another in its place.

A switch costs no question. As long as the new version is not placed, questions go to the one before, if the record
still names that, for `MOVE_SECONDS` at most. One that is refused because its version is named no more
(policy.serving) is asked again where the newest record leads; what the one before had answered of a batch by then is
charged twice, as when a launch ends. Each version's enclave is verified like any other, against what the record names
(client/query_verification).
"""

import math
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

import numpy as np

from client.query_channel import Channel, QueryUser
from client.query_exchange import Group, QueryExchange, Rows, Submitted, joined
from client.query_steps import Consult, Exchange, Get
from client.receipts import ReceiptBook
from common.errors import FreshnessError, PolicyError, UnavailableError
from common.messages.query_tensors import Answer
from common.messages.serving import ServedModel, ServingRecord

LOOK_SECONDS: Final = 15.0
"""How long a record is followed before it is read again: after that a promotion is noticed by who goes on asking."""

KNOWN_SECONDS: Final = 300.0
"""How long a record is followed where the broker does not answer."""

MOVE_SECONDS: Final = 120.0
"""How long a version that is not placed yet is waited for while the one before answers."""

_AGAIN_SECONDS: Final = 1.0
_SWITCHES: Final = 3

T = TypeVar("T")


class ServedExchange:
    """As `QueryExchange`, by a grant for a name. Several operations may be under way at one time."""

    def __init__(
        self,
        user: QueryUser,
        now: Callable[[], float],
        records: Callable[[], ServingRecord],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        draw: Callable[[], int] = lambda: secrets.randbelow(1000),
    ) -> None:
        self._user, self._now, self._records, self._monotonic, self._draw = user, now, records, monotonic, draw
        self._one: QueryExchange | None = None
        self._asked: ServedModel | None = None
        self._record: ServingRecord | None = None
        self._chosen: ServedModel | None = None
        self._look_at = self._known_until = self._move_by = -math.inf
        self._verified_before = 0

    @property
    def channel(self) -> Channel:
        """The session that is open; before `connect` a `RuntimeError`."""
        return self._open_one.channel

    @property
    def quotes_verified(self) -> int:
        """How many launches were verified, of all versions."""
        return self._verified_before + (0 if self._one is None else self._one.quotes_verified)

    def receipt_book(self) -> ReceiptBook:
        """An empty one, for `ask` and `ask_all`."""
        return self._open_one.receipt_book()

    def connect(self) -> Exchange[None]:
        """Read the record, and open a session with the version that is chosen by it."""
        yield from self._read()
        yield from self._move()

    def ask(self, rows: Rows, wanted: int | None = None, book: ReceiptBook | None = None) -> Exchange[Answer]:
        """As `QueryExchange.ask`."""
        return (yield from self._asking(lambda one: one.ask(rows, wanted, book)))

    def ask_all(self, rows: Rows, book: ReceiptBook | None = None) -> Exchange[Answer]:
        """As `QueryExchange.ask_all`; after a switch, what is left is asked of the next version."""
        answers = list[Answer]()
        for group in self.in_groups(rows):
            answers += ((yield from self.ask_group(group, book)),)
        return joined(answers)

    def in_groups(self, rows: Rows) -> list[Group]:
        """As `QueryExchange.in_groups`, for the version that is asked now."""
        return self._open_one.in_groups(rows)

    def ask_group(self, group: Group, book: ReceiptBook | None = None) -> Exchange[Answer]:
        """As `QueryExchange.ask_group`; cut anew where a version takes fewer rows than the one that it was cut for."""

        def ask(one: QueryExchange) -> Exchange[Answer]:
            if max(map(len, group.pieces)) <= one.channel.profile.max_rows:
                return one.ask_group(group, book)
            return one.ask_all(np.concatenate(group.pieces), book)

        return (yield from self._asking(ask))

    def submit(self, rows: Rows) -> Exchange[Submitted]:
        """As `QueryExchange.submit`."""
        yield from self._follow()
        return (yield from self._open_one.submit(rows))

    def collect(self, submitted: Submitted) -> Exchange[Answer | None]:
        """As `QueryExchange.collect`, from the version that was asked.

        Raises `PolicyError` (policy.serving), too, where the name has left that since: then the rows are submitted
        again.
        """
        return self._open_one.collect(submitted)

    @property
    def _open_one(self) -> QueryExchange:
        if self._one is None:
            raise RuntimeError("a session is opened before it is used")
        return self._one

    def _asking(self, action: Callable[[QueryExchange], Exchange[T]]) -> Exchange[T]:
        yield from self._follow()
        for _ in range(_SWITCHES):
            one = self._open_one
            try:
                return (yield from action(one))
            except PolicyError as refusal:
                if refusal.code != "policy.serving":
                    raise
            if self._one is one:  # else another question has found that the name left it
                yield from self._read()
                yield from self._move()
        return (yield from action(self._open_one))

    def _follow(self) -> Exchange[None]:
        """Look where the name leads, if it is time to; whoever asks beside this goes on meanwhile."""
        at = self._monotonic()
        if at >= self._look_at:
            self._look_at = at + LOOK_SECONDS
            try:
                yield from self._read()
            except UnavailableError:
                if at > self._known_until:
                    raise
        elif not self._must_move:
            return
        if self._chosen != self._asked and (yield from self._may_move()):
            yield from self._move()

    def _read(self) -> Exchange[None]:
        """The newest record; by another than before, a version is chosen. Raises `FreshnessError` for an older one."""
        record = ServingRecord.decode((yield Consult(lambda: self._records().encode())))
        at, known = self._monotonic(), 0 if self._record is None else self._record.number
        if record.number < known:
            raise FreshnessError("freshness.serving", expected=f"record {known}", seen=record.number)
        self._look_at, self._known_until = at + LOOK_SECONDS, at + KNOWN_SECONDS
        if record.number != known:
            tries = record.canary is not None and self._draw() < record.canary_permille
            self._record, self._chosen = record, record.canary if tries else record.current
            self._move_by = at + MOVE_SECONDS

    @property
    def _must_move(self) -> bool:
        """Whether the version that is asked now may not be asked in the chosen one's place."""
        stays = self._record is not None and self._asked in self._record.models
        return self._chosen != self._asked and (not stays or self._monotonic() >= self._move_by)

    def _may_move(self) -> Exchange[bool]:
        """Whether the chosen version is there, or waited for no longer. To ask for it lets a worker place it."""
        try:
            yield Get(f"{self._exchange_with_chosen().path}/proof")
        except UnavailableError:
            if self._must_move:
                return True
            self._look_at = self._monotonic() + _AGAIN_SECONDS
            return False
        return True

    def _move(self) -> Exchange[None]:
        chosen, one = self._chosen, self._exchange_with_chosen()
        yield from one.connect()
        self._verified_before = self.quotes_verified
        self._one, self._asked = one, chosen

    def _exchange_with_chosen(self) -> QueryExchange:
        return QueryExchange(replace(self._user, model=self._chosen, records=None), self._now)


AnyExchange = QueryExchange | ServedExchange


def exchange_of(user: QueryUser, now: Callable[[], float]) -> AnyExchange:
    """The one that is right for a user's grant."""
    return QueryExchange(user, now) if user.records is None else ServedExchange(user, now, user.records)
