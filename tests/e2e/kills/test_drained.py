"""SIGTERM to each service, as an engine or a supervisor sends it: what is under way is finished, or handed back at
once, and nothing has to be killed.
"""

import os
import signal
import time
from dataclasses import replace

import pytest

from bench.kill_asking import Asker
from bench.kill_driver import PATIENT_JOB, KillDriver
from bench.kill_victims import VICTIMS, ProcessGroup
from deploy.embedded.specification import STOP_SECONDS
from deploy.embedded.stack import EmbeddedStack
from tests.conftest import Say

pytestmark = pytest.mark.timeout(240)

THERE_SECONDS = 60.0


def drain(stack: EmbeddedStack, name: str) -> float:
    """Tell a service's main process to end; how long it took until it, and everything below it, had ended."""
    deadline = time.monotonic() + THERE_SECONDS
    while not (found := VICTIMS[name].find(stack.status())):
        assert time.monotonic() < deadline, f"{name} is not there"
        time.sleep(0.05)
    group, begun = ProcessGroup.of(found[0]), time.monotonic()
    os.kill(group.pid, signal.SIGTERM)
    while left := group.left():
        assert time.monotonic() - begun < STOP_SECONDS, left
        time.sleep(0.02)
    return time.monotonic() - begun


def await_one(stack: EmbeddedStack, name: str) -> None:
    deadline = time.monotonic() + THERE_SECONDS
    while not VICTIMS[name].find(stack.status()):
        assert time.monotonic() < deadline, f"{name} is not there"
        time.sleep(0.05)


def test_a_job_is_handed_back_by_workers_that_are_told_to_end(driver: KillDriver, asker: Asker, say: Say) -> None:
    driver = replace(driver, training=replace(driver.training, wishes=PATIENT_JOB))
    log = driver.stack.state.log_file("ingest")
    said_before, accepted = log.stat().st_size, driver.order(PATIENT_JOB)
    await_one(driver.stack, "trainer enclave")
    told = [f"trainer {drain(driver.stack, 'trainer worker'):.2f} s"]
    await_one(driver.stack, "trainer enclave")
    told.append(f"paramserver {drain(driver.stack, 'paramserver worker'):.2f} s")
    played = driver.judge(accepted.job_id, also_died=("paramserver worker", "trainer worker"))
    say(f"{', '.join(told)}; {played}")
    assert played.end.state == "finished"
    assert not played.problems
    said = log.read_bytes()[said_before:]
    assert b'"lease_lapsed"' not in said  # handed back, not waited for
    assert not asker.problems()


@pytest.mark.parametrize("name", ["query front", "query worker", "attestation host", "ingest", "witness"])
def test_questions_are_answered_over_the_end_of_each_service(
    name: str, driver: KillDriver, asker: Asker, say: Say
) -> None:
    assert not asker.problems()
    say(f"{name}: {drain(driver.stack, name):.2f} s")
    played = driver._await_ready()
    assert played[1] == []
    assert not asker.problems()
