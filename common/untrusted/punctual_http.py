"""Connections whose requests do not come are ended, and answers leave in one piece (side: host).

uvicorn ends a connection that is idle between requests, and waits without end for one that has begun. So whoever sends
a byte now and then (slow loris) keeps a connection, and what was read of its request, for nothing. Here a request, head
and body, has so long to come whole, and longer only by what it brings.

It also writes an answer's head and body each by a call of its own, and these calls were a third of what a query costs a
front (docs/serving.md); here both leave together when the loop turns.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_SECONDS: Final = 20.0
"""How long a request may take to come, whatever it brings; an open connection without one too."""

SLOWEST_BYTES_PER_SECOND: Final = 16 << 10
"""What a request must bring on average behind that: 128 kbit/s, less than any line that queries are sent over."""


GATHERED_BYTES: Final = 64 << 10
"""Of an answer: what is more leaves at once, so that who reads slowly slows down who writes."""


class PunctualProtocol(HttpToolsProtocol):
    """uvicorn's own protocol, and an end to waiting."""

    _timer: asyncio.TimerHandle | None = None
    _since = 0.0
    _received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Expect a request."""
        together: Any = _Together(transport, self.loop)
        super().connection_made(together)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Expect the rest of it."""
        if self._timer is None:
            self._expect()
        self._received += len(data)
        super().data_received(data)

    def on_message_complete(self) -> None:
        """It has come."""
        self._met()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._met()
        super().connection_lost(exc)

    def _expect(self) -> None:
        self._since, self._received = self.loop.time(), 0
        self._timer = self.loop.call_later(REQUEST_SECONDS, self._look)

    def _met(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        until = self._since + REQUEST_SECONDS + self._received / SLOWEST_BYTES_PER_SECOND
        left = until - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(left, self._look)
        else:
            self._timer = None
            self.transport.abort()


class _Together:
    """A transport that gathers what is written in one turn of the loop; all else is the transport's."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._pieces: list[bytes] = []
        self._gathered = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write it with what else is written now."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)
        self._gathered += len(data)
        if self._gathered > GATHERED_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what was gathered, and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        pieces, self._pieces, self._gathered = self._pieces, [], 0
        if pieces and not self._transport.is_closing():
            self._transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
