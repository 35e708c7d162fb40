"""A user's session with one query enclave, for programs with an event loop (side: owner: the user's machine).

The same exchange as client/query_session, step by step; quotes are verified on a thread. `Threaded` carries requests
of a `ServiceClient`, which waits, on threads of its own, so that the loop does not.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from client.query_channel import QueryUser
from client.query_exchange import Submitted
from client.query_session import QueryTransport
from client.query_steps import Consult, Exchange, Get, Pause, Post, Step, Work
from client.query_verification import VerifiedEnclave
from client.served_exchange import AnyExchange, exchange_of
from common.errors import Refusal
from common.messages.query import QueryProfile
from common.messages.query_tensors import Answer

UNDER_WAY: Final = 16
"""Questions of one session that are asked at one time: half of those whose answers the enclave remembers, so that one
that is sent again is never among those that it has forgotten."""

T = TypeVar("T")


class AsyncQueryTransport(Protocol):
    """As `QueryTransport`, awaited."""

    async def get(self, path: str) -> bytes:
        """The body of a signed GET."""
        ...

    async def post(self, path: str, body: bytes) -> bytes:
        """The body of the answer to a signed POST of `body` as application/octet-stream."""
        ...


class Threaded:
    """An `AsyncQueryTransport` over one that waits and may be used by several threads."""

    def __init__(self, transport: QueryTransport, threads: int = UNDER_WAY) -> None:
        self._transport = transport
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="query-transport")

    async def get(self, path: str) -> bytes:
        """The body of a signed GET."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._transport.get, path)

    async def post(self, path: str, body: bytes) -> bytes:
        """The body of the answer to a signed POST."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._transport.post, path, body)

    def close(self) -> None:
        """End its threads."""
        self._pool.shutdown()


class AsyncQuerySession:
    """Sealed questions and answers; several tasks may ask at once, `UNDER_WAY` of them go ahead."""

    def __init__(
        self, transport: AsyncQueryTransport, exchange: AnyExchange, pause: Callable[[float], Awaitable[None]]
    ) -> None:
        self._transport, self._exchange, self._pause = transport, exchange, pause
        self._turns = asyncio.Semaphore(UNDER_WAY)

    @classmethod
    async def open(
        cls,
        transport: AsyncQueryTransport,
        user: QueryUser,
        *,
        now: Callable[[], float] = time.time,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> Self:
        """As `QuerySession.open`."""
        session = cls(transport, exchange_of(user, now), pause)
        await session._perform(session._exchange.connect())
        return session

    @property
    def enclave(self) -> VerifiedEnclave:
        """The launch that this session talks to."""
        return self._exchange.channel.enclave

    @property
    def profile(self) -> QueryProfile:
        """Shape, type and number of rows that the model takes, and what it gives."""
        return self._exchange.channel.profile

    async def ask(self, rows: NDArray[np.generic], wanted: int | None = None) -> Answer:
        """As `QuerySession.ask`."""
        async with self._turns:
            return await self._perform(self._exchange.ask(rows, wanted))

    async def ask_all(self, rows: NDArray[np.generic]) -> Answer:
        """As `QuerySession.ask_all`."""
        async with self._turns:
            return await self._perform(self._exchange.ask_all(rows))

    async def submit(self, rows: NDArray[np.generic]) -> Submitted:
        """As `QuerySession.submit`."""
        return await self._perform(self._exchange.submit(rows))

    async def collect(self, submitted: Submitted) -> Answer | None:
        """As `QuerySession.collect`."""
        return await self._perform(self._exchange.collect(submitted))

    async def _perform(self, exchange: Exchange[T]) -> T:
        try:
            step = next(exchange)
            while True:
                try:
                    body = await self._perform_step(step)
                except Refusal as refusal:
                    step = exchange.throw(refusal)
                else:
                    step = exchange.send(body)
        except StopIteration as done:
            result: T = done.value
            return result

    async def _perform_step(self, step: Step) -> bytes:
        match step:
            case Get(path):
                return await self._transport.get(path)
            case Post(path, body):
                return await self._transport.post(path, body)
            case Consult(read):
                return await asyncio.to_thread(read)
            case Pause(seconds):
                await self._pause(seconds)
                return b""
            case Work(do):
                await asyncio.to_thread(do)
                return b""
