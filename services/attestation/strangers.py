"""What is answered without a signature, and how much of it (side: host).

Whoever is about to enrol must see first whom to trust: the broker's description with its quote, release, collateral,
the key set of tokens; and heads and proofs of the log are anybody's to check. Each address has an allowance, and all
strangers together hold few of the service's places, so that they hold up nobody who is enrolled.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Final

from fastapi import Request

from common.errors import AuthenticityError, Refusal, UnavailableError
from common.messages.broker_exchange import BrokerRequest
from common.messages.broker_identity import DescribeBroker
from common.untrusted.http_address import sender_address
from common.untrusted.http_bodies import read_body
from common.untrusted.http_identity import RequestGate, is_signed
from common.untrusted.request_quota import RequestQuota

MAX_INSIDE: Final = 32
"""Requests of strangers that are answered at once."""

MAX_BODY_BYTES: Final = 4096
"""`describe-broker` with its nonce takes a tenth of it."""


class Strangers:
    """Lets unsigned requests in, within bounds. To be used from one event loop."""

    def __init__(self, quota: RequestQuota, gate: RequestGate) -> None:
        self._quota, self._gate, self._inside = quota, gate, 0

    async def admit(self, request: Request) -> AsyncIterator[None]:
        """A dependency of routes that are open to all; who signs is judged and counted as anywhere else.

        Raises `QuotaError` (quota.requests) for an address that asks too often, `UnavailableError` (unavailable.full).
        """
        if is_signed(request):
            await self._gate.admit(request)
            yield
        else:
            async with self.inside(request):
                yield

    @contextlib.asynccontextmanager
    async def inside(self, request: Request) -> AsyncIterator[None]:
        """While one unsigned request is answered; raises as `admit`."""
        self._quota.charge(sender_address(request))
        with self._counted():
            yield

    @contextlib.asynccontextmanager
    async def body(self, request: Request, limit: int) -> AsyncIterator[bytes]:
        """The body of a request that `admit` would let in, while it is answered. Raises as that, and as `read_body`."""
        if is_signed(request):
            yield (await self._gate.admit(request)).body
        else:
            async with self.unsigned_body(request, limit) as raw:
                yield raw

    @contextlib.asynccontextmanager
    async def unsigned_body(self, request: Request, limit: int = MAX_BODY_BYTES) -> AsyncIterator[bytes]:
        """As `body`, of an unsigned request. Whoever sends it slowly holds up nobody: it counts once it is there."""
        self._quota.charge(sender_address(request))
        raw = await read_body(request, limit)
        with self._counted():
            yield raw

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        if self._inside >= MAX_INSIDE:
            raise UnavailableError("unavailable.full")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1


def require_description(raw: bytes) -> None:
    """An unsigned request to the broker is `describe-broker`.

    Raises `AuthenticityError` (authenticity.http_signature).
    """
    try:
        open_to_all = isinstance(BrokerRequest.decode(raw).body, DescribeBroker)
    except Refusal:
        open_to_all = False
    if not open_to_all:
        raise AuthenticityError("authenticity.http_signature", expected="a signed request, or describe-broker")
