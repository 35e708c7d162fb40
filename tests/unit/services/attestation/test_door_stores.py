"""State through the door: what falls while the host stores goes together, and nobody goes on before it is stored."""

import os
import threading
from collections.abc import Callable

import pytest

from common.errors import UnavailableError
from common.identifiers import DatasetId
from services.attestation.door_stores import EXIT_STATE_LOST, DoorStore
from services.attestation.state_door import parse_append

SECONDS = 10.0
DATASET = DatasetId("data_" + "a" * 32)


class SlowHost:
    """A door to a host that stores when it is let."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes]] = []
        self.asked, self.let = threading.Event(), threading.Event()

    def call(self, name: str, body: bytes) -> bytes:
        self.calls.append((name, body))
        self.asked.set()
        assert self.let.wait(SECONDS)
        return b""

    @property
    def appended(self) -> list[list[tuple[bytes, bytes]]]:
        """Decisions of each call."""
        return [parse_append(body) for name, body in self.calls if name == "state.append"]


@pytest.fixture
def host() -> SlowHost:
    return SlowHost()


@pytest.fixture
def store(host: SlowHost) -> DoorStore:
    return DoorStore(host)  # type: ignore[arg-type]


def begun(run: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def decision(number: int, size: int = 4) -> tuple[bytes, bytes]:
    return b"entry %d" % number, b"b" * size


def test_what_falls_meanwhile_is_stored_together(host: SlowHost, store: DoorStore) -> None:
    store.append(*decision(0))
    assert not host.calls, "a decision waits for nobody"
    waiting = [begun(store.settle)]
    assert host.asked.wait(SECONDS)
    for number in range(1, 20):
        store.append(*decision(number))
        waiting.append(begun(store.settle))
    host.let.set()
    for thread in waiting:
        thread.join(SECONDS)
        assert not thread.is_alive()
    first, *more = host.appended
    assert first == [decision(0)]
    assert [one for batch in more for one in batch] == [decision(number) for number in range(1, 20)]
    assert len(more) < 19


def test_nobody_goes_on_before_it_is_stored(host: SlowHost, store: DoorStore) -> None:
    store.append(*decision(0))
    first = begun(store.settle)
    assert host.asked.wait(SECONDS)
    second = begun(store.settle)
    second.join(0.1)
    assert first.is_alive()
    assert second.is_alive(), "it waits for another's call too"
    host.let.set()
    for thread in (first, second):
        thread.join(SECONDS)
        assert not thread.is_alive()
    store.settle()
    assert len(host.calls) == 1, "nothing is left to store"


@pytest.mark.parametrize(
    "store_more",
    [lambda store: store.replace(1, [b"entry"], [b"snapshot"]), lambda store: store.keep_package(DATASET, b"package")],
)
def test_the_rest_comes_behind_what_was_appended(
    host: SlowHost, store: DoorStore, store_more: Callable[[DoorStore], None]
) -> None:
    host.let.set()
    store.append(*decision(0))
    store_more(store)
    assert host.appended == [[decision(0)]]
    assert host.calls[0][0] == "state.append"
    assert len(host.calls) > 1


def test_large_decisions_go_in_calls_of_their_own(host: SlowHost, store: DoorStore) -> None:
    host.let.set()
    for number in range(3):
        store.append(*decision(number, 24 << 20))
    store.settle()
    assert [len(batch) for batch in host.appended] == [1, 1, 1]


def test_a_host_that_fails_ends_the_enclave(host: SlowHost, store: DoorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    class EndedError(BaseException):
        pass

    def ended(code: int) -> None:
        assert code == EXIT_STATE_LOST
        raise EndedError

    def fails(name: str, body: bytes) -> bytes:
        raise UnavailableError("unavailable.store")

    monkeypatch.setattr(os, "_exit", ended)
    host.call = fails  # type: ignore[method-assign]
    store.append(*decision(0))
    with pytest.raises(EndedError):
        store.settle()
