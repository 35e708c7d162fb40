"""The door of the parameter server enclave: a job that runs into a fault of ours ends like any other."""

import json
import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.door import Door
from common.errors import ConflictError, UnavailableError
from common.messages.training_door import JobEnded, OpenJob
from services.paramserver.enclave import ParameterServerEnclave
from services.paramserver.running import JobRun
from tests.fakes.in_memory_job import make_schedule
from tests.fakes.training_world import TrainingWorld


class Host:
    """The relay's end of the door; the last words that came through it."""

    def __init__(self, world: TrainingWorld) -> None:
        self.opened = OpenJob(job_id=world.job_id, order=world.order).encode()
        self.ends: queue.Queue[JobEnded] = queue.Queue()
        self.events: list[bytes] = []
        (to_enclave, from_host), (to_host, from_enclave) = os.pipe(), os.pipe()
        enclave = ParameterServerEnclave(world, os.fdopen(to_enclave, "rb"), os.fdopen(from_enclave, "wb"))
        self._writer = os.fdopen(from_host, "wb")
        handlers = {"broker.ask": world.ask, "job_ended": self._take_end}
        self.door = Door(os.fdopen(to_host, "rb"), self._writer, handlers, on_log=self.events.append)
        self._threads = [threading.Thread(target=one.serve, daemon=True) for one in (enclave.door, self.door)]
        for thread in self._threads:
            thread.start()

    def _take_end(self, body: bytes) -> bytes:
        self.ends.put(JobEnded.decode(body))
        return b""

    def call(self, name: str, body: bytes = b"") -> bytes:
        """Ask the enclave."""
        return self.door.call(name, body, seconds=10)

    def open_jobs(self) -> int:
        """How many jobs the enclave holds."""
        return int(json.loads(self.call("status"))["jobs"])

    def close(self) -> None:
        """Close the door."""
        self._writer.close()
        self._threads[0].join(10)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(TrainingWorld(tmp_path, make_schedule()))
    yield host
    host.close()


@pytest.mark.parametrize("fault", [MemoryError(), ValueError("the third row is 17.5")])
def test_a_fault_ends_the_job_in_public_and_says_nothing_of_itself(
    host: Host, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def run(_job: JobRun) -> JobEnded:
        raise fault

    monkeypatch.setattr(JobRun, "run", run)
    for _ in range(2):  # it was removed: the same job can be opened again
        host.call("open_job", host.opened)
        ended = host.ends.get(timeout=10)
        assert (ended.outcome, ended.completed, ended.code) == ("failed", False, "unavailable.enclave")
        assert host.open_jobs() == 0
    said = b"".join(host.events)
    assert b"unavailable.enclave" in said
    assert not any(word in said for word in (b"MemoryError", b"ValueError", b"17.5"))


def test_one_enclave_holds_so_many_jobs_and_no_more(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one is refused, which its scheduler takes elsewhere; one that ends makes room."""
    monkeypatch.setattr("services.paramserver.enclave.MAX_JOBS", 2)
    ending = {number: threading.Event() for number in range(3)}
    worlds = [TrainingWorld(tmp_path / str(number), make_schedule()) for number in ending]
    jobs = [OpenJob(job_id=world.job_id, order=world.order) for world in worlds]

    def run(job: JobRun) -> JobEnded:
        number = [one.job_id for one in jobs].index(job._opened.job_id)
        assert ending[number].wait(10)
        return JobEnded(job_id=jobs[number].job_id, outcome="failed", completed=False, code="unavailable.enclave")

    monkeypatch.setattr(JobRun, "run", run)
    for job in jobs[:2]:
        host.call("open_job", job.encode())
    with pytest.raises(UnavailableError, match=r"unavailable\.full"):
        host.call("open_job", jobs[2].encode())
    with pytest.raises(ConflictError, match=r"conflict\.job_state"):
        host.call("open_job", jobs[0].encode())
    ending[0].set()
    assert host.ends.get(timeout=10).job_id == jobs[0].job_id
    host.call("open_job", jobs[2].encode())
    assert host.open_jobs() == 2
    for number in (1, 2):
        ending[number].set()
        host.ends.get(timeout=10)


def test_a_job_whose_thread_does_not_start_is_not_open(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def start_no_job(thread: threading.Thread) -> None:
        if thread.name == "job":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_no_job)
    with pytest.raises(UnavailableError, match=r"unavailable\.enclave"):
        host.call("open_job", host.opened)
    assert host.open_jobs() == 0
