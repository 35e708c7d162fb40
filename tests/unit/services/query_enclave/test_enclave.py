"""The door of a query enclave that serves nothing yet, and its clock."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.door import Door
from common.errors import ConfinementError, ConflictError, FormatError, NotFoundError, UnavailableError
from common.identifiers import JobId, ModelId
from common.messages.query import PlaceModel, QueryEnclaveStatus
from common.sandbox import bubblewrap
from common.sandbox.probe import require_confinement
from services.query_enclave.enclave import LowerBoundClock, QueryEnclave
from tests.fakes.broker_world import BrokerWorld

REQUEST = PlaceModel(job_id=JobId.new(), model_id=ModelId.new()).encode()


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Door]:
    """The host's end of a door behind which an enclave waits."""
    world = BrokerWorld(tmp_path)
    (to_enclave, from_relay), (to_relay, from_enclave) = os.pipe(), os.pipe()
    enclave = QueryEnclave(world.runtime("query"), os.fdopen(to_enclave, "rb"), os.fdopen(from_enclave, "wb"))
    writer = os.fdopen(from_relay, "wb")
    door = Door(os.fdopen(to_relay, "rb"), writer, {"broker.ask": world.handle})
    threads = [threading.Thread(target=one.serve, daemon=True) for one in (enclave.door, door)]
    for thread in threads:
        thread.start()
    yield door
    writer.close()
    threads[0].join(10)


@pytest.mark.parametrize("name", ["proof", "session", "query"])
def test_nothing_answers_before_a_model_is_placed(relay: Door, name: str) -> None:
    with pytest.raises(UnavailableError, match=r"unavailable\.enclave"):
        relay.call(name, b"", seconds=10)


def test_status_answers_at_any_time(relay: Door) -> None:
    assert not QueryEnclaveStatus.decode(relay.call("status", b"", seconds=10)).placed


def test_a_malformed_request_does_not_use_the_launch_up(relay: Door) -> None:
    for _ in range(2):
        with pytest.raises(FormatError, match=r"format\.message"):
            relay.call("place", b"{}", seconds=10)


def test_the_brokers_refusal_comes_back_and_there_is_no_second_try(relay: Door) -> None:
    with pytest.raises(NotFoundError, match=r"not_found"):
        relay.call("place", REQUEST, seconds=10)
    with pytest.raises(ConflictError, match=r"conflict\.placement"):
        relay.call("place", REQUEST, seconds=10)


def test_the_clock_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, now = LowerBoundClock(), time.time()
    assert clock.now() >= int(now)
    monkeypatch.setattr(time, "time", lambda: now - 86_400)
    assert clock.now() >= int(now)


def test_where_nothing_can_be_confined_status_says_so_and_no_keys_are_asked_for(
    relay: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bubblewrap, "_PLACES", ("/nonexistent/bwrap",))
    require_confinement.cache_clear()
    for name, body in (("status", b""), ("place", REQUEST), ("place", REQUEST)):
        with pytest.raises(ConfinementError, match=r"apt-get install bubblewrap"):
            relay.call(name, body, seconds=10)
