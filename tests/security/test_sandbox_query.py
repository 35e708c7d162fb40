"""Promise: a query meets provider code that no other query has met, and learns and leaves nothing else."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security.hostile_bundle import escapes
from tests.security.hostile_bundle.memory_tricks import RECALL
from tests.security.sandbox_parts import HostileServer, confined

SECRET = 77
BUNDLE_FOLDER = Path(escapes.__file__).parent


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    started = HostileServer()
    yield started
    started.sandbox.close()


def run_unconfined(statement: str) -> list[float]:
    """What the bundle's plain modules report when nothing confines them."""
    program = f"import sys; sys.path.insert(0, {str(BUNDLE_FOLDER)!r}); {statement}"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, check=True, timeout=30)
    return [float(number) for number in done.stdout.split()]


def test_every_escape_is_refused(server: HostileServer) -> None:
    seen = dict(zip(escapes.ATTEMPTS, server.numbers("escape"), strict=False))
    assert seen.pop("clock") == escapes.SUCCEEDED
    assert {name: result for name, result in seen.items() if result != escapes.REFUSED} == {}


def test_the_same_escapes_succeed_outside() -> None:
    harmless = (
        "tcp", "udp", "unix", "netlink", "socketpair", "passwd", "own_environment", "processes", "temporary", "fork",
        "thread", "signal_self", "touch", "affinity", "priority_of_parent", "shared_anonymous", "memfd_create",
        "inotify_init",
    )  # fmt: skip
    tried = [name for name in harmless if name in escapes.ATTEMPTS]
    results = run_unconfined(f"import escapes; print(*(escapes.attempt(name) for name in {tried!r}))")
    assert {name: result for name, result in zip(tried, results, strict=True) if result != escapes.SUCCEEDED} == {}


def test_a_query_remembers_nothing_of_the_one_before(server: HostileServer) -> None:
    server.numbers("remember", SECRET)
    assert server.numbers("recall")[: len(RECALL)] == [0.0] * len(RECALL)


def test_the_same_tricks_remember_outside() -> None:
    found = run_unconfined(
        "import memory_tricks as m; m.REMEMBER = m.REMEMBER[:6]; m.remember_all(77); print(*m.recall_all()[:6])"
    )
    assert found[:4] == [SECRET] * 4  # a global, the environment, a file, shared memory
    assert found[4] > 0  # flags of an open file


def test_process_numbers_count_queries_and_nothing_else(server: HostileServer) -> None:
    (before, *_), _, (after, *_) = (
        server.numbers("process_number"),
        server.query("remember", 50),
        server.numbers("process_number"),
    )
    assert after - before == 2


@pytest.mark.parametrize(
    ("deed", "code"),
    [
        ("raise_error", "provider.raised"),
        ("leave", "provider.raised"),
        ("end_process", "provider.killed"),
        ("crash", "provider.killed"),
        ("eat_memory", "provider.raised"),
        ("spread", "provider.raised"),
        ("not_a_number", "provider.output"),
        ("oversize", "provider.output"),
    ],
)
def test_a_deed_has_its_code_and_the_next_query_is_answered(server: HostileServer, deed: str, code: str) -> None:
    assert server.query(deed).code == code
    assert server.numbers("echo", 5)[0] == 5.0


@pytest.mark.parametrize("deed", ["loop", "sleep"])
def test_the_deadline_holds_and_the_next_query_is_answered(server: HostileServer, deed: str) -> None:
    begin = time.monotonic()
    outcome = server.query(deed, seconds=1.0)
    assert outcome.code == "provider.timeout"
    assert time.monotonic() - begin < 5.0
    assert server.numbers("echo", 6)[0] == 6.0


def test_a_query_meets_the_successor_of_a_dead_zygote(server: HostileServer) -> None:
    (zygote,) = [one for one in confined() if one.name().startswith("python")]
    zygote.kill()
    assert server.numbers("echo", 7)[0] == 7.0
    assert server.numbers("echo", 8)[0] == 8.0


def test_nothing_is_printed(server: HostileServer, capfd: pytest.CaptureFixture[str]) -> None:
    assert server.numbers("print_data", 9)[0] == 9.0
    assert capfd.readouterr() == ("", "")


def test_the_surroundings_are_constant(server: HostileServer) -> None:
    uid, variables, _, folders, *_ = server.numbers("environment")
    assert (uid, folders) == (65534.0, 11.0)
    assert variables < 12


def test_an_answer_stays_when_the_buffer_is_wiped(server: HostileServer) -> None:
    first = server.query("echo", 1).answer_NA
    server.query("echo", 2)
    assert first is not None
    assert first[0, 0] == 1.0
