"""Workers and enclaves are killed with several questions under way: none is lost, and none is answered twice."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from common.identifiers import ModelId
from services.query_enclave.front_desk import FrontDesk
from services.query_enclave.slots import INLINE_BYTES, Slots
from services.query_enclave.streams import GROUP, questions_of
from tests.conftest import Broker

QUESTIONS = 60


class Worker:
    """A worker process that is started again as often as it is killed."""

    def __init__(self, url: str, model_id: ModelId, slots: Path) -> None:
        self._command = [sys.executable, "-m", "tests.fakes.query_worker_process", url, model_id, str(slots)]
        self._process = self._start()
        self.enclave = 0

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)

    def await_enclave(self) -> None:
        """Until it has one, a new one."""
        assert self._process.stdout is not None
        self.enclave = int(self._process.stdout.readline())

    def kill(self) -> None:
        """With SIGKILL; its enclave ends with its door."""
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Another one of the same name."""
        self._process = self._start()
        self.await_enclave()

    def kill_enclave(self) -> None:
        """Alone; the worker starts another."""
        os.kill(self.enclave, signal.SIGKILL)
        self.await_enclave()


@pytest.fixture
def worker(redis_server: Broker, tmp_path: Path) -> Iterator[tuple[Worker, ModelId]]:
    """A worker for a model of this test alone."""
    model_id = ModelId.new()
    made = Worker(redis_server.url, model_id, tmp_path / "slots")
    made.await_enclave()
    yield made, model_id
    made.kill()


async def ask_all(desk: FrontDesk, model_id: ModelId, bodies: list[bytes]) -> list[bytes]:
    """Ask a little apart from each other, so that kills meet questions in every state."""

    async def ask(number: int) -> bytes:
        await asyncio.sleep(number * 0.03)
        return await desk.ask(model_id, "query", bodies[number])

    return await asyncio.gather(*map(ask, range(len(bodies))))


def under_way(redis: Redis, model_id: ModelId) -> int:
    """Questions that a worker has taken and not answered; none before there is a worker."""
    try:
        pending: Any = redis.xpending(questions_of(model_id), GROUP)
    except ResponseError:
        return 0
    return int(pending["pending"])


def answers_to(redis: Redis, desk: FrontDesk) -> Counter[bytes]:
    """How often each question was answered, as the front's stream has it."""
    entries: Any = redis.xrange(desk._answers)
    return Counter(fields[b"id"] for _, fields in entries)


@pytest.mark.parametrize("killed", ["worker", "enclave"])
def test_what_was_under_way_is_answered_once(
    redis_server: Broker, redis: Redis, worker: tuple[Worker, ModelId], tmp_path: Path, killed: str
) -> None:
    """Small and large ones: what a slot holds outlives a worker, too, and is freed at last."""
    process, model_id = worker
    slots = Slots(tmp_path / "slots")
    bodies = [b"%d " % number + bytes(number % 2 * INLINE_BYTES) for number in range(QUESTIONS)]
    seen_pending: list[int] = []

    def kill() -> None:
        end = time.monotonic() + 10
        while (pending := under_way(redis, model_id)) < 3:
            assert time.monotonic() < end
        seen_pending.append(pending)
        if killed == "worker":
            process.kill()
            process.restart()
        else:
            process.kill_enclave()

    async def run() -> tuple[list[bytes], Counter[bytes]]:
        desk = FrontDesk.connect(redis_server.url, slots)
        await desk.start()
        try:
            asking = asyncio.create_task(ask_all(desk, model_id, bodies))
            for _ in range(3):
                await asyncio.sleep(0.1)
                await asyncio.to_thread(kill)
            return await asking, answers_to(redis, desk)
        finally:
            await desk.stop()

    answers, counts = asyncio.run(run())
    assert answers == [body[::-1] for body in bodies]
    assert set(counts.values()) == {1}
    assert len(counts) == QUESTIONS
    assert len(seen_pending) == 3
    assert redis.xlen(questions_of(model_id)) == 0
    assert list((tmp_path / "slots").iterdir()) == []


def test_a_worker_that_hangs_over_its_lease_and_its_successor_answer_once(
    redis_server: Broker, redis: Redis, worker: tuple[Worker, ModelId], tmp_path: Path
) -> None:
    """It is stopped, not killed: when it goes on, it finds that what it would answer is answered."""
    process, model_id = worker

    async def run() -> Counter[bytes]:
        desk = FrontDesk.connect(redis_server.url)
        await desk.start()
        try:
            asking = asyncio.create_task(ask_all(desk, model_id, [b"%d" % number for number in range(8)]))
            await asyncio.sleep(0.1)
            os.kill(process._process.pid, signal.SIGSTOP)
            second = Worker(redis_server.url, model_id, tmp_path / "slots")
            await asyncio.to_thread(second.await_enclave)
            answers = await asking
            os.kill(process._process.pid, signal.SIGCONT)
            await asyncio.sleep(0.3)
            second.kill()
            assert answers == [b"%d" % number for number in range(8)]
            return answers_to(redis, desk)
        finally:
            await desk.stop()

    with contextlib.suppress(ProcessLookupError):
        counts = asyncio.run(run())
    assert len(counts) == 8
    assert set(counts.values()) == {1}
