"""What nobody signs is let in within bounds: by address, and a few at once."""

import asyncio
import contextlib

import pytest
from fastapi import Request
from starlette.types import Message

from common.errors import QuotaError, UnavailableError
from common.untrusted.http_identity import RequestGate
from common.untrusted.request_quota import RequestQuota
from services.attestation.strangers import MAX_BODY_BYTES, MAX_INSIDE, Strangers
from tests.fakes.served_log import AllEnrolled


def request_from(host: str | None) -> Request:
    client = None if host is None else (host, 4711)
    return Request({"type": "http", "method": "GET", "path": "/", "headers": [], "client": client})


def let_in(strangers: Strangers, host: str | None) -> bool:
    async def once() -> None:
        async with strangers.inside(request_from(host)):
            pass

    try:
        asyncio.run(once())
    except QuotaError:
        return False
    return True


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", False),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        (None, None, True),
    ],
)
def test_whose_allowance_it_is(first: str | None, second: str | None, together: bool) -> None:
    strangers = Strangers(RequestQuota(0.001, 1), RequestGate(AllEnrolled()))
    assert let_in(strangers, first)
    assert let_in(strangers, second) != together


def test_a_few_at_once_and_one_more_when_one_is_done() -> None:
    strangers = Strangers(RequestQuota(1.0, 1_000), RequestGate(AllEnrolled()))

    async def crowd() -> None:
        async with contextlib.AsyncExitStack() as inside:
            for number in range(MAX_INSIDE):
                await inside.enter_async_context(strangers.inside(request_from(f"192.0.2.{number}")))
            with pytest.raises(UnavailableError, match="unavailable.full"):
                async with strangers.inside(request_from("198.51.100.1")):
                    pass
        with contextlib.suppress(RuntimeError):
            async with strangers.inside(request_from("198.51.100.1")):
                raise RuntimeError  # who fails leaves, too
        async with contextlib.AsyncExitStack() as inside:
            for number in range(MAX_INSIDE):
                await inside.enter_async_context(strangers.inside(request_from(f"192.0.2.{number}")))

    asyncio.run(crowd())


def test_bodies_that_never_end_hold_up_nobody() -> None:
    """Each of these senders is one step from being answered, and stays there."""
    strangers = Strangers(RequestQuota(1.0, 1_000), RequestGate(AllEnrolled()))

    async def trickle() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send_slowly() -> None:
        scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "client": ("192.0.2.1", 4711)}
        async with strangers.body(Request(scope, trickle), MAX_BODY_BYTES):
            raise AssertionError

    async def crowd() -> None:
        slow = [asyncio.create_task(send_slowly()) for _ in range(MAX_INSIDE)]
        await asyncio.sleep(0.01)
        async with strangers.inside(request_from("198.51.100.1")):
            pass
        for one in slow:
            one.cancel()
        await asyncio.gather(*slow, return_exceptions=True)

    asyncio.run(crowd())
