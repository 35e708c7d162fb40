"""Each process of a stack dies once by SIGKILL while a tiny job runs, at a seeded and printed moment.

Four die in each job, such as one of what the job runs in and one of what answers queries; a user asks all the while.
What must hold afterwards stands in bench/kill_driver. The long random loop is `./cloister bench kill`.
"""

import os
import signal
import time
from collections import Counter
from dataclasses import replace

import pytest

from bench.kill_asking import Asker
from bench.kill_driver import PATIENT_JOB, KillDriver
from bench.kill_victims import VICTIMS, unnamed
from deploy.embedded.processes import command_line
from deploy.embedded.stack import EmbeddedStack
from tests.conftest import Say

pytestmark = pytest.mark.timeout(240)

TOGETHER = (
    ("trainer enclave", "query enclave", "witness", "ingest"),
    ("trainer sandbox", "redis", "epmd", "query front"),
    ("trainer relay", "broker enclave", "query sandbox", "paramserver launcher"),
    ("trainer launcher", "query launcher", "attestation host", "paramserver worker"),
    ("trainer worker", "broker launcher", "rabbitmq helper", "query confiner"),
    ("trainer confiner", "paramserver enclave", "query worker", "rabbitmq"),
)

PASSING_SECONDS = 3.0
LOOKS = 3
"""What is not there at so many looks in a row is part of a start, or an orphan that is about to be ended, and no kind
of process: on a busy machine such live for seconds, too."""

WHOLE_SECONDS = 90.0


def test_every_process_is_a_victim_once() -> None:
    assert sorted(name for names in TOGETHER for name in names) == sorted(VICTIMS)


@pytest.mark.parametrize("names", TOGETHER, ids=" + ".join)
def test_a_job_survives_or_says_why(
    names: tuple[str, ...], driver: KillDriver, asker: Asker, seed: int, say: Say
) -> None:
    played = driver.round(names, f"{seed}: {names}")
    say(str(played))
    assert not (*played.problems, *asker.problems())


def test_an_order_waits_for_services_that_start_without_rabbitmq_and_redis(
    driver: KillDriver, asker: Asker, say: Say
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
    say(str(played))
    assert len(gone) == 7
    assert played.end.state == "finished"
    assert not (*played.problems, *asker.problems())
    assert [line for group in gone for line in group.left()] == []


def _strangers(stack: EmbeddedStack) -> list[str]:
    """What lasts while every kind of victim is seen and is none itself: a new kind of process would be forgotten."""
    missing, strangers, looks = set(VICTIMS), dict[int, str](), Counter[tuple[int, int]]()

    def look() -> None:
        nonlocal looks
        status = stack.status()
        missing.difference_update([name for name in missing if VICTIMS[name].find(status)])
        looks = Counter({one: looks[one] + 1 for one in unnamed(status)})
        strangers.update({pid: command_line(pid) for (pid, _), count in looks.items() if count >= LOOKS})
        time.sleep(PASSING_SECONDS)

    deadline = time.monotonic() + WHOLE_SECONDS
    while missing:
        assert time.monotonic() < deadline, f"never there: {missing}"
        look()
    for _ in range(LOOKS - 1):
        look()
    return [said for said in strangers.values() if said]  # one that has ended and was not yet waited for says nothing
