"""Containers of a running stack die while jobs run, one after the other (side: owner)."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from bench.kill_driver import SHORT_JOB, End
from client import events as e
from client import ordering
from client.context import Party
from common.errors import CloisterError
from common.identifiers import JobId
from tests.deploy.containers.engine import docker

JOB: Final = replace(SHORT_JOB, steps=4, rounds=3, warmup_seconds=20, slack_percent=800)
"""A job that is at work long enough to lose something, and has time to make up for it."""

STARTED_SECONDS: Final = 120.0
LOOK_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Death:
    """One job during which one container died."""

    victim: str
    job_id: JobId
    end: End
    seconds: float

    def __str__(self) -> str:
        """One line."""
        return f"{self.victim} died: {self.end}, {self.seconds:.0f} s"


def kill_container(container: str) -> None:
    """SIGKILL to its first process, as a crash would have it: `docker kill` would be taken for the operator's wish."""
    (told,) = json.loads(docker("inspect", container).stdout)
    os.kill(int(told["State"]["Pid"]), 9)


def die_during_a_job(
    owner: Party, training: ordering.Training, victim: str, find: Callable[[], str], patience: float
) -> Death:
    """Order one, wait until it runs, let `find`'s container die, and follow the job to its end."""
    begun = time.monotonic()
    told = ordering.train(owner, replace(training, wishes=JOB))
    job_id = e.outcome(told, e.OrderAccepted).job_id
    _await_state(owner, job_id, "running")
    time.sleep(patience)
    kill_container(find())
    end = follow(owner, job_id)
    return Death(victim, job_id, end, time.monotonic() - begun)


def follow(owner: Party, job_id: JobId) -> End:
    """To its end, over services that are away for a while."""
    deadline = time.monotonic() + 240
    while True:
        try:
            told = list(ordering.watch(owner, job_id))
            break
        except (CloisterError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
    seen = [event for event in told if isinstance(event, e.JobSeen)][-1]
    last = [event.report for event in told if isinstance(event, e.ReportOpened) and event.report.outcome][-1:]
    return End(seen.state, seen.code, *((last[0].outcome, last[0].codes) if last else ()))


def _await_state(owner: Party, job_id: JobId, state: str) -> None:
    deadline = time.monotonic() + STARTED_SECONDS
    while time.monotonic() < deadline:
        seen = {one.job_id: one.state for one in ordering.jobs(owner) if isinstance(one, e.JobSeen)}
        if seen.get(job_id) in {state, *ordering.FINAL_STATES}:
            return
        time.sleep(LOOK_SECONDS)
    raise TimeoutError(f"{job_id} is not {state}")
