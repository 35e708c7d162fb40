"""A user's session with a query enclave, or with those that a name stands for (side: owner: the user's machine).

What is said in it, and what is checked, stands in client/query_exchange; here its steps are performed one after the
other. client/async_query_session is the same for programs with an event loop.
"""

import time
from collections.abc import Callable, Iterator
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from client.query_channel import Channel, QueryUser
from client.query_exchange import Submitted
from client.query_steps import Consult, Exchange, Get, Pause, Post, Step, Work
from client.query_verification import QueryPins, VerifiedEnclave, verify_query_enclave
from client.receipts import ReceiptBook
from client.served_exchange import exchange_of
from common.errors import Refusal
from common.messages.query import QueryProfile
from common.messages.query_tensors import Answer

__all__ = [
    "Answer",
    "QueryPins",
    "QuerySession",
    "QueryTransport",
    "QueryUser",
    "VerifiedEnclave",
    "verify_query_enclave",
]

T = TypeVar("T")


class QueryTransport(Protocol):
    """The way to the query service. Raises the service's `Refusal` by its code, `UnavailableError` when it is down."""

    def get(self, path: str) -> bytes:
        """The body of a signed GET."""
        ...

    def post(self, path: str, body: bytes) -> bytes:
        """The body of the answer to a signed POST of `body` as application/octet-stream."""
        ...


class QuerySession:
    """Sealed questions and answers. Several threads may use it at once."""

    def __init__(
        self, transport: QueryTransport, user: QueryUser, now: Callable[[], float], pause: Callable[[float], None]
    ) -> None:
        self._transport, self._pause = transport, pause
        self._exchange = exchange_of(user, now)
        self._perform(self._exchange.connect())

    @classmethod
    def open(
        cls,
        transport: QueryTransport,
        user: QueryUser,
        *,
        now: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> Self:
        """Verify the enclave behind `transport` and open a session with it.

        Raises what `verify_query_enclave` raises, and the enclave's refusal of the grant.
        """
        return cls(transport, user, now, pause)

    @property
    def enclave(self) -> VerifiedEnclave:
        """The launch that this session talks to now."""
        return self._channel.enclave

    @property
    def profile(self) -> QueryProfile:
        """Shape, type and number of rows that the model takes, and what it gives."""
        return self._channel.profile

    @property
    def quotes_verified(self) -> int:
        """How many launches were verified."""
        return self._exchange.quotes_verified

    def receipt_book(self) -> ReceiptBook:
        """An empty one, for `ask` and `ask_all`."""
        return self._exchange.receipt_book()

    def ask(self, rows: NDArray[np.generic], wanted: int | None = None, book: ReceiptBook | None = None) -> Answer:
        """The model's answer to 1 to `profile.max_rows` rows, if the grant covers all that are `wanted`, with these.

        With a `book`, a receipt is asked for, and kept there.
        Raises `FormatError` (format.query) before anything is sent, or the refusal that the enclave sealed for us.
        """
        return self._perform(self._exchange.ask(rows, wanted, book))

    def ask_all(self, rows: NDArray[np.generic], book: ReceiptBook | None = None) -> Answer:
        """The answers to any number of rows, in as many queries as it takes; costs one answer for each row.

        With a `book`, it keeps a receipt of each query that was answered, also where a later one fails.
        Raises `FormatError` (format.query) without rows, and `PolicyError` (policy.budget) if the grant does not cover
        all of them: then the enclave answers none, and none is charged.
        """
        return self._perform(self._exchange.ask_all(rows, book))

    def ask_each(self, rows: NDArray[np.generic], book: ReceiptBook | None = None) -> Iterator[Answer]:
        """As `ask_all`, with the answers of each request as they come."""
        for group in self._exchange.in_groups(rows):
            yield self._perform(self._exchange.ask_group(group, book))

    def submit(self, rows: NDArray[np.generic]) -> Submitted:
        """Ask as `ask` does, and do not wait for the answer."""
        return self._perform(self._exchange.submit(rows))

    def collect(self, submitted: Submitted) -> Answer | None:
        """The answer to what was submitted, or None as long as there is none; see `QueryExchange.collect`."""
        return self._perform(self._exchange.collect(submitted))

    @property
    def _channel(self) -> Channel:
        return self._exchange.channel

    def _perform(self, exchange: Exchange[T]) -> T:
        try:
            step = next(exchange)
            while True:
                try:
                    body = self._perform_step(step)
                except Refusal as refusal:
                    step = exchange.throw(refusal)
                else:
                    step = exchange.send(body)
        except StopIteration as done:
            result: T = done.value
            return result

    def _perform_step(self, step: Step) -> bytes:
        match step:
            case Get(path):
                return self._transport.get(path)
            case Post(path, body):
                return self._transport.post(path, body)
            case Consult(read):
                return read()
            case Pause(seconds):
                self._pause(seconds)
                return b""
            case Work(do):
                do()
                return b""
