"""Promise: a query meets provider code that no other query has met, and learns and leaves nothing else."""

import time
from collections.abc import Iterator

import pytest

from common.sandbox.protocol import SandboxSeeds
from common.sandbox.tree import random_device
from tests.security.sandbox.sandbox_parts import HostileServer, confined, ending


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    started = HostileServer()
    yield started
    started.sandbox.close()


def test_process_numbers_count_queries_and_nothing_else(server: HostileServer) -> None:
    (before, *_), _, (after, *_) = (
        server.numbers("process_number"),
        server.query("remember", 50),
        server.numbers("process_number"),
    )
    assert after - before == 2


@pytest.mark.parametrize("deed", ["loop", "sleep"])
def test_the_deadline_holds_and_the_next_query_is_answered(server: HostileServer, deed: str) -> None:
    begin = time.monotonic()
    outcome = server.query("end", ending(deed), seconds=1.0)
    assert outcome.code == "provider.timeout"
    assert time.monotonic() - begin < 5.0
    assert server.numbers("echo", 6)[0] == 6.0


def test_a_query_meets_the_successor_of_a_dead_zygote(server: HostileServer) -> None:
    (zygote,) = [one for one in confined() if one.name().startswith("python")]
    zygote.kill()
    assert server.numbers("echo", 7)[0] == 7.0
    assert server.numbers("echo", 8)[0] == 8.0


def test_nothing_is_printed(server: HostileServer, capfd: pytest.CaptureFixture[str]) -> None:
    assert server.numbers("end", ending("print_data"))[0] == 1.0
    assert capfd.readouterr() == ("", "")


def test_randomness_is_the_enclave_s(server: HostileServer) -> None:
    """Python, NumPy and torch find no fresh entropy: two queries draw the same, from what the enclave put there."""
    first, second = server.numbers("entropy"), server.numbers("entropy")
    assert first == second
    assert bytes(int(one) for one in first[:16]) in random_device(SandboxSeeds(3, 3))


def test_the_surroundings_are_constant(server: HostileServer) -> None:
    uid, variables, _, folders, *_ = server.numbers("environment")
    assert (uid, folders) == (65534.0, 11.0)
    assert variables < 12


def test_an_answer_stays_when_the_buffer_is_wiped(server: HostileServer) -> None:
    first = server.query("echo", 1).answer_NA
    server.query("echo", 2)
    assert first is not None
    assert first[0, 0] == 1.0
