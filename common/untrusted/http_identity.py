"""Who sends an HTTP request: signature, enrolment, replay, and a bounded body, before any handler runs (side: host).

`RequestGate.admit` in this order, each step raises: (1) the signature is of our form, fresh and genuine, by an
identity's key or, where a route takes them, by a request key that this process has with the party; (2) the party
is enrolled, where that is asked; (3) the nonce is new, and the party has a request left, where requests are counted;
(4) the body is of a documented kind and not larger than its limit (`http_bodies`); (5) the body is the one that was
signed. By (3) nobody is charged for what others repeat, and what is over quota takes no memory.

A nonce is spent by the party, whichever key signed the request: what was sent under one is not sent again under
another.
"""

import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from common.crypto.digests import sha256_raw
from common.errors import AuthenticityError, FreshnessError, UnavailableError
from common.http_signatures import SIGNATURE_HEADERS, WINDOW_SECONDS, RequestKeys, Target, verify_request
from common.identifiers import PartyKey
from common.messages.base import MAX_MESSAGE_BYTES
from common.untrusted.http_bodies import read_body

MAX_REMEMBERED: Final = 1_500_000
"""Nonces kept, each in about 80 bytes; when so many requests are fresh (5,000 a second), further ones are asked to come
later."""

_AGE_SECONDS: Final = 10
"""Nonces of requests that were made within so long are forgotten together."""

_NAME_BYTES: Final = 16
_READ: Final = {name.encode(): name for name in SIGNATURE_HEADERS}


MAX_IDENTITIES: Final = 100_000
"""Identities remembered; beyond it all are asked for anew."""


Charge = Callable[[PartyKey], None]
"""Counts one request of a party. Raises `QuotaError` (quota.requests)."""


class Enrolled(Protocol):
    """Who may send requests."""

    def is_enrolled(self, party: PartyKey) -> bool:
        """Whether this party is enrolled."""


@dataclass(frozen=True)
class PartyRequest:
    """An admitted request: who sent it, and what."""

    party: PartyKey
    body: bytes


class ReplayGuard:
    """Remembers nonces while their requests could still be fresh. Thread-safe.

    What it remembers dies with the process, so it refuses requests that were made before it began.
    """

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now, self._lock = now, threading.Lock()
        self._began = int(now())
        self._spent: dict[int, set[bytes]] = {}
        self._count = 0

    def spend(self, party: PartyKey, nonce: str, created: int, charge: Charge | None = None) -> None:
        """Raise `FreshnessError` (freshness.request) when this nonce was spent, or may have been.

        What `charge` raises for a new one leaves it unspent.
        """
        name, age = sha256_raw(f"{party} {nonce}".encode())[:_NAME_BYTES], created // _AGE_SECONDS
        with self._lock:
            if created < self._began or name in self._spent.get(age, ()):
                raise FreshnessError("freshness.request", expected="a nonce that was not used before")
            self._forget_stale()
            if self._count >= MAX_REMEMBERED:
                raise UnavailableError("unavailable.full")
            if charge is not None:
                charge(party)
            self._spent.setdefault(age, set()).add(name)
            self._count += 1

    def _forget_stale(self) -> None:
        """Those of requests that are too old to be taken again (common/http_signatures)."""
        oldest = (self._now() - WINDOW_SECONDS) // _AGE_SECONDS - 1
        for age in [age for age in self._spent if age < oldest]:
            self._count -= len(self._spent.pop(age))


class RequestGate:
    """Admits signed requests. `admit` and `admit_anybody` are FastAPI dependencies; `limited` makes others.

    Whom `enrolled` knows is remembered for `remembered_seconds`; whom it does not know it is asked about each time.
    """

    def __init__(
        self,
        enrolled: Enrolled,
        charge: Charge | None = None,
        *,
        remembered_seconds: float = 0.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._enrolled, self._charge, self._now, self._replays = enrolled, charge, now, ReplayGuard(now=now)
        self._remembered_seconds = remembered_seconds
        self._known: dict[PartyKey, float] = {}

    async def admit(self, request: Request) -> PartyRequest:
        """An enrolled party's request with a body of one message."""
        return await self._admit(request, MAX_MESSAGE_BYTES, must_be_enrolled=True)

    async def admit_anybody(self, request: Request) -> PartyRequest:
        """A request signed by whatever key it names: for enrolment."""
        return await self._admit(request, MAX_MESSAGE_BYTES, must_be_enrolled=False)

    def limited(
        self,
        body_bytes: int,
        take_on: Callable[[PartyKey], None] | None = None,
        request_keys: RequestKeys | None = None,
    ) -> Callable[[Request], Awaitable[PartyRequest]]:
        """A dependency like `admit` for bodies of at most `body_bytes`.

        `take_on` hears who sends one before it is read, and may refuse that. `request_keys`: those that may stand for
        an identity's key.
        """

        async def admit(request: Request) -> PartyRequest:
            return await self._admit(
                request, body_bytes, must_be_enrolled=True, take_on=take_on, request_keys=request_keys
            )

        return admit

    async def _admit(
        self,
        request: Request,
        limit: int,
        *,
        must_be_enrolled: bool,
        take_on: Callable[[PartyKey], None] | None = None,
        request_keys: RequestKeys | None = None,
    ) -> PartyRequest:
        signed = verify_request(_target(request), _single_headers(request), self._now(), request_keys)  # (1)
        if must_be_enrolled:
            await self._require_enrolled(signed.party)  # (2)
        self._replays.spend(signed.party, signed.nonce, signed.created, self._charge)  # (3)
        if take_on is not None:
            take_on(signed.party)
        body = await read_body(request, limit)  # (4)
        signed.require_content(body)  # (5)
        return PartyRequest(signed.party, body)

    async def _require_enrolled(self, party: PartyKey) -> None:
        if self._known.get(party, 0.0) > self._now():
            return
        if not await run_in_threadpool(self._enrolled.is_enrolled, party):
            raise AuthenticityError("authenticity.http_signature", expected="an enrolled identity")
        if len(self._known) >= MAX_IDENTITIES:
            self._known.clear()
        self._known[party] = self._now() + self._remembered_seconds


def is_signed(request: Request) -> bool:
    """Whether it claims to be signed; only `RequestGate` says that it is."""
    return "signature-input" in request.headers or "signature" in request.headers


def _target(request: Request) -> Target:
    scope = request.scope
    path = scope.get("raw_path") or scope["path"].encode()
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")
    return Target(
        request.method,
        host.decode("latin-1").lower(),
        path.decode("ascii", errors="replace"),
        "?" + scope.get("query_string", b"").decode("ascii", errors="replace"),
    )


def _single_headers(request: Request) -> dict[str, str]:
    """Those that `verify_request` reads; one that was sent twice is none of its form."""
    found: dict[str, str] = {}
    for raw, value in request.scope["headers"]:  # ASGI: names in lower case
        name = _READ.get(raw)
        if name is not None:
            text = value.decode("latin-1")
            found[name] = f"{found[name]}, {text}" if name in found else text
    return found
