"""Requests go to the broker's enclave without a thread each, and come back or are refused."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import cast

import pytest

from common.errors import PeerClosedError, Refusal, UnavailableError, refusal_of
from common.messages.broker_door import StartBroker
from common.untrusted.relay import EnclaveRelay
from services.attestation import relay as module
from services.attestation.relay import BrokerRelay
from services.attestation.state_files import StateFiles


class Enclave:
    """One that answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, Future[bytes]]] = []

    def ask(self, name: str, body: bytes) -> Future[bytes]:
        assert name == "handle"
        future = Future[bytes]()
        future.set_running_or_notify_cancel()
        self.asked.append((body, future))
        return future


@pytest.fixture
def enclave() -> Enclave:
    return Enclave()


@pytest.fixture
def relay(tmp_path: Path, enclave: Enclave) -> BrokerRelay:
    made = BrokerRelay(tmp_path / "launcher", StartBroker(witnesses=(), witness_quorum=0), StateFiles(tmp_path / "s"))
    made._enclave = cast("EnclaveRelay", enclave)
    return made


async def asked(enclave: Enclave, count: int) -> None:
    """So many requests are with the enclave, and no further one comes."""
    async with asyncio.timeout(100):
        while len(enclave.asked) < count:  # noqa: ASYNC110 - threads bring them
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    assert len(enclave.asked) == count


async def answered(relay: BrokerRelay, enclave: Enclave, answer: Callable[[Future[bytes]], None]) -> bytes:
    asking = asyncio.create_task(relay.carry(b"request"))
    await asked(enclave, 1)
    answer(enclave.asked[0][1])
    return await asking


def test_a_request_comes_back_answered(relay: BrokerRelay, enclave: Enclave) -> None:
    assert asyncio.run(answered(relay, enclave, lambda future: future.set_result(b"reply"))) == b"reply"
    assert [body for body, _ in enclave.asked] == [b"request"]


@pytest.mark.parametrize(
    ("failure", "code"),
    [(PeerClosedError("gone"), "unavailable.broker"), (refusal_of("format.door_frame"), "format.door_frame")],
)
def test_what_goes_wrong_is_a_refusal(relay: BrokerRelay, enclave: Enclave, failure: Exception, code: str) -> None:
    with pytest.raises(Refusal, match=code):
        asyncio.run(answered(relay, enclave, lambda future: future.set_exception(failure)))


def test_an_enclave_that_says_nothing_is_not_waited_for(
    relay: BrokerRelay, enclave: Enclave, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HANDLE_SECONDS", 0.01)
    with pytest.raises(UnavailableError, match="unavailable.broker"):
        asyncio.run(relay.carry(b"request"))
    assert enclave.asked[0][1].done(), "nor by the door"


def test_an_enclave_that_reads_nothing_holds_up_nobody_else(relay: BrokerRelay, enclave: Enclave) -> None:
    stuck = threading.Event()

    def full(name: str, body: bytes) -> Future[bytes]:
        stuck.wait(30)
        raise PeerClosedError("gone")

    enclave.ask = full  # type: ignore[method-assign]

    async def meanwhile() -> None:
        asking = asyncio.create_task(relay.carry(b"request"))
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not asking.done()
        stuck.set()
        with pytest.raises(UnavailableError):
            await asking

    asyncio.run(meanwhile())


def test_no_enclave_no_answer(relay: BrokerRelay) -> None:
    relay._enclave = None
    with pytest.raises(UnavailableError, match="unavailable.broker"):
        asyncio.run(relay.carry(b"request"))


def test_so_many_are_with_the_enclave_and_no_more(relay: BrokerRelay, enclave: Enclave) -> None:
    async def crowd() -> None:
        asking = [asyncio.create_task(relay.carry(b"request")) for _ in range(module.MAX_CARRIED + 1)]
        await asked(enclave, module.MAX_CARRIED)
        enclave.asked[0][1].set_result(b"reply")
        await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)  # threads bring them, in any order
        await asked(enclave, module.MAX_CARRIED + 1)
        for _, future in enclave.asked[1:]:
            future.set_result(b"reply")
        assert await asyncio.gather(*asking) == [b"reply"] * len(asking)

    asyncio.run(crowd())
