"""Each process of a stack dies once by SIGKILL while a tiny job runs, at a seeded and printed moment.

Two or three die in each job, such as one of what the job runs in and one of what answers queries; a user asks all the
while. What must hold afterwards stands in bench/kill_driver. The long random loop is `./cloister bench kill`.
"""

import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.kill_asking import Asker
from bench.kill_driver import PATIENT_JOB, SHORT_JOB, KillDriver
from bench.kill_scene import allowed_training, enrolled, trained_grant
from bench.kill_strike import draw
from bench.kill_victims import KEEPERS, VICTIMS, ProcessGroup, unnamed
from client import ordering, user
from client.context import Party
from client.digits import DigitsFiles
from client.stack_access import endpoints_of
from deploy.embedded.processes import command_line
from deploy.embedded.stack import STOP_SECONDS, EmbeddedStack
from tests.e2e.conftest import MakeParty, Published, RunningStack, register

pytestmark = [pytest.mark.kills, pytest.mark.timeout(240)]

TOGETHER = (
    ("trainer enclave", "query enclave", "witness"),
    ("trainer sandbox", "redis", "epmd"),
    ("trainer relay", "broker enclave", "query front"),
    ("trainer launcher", "ingest", "query sandbox"),
    ("trainer worker", "broker launcher", "rabbitmq helper"),
    ("paramserver enclave", "query worker", "trainer confiner"),
    ("paramserver worker", "query launcher", "attestation host"),
    ("paramserver launcher", "rabbitmq", "query confiner"),
)

PASSING_SECONDS = 4.0
"""What lives shorter is part of a start, or an orphan that is about to be ended, and no kind of process."""

WHOLE_SECONDS = 90.0


@pytest.fixture(scope="module")
def seed(request: pytest.FixtureRequest) -> int:
    """Of all moments: `CLOISTER_KILL_SEED` repeats those of an earlier run."""
    chosen = int(os.environ.get("CLOISTER_KILL_SEED") or secrets.randbits(32))
    say(request, f"CLOISTER_KILL_SEED={chosen}")
    return chosen


def say(request: pytest.FixtureRequest, line: str) -> None:
    """Print past pytest's capture: a moment is wanted most when the test that died at it left nothing else."""
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        sys.stdout.write(f"\n  {line}\n")


@pytest.fixture(scope="module")
def driver(
    stack: RunningStack,
    make_party: MakeParty,
    published: Published,
    digits: DigitsFiles,
    tmp_path_factory: pytest.TempPathFactory,
) -> KillDriver:
    """An owner who may order many jobs."""
    directory = tmp_path_factory.mktemp("kills") / "sealed"
    registered = register(make_party("owner"), published, digits.train, directory, max_jobs=64)
    training = ordering.Training(registered.dataset.dataset_id, published.bundle.bundle_id, 2, SHORT_JOB)
    return KillDriver(stack.stack, registered.party, training)


@pytest.fixture(scope="module")
def asker(
    driver: KillDriver, make_party: MakeParty, digits: DigitsFiles, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asker]:
    """A user who asks as long as these tests run."""
    party, destination = make_party("user"), tmp_path_factory.mktemp("grant") / "grant.json"
    grant = trained_grant(driver.owner, party, driver.training, destination, answers=9000)
    with np.load(digits.held_out, allow_pickle=False) as columns:
        rows = columns["image"][:1]
    asking = Asker(lambda: user.open_session(party, grant), rows)
    asking.start()
    yield asking
    asking.stop()


def test_every_process_is_a_victim_once() -> None:
    assert sorted(name for names in TOGETHER for name in names) == sorted(VICTIMS)


def test_who_keeps_the_stack_dies_and_the_next_start_carries_the_order_out(
    tmp_path: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    """The supervisor's death and then the guardian's, while the same order is on its way."""
    stack = EmbeddedStack(tmp_path / "state")
    stack.start(tied=True)
    try:
        stack.wait_ready()
        parties = enrolled(stack, tmp_path / "parties")
        training = allowed_training(parties, tmp_path / "parties", jobs=1)
        accepted = KillDriver(stack, parties["owner"], training).order()
        for name in KEEPERS:
            (planned,) = draw([name], accepted.seconds, f"{seed}: {name}")
            time.sleep(planned.moment_seconds)
            say(request, f"{name} at {planned.moment_seconds:.2f} s")
            everything = _kill_keeper(stack, name)
            assert not stack.stop(), "the other one saw to it"
            assert everything.left() == []
            stack.start(tied=True)
            stack.wait_ready()
        owner = Party(parties["owner"].directory, endpoints_of(stack.status()))
        played = KillDriver(stack, owner, training, [accepted.job_id]).judge(accepted.job_id, also_died=KEEPERS)
        say(request, str(played))
        assert not played.problems
    finally:
        stack.stop()


def _kill_keeper(stack: EmbeddedStack, name: str) -> ProcessGroup:
    """SIGKILL; returns the whole stack, when it is down."""
    status = stack.status()
    (pid,), (head,) = KEEPERS[name].find(status), KEEPERS["guardian"].find(status)
    everything = ProcessGroup.of(head)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + STOP_SECONDS
    while stack.status().state != "down" and time.monotonic() < deadline:
        time.sleep(0.05)
    return everything


@pytest.mark.parametrize("names", TOGETHER, ids=" + ".join)
def test_a_job_survives_or_says_why(
    names: tuple[str, ...], driver: KillDriver, asker: Asker, seed: int, request: pytest.FixtureRequest
) -> None:
    played = driver.round(names, f"{seed}: {names}")
    say(request, str(played))
    assert not (*played.problems, *asker.problems())


def test_an_order_waits_for_services_that_start_without_rabbitmq_and_redis(
    driver: KillDriver, asker: Asker, request: pytest.FixtureRequest
) -> None:
    driver = replace(driver, training=replace(driver.training, wishes=PATIENT_JOB))
    supervisor = driver.stack.status().supervisor_pid
    assert supervisor is not None
    os.kill(supervisor, signal.SIGSTOP)  # so that nothing comes back before the order is there
    try:
        gone = driver.kill_now(("rabbitmq", "redis"))
        accepted = driver.order()
        gone += driver.kill_now(("ingest", "trainer worker", "paramserver worker", "query front", "query worker"))
    finally:
        os.kill(supervisor, signal.SIGCONT)
    assert _strangers(driver.stack) == []
    played = driver.judge(accepted.job_id)
    say(request, str(played))
    assert len(gone) == 7
    assert played.end.state == "finished"
    assert not (*played.problems, *asker.problems())
    assert [line for group in gone for line in group.left()] == []


def _strangers(stack: EmbeddedStack) -> list[str]:
    """What lasts while every kind of victim is seen and is none itself: a new kind of process would be forgotten."""
    missing, strangers, before = set(VICTIMS), dict[int, str](), set[tuple[int, int]]()

    def look() -> None:
        nonlocal before
        status = stack.status()
        missing.difference_update([name for name in missing if VICTIMS[name].find(status)])
        now = unnamed(status)
        strangers.update({pid: command_line(pid) for pid, _ in before & now})
        before = now
        time.sleep(PASSING_SECONDS)

    deadline = time.monotonic() + WHOLE_SECONDS
    while missing:
        assert time.monotonic() < deadline, f"never there: {missing}"
        look()
    look()
    return list(strangers.values())
