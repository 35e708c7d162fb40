"""The door of a query enclave that serves nothing yet, and its clock."""

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from client.query_session import QueryPins, QuerySession, QueryUser
from common.dcap import NO_PLATFORM_RULES
from common.door import Door
from common.door_objects import DoorObjects
from common.errors import ConfinementError, ConflictError, FormatError, NotFoundError, Refusal, UnavailableError
from common.identifiers import JobId, ModelId
from common.lease import LeaseKeeper
from common.messages.evidence import TrustLevel
from common.messages.query import PlaceModel, QueryEnclaveStatus
from common.sandbox import bubblewrap
from common.sandbox.probe import require_confinement
from common.untrusted.blobs import BlobStore
from common.untrusted.relay import common_handlers
from services.query_enclave import enclave
from services.query_enclave.enclave import LowerBoundClock, QueryEnclave, Serving
from services.query_enclave.model import open_model
from tests.fakes.broker_world import MEASUREMENTS, QUERY, BrokerWorld
from tests.fakes.plain_designs import FEATURES, designing_bundle
from tests.fakes.query_service import FinishedModel
from tests.fakes.query_world import LEASE_SECONDS

REQUEST = PlaceModel(job_id=JobId.new(), model_id=ModelId.new()).encode()


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Door]:
    """The host's end of a door behind which an enclave waits."""
    world = BrokerWorld(tmp_path)
    (to_enclave, from_relay), (to_relay, from_enclave) = os.pipe(), os.pipe()
    launch = QueryEnclave(world.runtime("query"), os.fdopen(to_enclave, "rb"), os.fdopen(from_enclave, "wb"))
    writer = os.fdopen(from_relay, "wb")
    door = Door(os.fdopen(to_relay, "rb"), writer, {"broker.ask": world.handle})
    threads = [threading.Thread(target=one.serve, daemon=True) for one in (launch.door, door)]
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


class InProcess:
    """A `QueryTransport` straight to what a placed launch answers with."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def get(self, path: str) -> bytes:
        """The proof."""
        assert path.endswith("/proof")
        return self._serving.proof

    def post(self, path: str, body: bytes) -> bytes:
        """A session's opening, or a query."""
        opening = path.partition("?")[0].endswith("/sessions")
        return self._serving.sessions.open(body) if opening else self._serving.answering.answer(body)


@pytest.mark.parametrize(("lease_seconds", "draws"), [(LEASE_SECONDS, 1), (0, 3)])
def test_blocks_live_as_long_as_the_brokers_terms_give_leases(tmp_path: Path, lease_seconds: int, draws: int) -> None:
    """With leases of no length the broker is asked for each question: once for a block, then whether it still holds."""
    world, store = BrokerWorld(tmp_path), BlobStore(tmp_path / "objects")
    model = FinishedModel(world, store, designing_bundle())
    launch = world.launch(QUERY, model.job_id)
    launch = replace(launch, terms=launch.terms.model_copy(update={"lease_seconds": lease_seconds}))
    channel = world.channel()
    placed = enclave._placed(launch, channel)
    handlers = common_handlers(store, None)
    objects = DoorObjects(SimpleNamespace(call=lambda name, body, **_: handlers[name](body)))
    opened = open_model(launch, placed.placement, model.model_id, objects)
    lease = LeaseKeeper(lambda: 60, lambda _: None, seconds=60, asked_at=time.monotonic())
    transport = InProcess(enclave._serve(launch, channel, placed, opened, lease, MEASUREMENTS["query"]))
    pins = QueryPins(world.release, world.trust, TrustLevel.SIMULATION, NO_PLATFORM_RULES)
    session = QuerySession.open(transport, QueryUser(world.user.key, world.grant(model.manifest), pins))
    before = world.head.size
    for _ in range(3):
        with pytest.raises(Refusal, match=r"provider\.output"):  # nothing was designed; it is charged all the same
            session.ask(np.zeros((1, FEATURES), np.float32))
    assert world.head.size == before + draws


def test_where_nothing_can_be_confined_status_says_so_and_no_keys_are_asked_for(
    relay: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bubblewrap, "_PLACES", ("/nonexistent/bwrap",))
    require_confinement.cache_clear()
    for name, body in (("status", b""), ("place", REQUEST), ("place", REQUEST)):
        with pytest.raises(ConfinementError, match=r"apt-get install bubblewrap"):
            relay.call(name, body, seconds=10)
