"""RabbitMQ dies while a job's frames go through it: that delays the job, and corrupts nothing."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.kill_victims import VICTIMS, ProcessGroup
from common.untrusted.frame_transport import FrameTransport, downlink_key, uplink_key
from deploy.embedded.stack import EmbeddedStack
from tests.fakes.in_memory_job import loss_of, make_schedule
from tests.fakes.training_world import TrainingWorld

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

ROUNDS = 24
SECONDS = 90.0


class QueuedWorld(TrainingWorld):
    """Frames go through RabbitMQ, as relays send and take them."""

    def connect(self, amqp_url: str) -> None:
        self._server_side = FrameTransport(amqp_url, lambda _, frame: super(QueuedWorld, self).carry_up(frame))
        self._server_side.listen(uplink_key(self.job_id))
        self._trainers_side = FrameTransport(amqp_url, lambda _, frame: super(QueuedWorld, self).carry_down(frame))
        self._trainers_side.listen(downlink_key(self.job_id))
        for one in self.transports:
            one.start()
            assert one.connected.wait(SECONDS)

    @property
    def transports(self) -> tuple[FrameTransport, FrameTransport]:
        return self._server_side, self._trainers_side

    def carry_up(self, frame: bytes) -> None:
        self._trainers_side.publish(uplink_key(self.job_id), frame)

    def carry_down(self, frame: bytes) -> None:
        self._server_side.publish(downlink_key(self.job_id), frame)


@pytest.fixture
def world(broker_stack: EmbeddedStack, tmp_path: Path) -> Iterator[QueuedWorld]:
    schedule = make_schedule(
        rounds=ROUNDS, tick_milliseconds=50, ticks_per_round=8, slack_percent=1000, steps_per_round=2
    )
    world = QueuedWorld(tmp_path, schedule, minimal_trainers=2)
    world.connect(broker_stack.amqp_url)
    yield world
    world.state = "cancelled"
    for thread in world.threads.values():
        thread.join(30)
    for one in world.transports:
        one.stop()


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_all_rounds_count_after_rabbitmq_was_killed(world: QueuedWorld, broker_stack: EmbeddedStack) -> None:
    for slot in range(2):
        world.start_trainer(slot)
    server = world.start_server()
    world.in_background(server)
    wait_until(lambda: server._job is not None and server._job.rounds.rounds_done >= 3)
    job = server._job
    assert job is not None
    for pid in VICTIMS["rabbitmq"].find(broker_stack.status()):
        ProcessGroup.of(pid).kill()
    wait_until(lambda: not any(one.connected.is_set() for one in world.transports))
    time.sleep(0.5)
    done = job.rounds.rounds_done
    assert done < ROUNDS
    broker_stack.wait_ready()
    wait_until(lambda: job.rounds.all_done)
    report = job.report(1, job.context.schedule.total_ticks)
    assert (report.round, report.rounds_delivered, report.codes) == (ROUNDS, (ROUNDS, ROUNDS), ())
    assert report.refused_frames == 0
    assert job.state_P is not None
    assert loss_of(job.state_P) < 0.05 * loss_of(np.zeros(20, np.float32))
