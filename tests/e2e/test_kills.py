"""Each host process and each enclave dies once by SIGKILL while a tiny job runs, at a seeded and printed moment.

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
from bench.kill_victims import VICTIMS, ProcessGroup
from client import ordering, user
from client.context import Party
from client.digits import DigitsFiles
from client.stack_access import endpoints_of
from deploy.embedded.stack import EmbeddedStack
from tests.e2e.conftest import MakeParty, Published, RunningStack, register

pytestmark = [pytest.mark.kills, pytest.mark.timeout(240)]

TOGETHER = (
    ("trainer enclave", "query enclave", "witness"),
    ("trainer sandbox", "redis", "epmd"),
    ("trainer relay", "broker enclave", "query front"),
    ("trainer launcher", "ingest", "query sandbox"),
    ("trainer worker", "broker launcher"),
    ("paramserver enclave", "query worker"),
    ("paramserver worker", "query launcher", "attestation host"),
    ("paramserver launcher", "rabbitmq"),
)


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


def test_the_supervisor_dies_and_the_next_start_carries_the_order_out(
    tmp_path: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    stack = EmbeddedStack(tmp_path / "state")
    stack.start(tied=True)
    try:
        stack.wait_ready()
        parties = enrolled(stack, tmp_path / "parties")
        training = allowed_training(parties, tmp_path / "parties", jobs=1)
        accepted = KillDriver(stack, parties["owner"], training).order()
        (planned,) = draw(["trainer worker"], accepted.seconds, f"{seed}: supervisor")
        time.sleep(planned.moment_seconds)
        everything = _kill_supervisor(stack)
        assert not stack.stop(), "the guardian saw to it"
        assert everything.left() == []

        stack.start(tied=True)
        stack.wait_ready()
        owner = Party(parties["owner"].directory, endpoints_of(stack.status()))
        played = KillDriver(stack, owner, training, [accepted.job_id]).judge(accepted.job_id)
        say(request, f"supervisor at {planned.moment_seconds:.2f} s; {played}")
        assert not played.problems
    finally:
        stack.stop()


def _kill_supervisor(stack: EmbeddedStack) -> ProcessGroup:
    """SIGKILL; returns it with all below it, when the stack is down."""
    supervisor = stack.status().supervisor_pid
    assert supervisor is not None
    group = ProcessGroup.of(supervisor)
    assert group.kill()
    deadline = time.monotonic() + 20.0
    while stack.status().state != "down" and time.monotonic() < deadline:
        time.sleep(0.05)
    return group


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
    played = driver.judge(accepted.job_id)
    say(request, str(played))
    assert len(gone) == 7
    assert played.state == "finished"
    assert not (*played.problems, *asker.problems())
    assert [line for group in gone for line in group.left()] == []
