"""A job on a stack with two parameter servers whose frames go straight from relay to relay, and a death in it."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from bench.kill_scene import allowed_training, enrolled
from client import events as e
from client import ordering
from client.context import Party
from client.http_client import ServiceClient
from client.scheduling import ScheduleWishes
from common.identifiers import JobId
from common.untrusted.job_board import JobBoard
from deploy.embedded.stack import EmbeddedStack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

WISHES = ScheduleWishes(rounds=3, steps=4, batch=16, tick_milliseconds=100, slack_percent=600, warmup_seconds=15)
SERVERS = ("paramserver", "paramserver-2")


@dataclass
class Scene:
    """A stack that is up, its owner, and what may be trained."""

    stack: EmbeddedStack
    owner: Party
    training: ordering.Training
    board: JobBoard

    def order(self) -> JobId:
        training = replace(self.training, wishes=WISHES)
        return e.outcome(ordering.train(self.owner, training), e.OrderAccepted).job_id

    def pids(self) -> dict[str, int]:
        services = self.stack.status().services
        return {one.name: one.pid for one in services if one.name in SERVERS and one.pid is not None}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("direct")
    stack = EmbeddedStack(directory / "state", "deploy.embedded.table:direct_stack")
    stack.start(tied=True)
    try:
        stack.wait_ready()
        parties = enrolled(stack, directory / "parties")
        training = allowed_training(parties, directory / "parties", 4)
        board = JobBoard.open(f"sqlite:///{stack.state.root / 'registry' / 'registry.sqlite'}")
        yield Scene(stack, parties["owner"], training, board)
    finally:
        stack.stop()


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_a_job_trains_over_direct_frames_and_survives_its_parameter_server(scene: Scene) -> None:
    job_id = scene.order()
    wait_until(lambda: scene.board.frame_route(job_id) is not None)
    first = scene.board.frame_route(job_id)
    for pid in scene.pids().values():  # whichever has it
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: scene.board.frame_route(job_id) not in (None, first))
    told = list(ordering.watch(scene.owner, job_id))
    assert isinstance(told[-1], e.ModelSealed)
    last = [event.report for event in told if isinstance(event, e.ReportOpened)][-1]
    assert last.outcome in {"finished", "finished_short"} or last.codes == ("unavailable.rounds",)
    assert last.real_frames > 0 or last.codes == ("unavailable.rounds",)
    carried = [json.loads(ServiceClient(scene.stack.url(name)).get("/carried")) for name in SERVERS]
    assert sum(one["direct"] for one in carried) > 0
    assert not any("rabbitmq" in one for one in carried)
    wait_until(lambda: scene.board.frame_route(job_id) is None)
