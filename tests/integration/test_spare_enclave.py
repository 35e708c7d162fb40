"""A spare enclave takes over where a launch ended; it attests for the model like any other before it answers."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from common.errors import UnavailableError
from common.messages.placement import QueryEnclaveProof
from tests.conftest import Broker
from tests.fakes.exported_graphs import linear_graph
from tests.fakes.in_memory_job import FEATURES
from tests.fakes.query_service import QueryService
from tests.fakes.training_world import small_bundle

pytestmark = pytest.mark.timeout(600)  # several launches, on a machine that may be busy


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory, redis_server: Broker) -> Iterator[QueryService]:
    """One model, and a spare."""
    contents = small_bundle()
    document = json.dumps(linear_graph(contents.manifest)).encode()
    state = tmp_path_factory.mktemp("spare_enclave")
    with QueryService(state, redis_server.url, contents, document, spare=True).running() as running:
        yield running


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for what another thread brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_the_spare_takes_over_after_it_attested(service: QueryService) -> None:
    rows = np.ones((1, FEATURES), np.float32)
    session = service.session()
    before = session.ask(rows)
    until(lambda: service.spare.pid is not None)
    spare, entries = service.spare.pid, service.world.head.size
    first = QueryEnclaveProof.decode(service.relays[0].proof)
    os.kill(service.relays[0].pid, signal.SIGKILL)
    after = session.ask(rows)
    np.testing.assert_array_equal(after.labels, before.labels)
    assert service.relays[1].pid == spare
    proof = QueryEnclaveProof.decode(service.relays[1].proof)
    assert proof.binding.nonce != first.binding.nonce, "a challenge of its own"
    assert proof.binding.signing_public != first.binding.signing_public
    assert service.world.head.size > entries, "the broker has admitted it"
    assert session.quotes_verified == 2
    until(lambda: service.spare.pid not in (None, spare))


def test_a_spare_that_was_not_placed_answers_nothing(service: QueryService) -> None:
    until(lambda: service.spare.pid is not None)
    enclave = service.spare.take(lambda: None)
    try:
        for name in ("proof", "session"):
            with pytest.raises(UnavailableError, match=r"unavailable\.enclave"):
                enclave.call(name, b"", seconds=60)
    finally:
        enclave.stop()


def test_a_spare_that_died_is_replaced_and_costs_nothing(service: QueryService) -> None:
    until(lambda: service.spare.pid is not None)
    spare = service.spare.pid
    assert spare is not None
    os.kill(spare, signal.SIGKILL)
    until(lambda: service.spare.pid is None)
    os.kill(service.relays[0].pid, signal.SIGKILL)
    session = service.session()
    assert len(session.ask(np.ones((1, FEATURES), np.float32)).labels) == 1
    assert service.relays[1].pid != spare
