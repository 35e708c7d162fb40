"""Whoever waits for a job's end hears of it at once, and of nothing else."""

import threading
import time

import pytest

from common.errors import NotFoundError
from common.identifiers import JobId
from common.messages.jobs import AwaitEnd, Members
from services.attestation.key_broker import MAX_AWAITING_ENDS
from tests.fakes.broker_world import TRAINER, BrokerWorld


def awaited(world: BrokerWorld, job_id: JobId) -> Members:
    return world.channel().ask(AwaitEnd(job_id=job_id), Members)


class Waiting:
    """A launch that waits for the end of its job."""

    def __init__(self, world: BrokerWorld, job_id: JobId) -> None:
        self.told = list[Members]()
        self._thread = threading.Thread(target=lambda: self.told.append(awaited(world, job_id)))
        self._thread.start()
        while not world.core._watched[job_id]:
            time.sleep(0.001)

    def ended(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()


def test_a_revocation_is_told_at_once(world: BrokerWorld) -> None:
    job_id = world.start_job()
    waiting = Waiting(world, job_id)
    world.revoke(world.owner, "job", job_id)
    assert waiting.ended(1.0)
    assert waiting.told[0].state == "cancelled"
    assert not world.core._watched


def test_another_job_or_launch_wakes_nobody(world: BrokerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = world.start_job(), world.start_job()
    waiting, woken = Waiting(world, first), list[bool]()
    notify = world.core._ended.notify_all

    def noted() -> None:
        woken.append(True)
        notify()

    monkeypatch.setattr(world.core._ended, "notify_all", noted)
    world.launch(TRAINER, first)
    world.revoke(world.owner, "job", second)
    assert not woken
    world.revoke(world.owner, "job", first)
    assert waiting.ended(1.0)
    assert woken


def test_a_job_that_runs_on_is_told_after_a_moment(world: BrokerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.attestation.key_broker.AWAIT_SECONDS", 0.02)
    assert awaited(world, world.start_job()).state == "running"


def test_an_ended_job_and_one_too_many_are_answered_at_once(world: BrokerWorld) -> None:
    over, running = world.start_job(), world.start_job()
    world.revoke(world.owner, "job", over)
    begun = time.monotonic()
    assert awaited(world, over).state == "cancelled"
    world.core._watched[running] = MAX_AWAITING_ENDS
    assert awaited(world, running).state == "running"
    assert time.monotonic() - begun < 1
    with pytest.raises(NotFoundError):
        awaited(world, JobId("job_" + "0" * 32))
