"""A job on a stack with two parameter servers whose frames go straight from relay to relay, and a death in it."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from bench.kill_scene import allowed_training, enrolled
from bench.kill_victims import VICTIMS
from client import events as e
from client import ordering
from client.context import Party
from client.http_client import ServiceClient
from client.scheduling import ScheduleWishes
from client.watching.reports import Reports
from common.identifiers import JobId
from common.messages.order import TrainingOrder
from common.messages.policy import JobReport
from common.untrusted.job_board import JobBoard
from deploy.embedded.stack import EmbeddedStack
from services.paramserver.running import SEQUENCE_BITS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

WISHES = ScheduleWishes(rounds=3, steps=4, batch=16, tick_milliseconds=100, slack_percent=600, warmup_seconds=15)
SERVERS = ("paramserver", "paramserver-2")
ALONE = replace(WISHES, rounds=20, slack_percent=300, warmup_seconds=8)


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

    def begin_alone(self) -> JobId:
        """A job with one trainer, placed on a parameter server."""
        training = replace(self.training, wishes=ALONE, trainers=1)
        job_id = e.outcome(ordering.train(self.owner, training), e.OrderAccepted).job_id
        wait_until(lambda: self.board.frame_route(job_id) is not None)
        return job_id

    def reports(self, job_id: JobId) -> Reports:
        order = self.owner.document("orders", job_id)
        assert order is not None
        return Reports(self.owner, order, time.sleep)

    def place(self, job_id: JobId) -> tuple[str, int]:
        """Where its trainers send their frames."""
        route = self.board.frame_route(job_id)
        assert route is not None
        return route.host, route.port

    def checkpoint_ticks(self, job_id: JobId) -> int:
        order = self.owner.document("orders", job_id)
        assert order is not None
        return TrainingOrder.decode(order.payload).schedule.checkpoint_ticks

    def enclaves(self) -> list[int]:
        """Of the parameter servers."""
        victims = [replace(VICTIMS["paramserver enclave"], service=name) for name in SERVERS]
        return [pid for victim in victims for pid in victim.find(self.stack.status())]

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


def attempt(report: JobReport) -> int:
    """Which launch of the parameter server wrote it."""
    return 1 + (report.sequence >> SEQUENCE_BITS)


def test_of_two_jobs_on_two_servers_one_loses_its_enclave_and_few_ticks(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.scheduling.CHECKPOINT_SECONDS", 1)
    jobs = [scene.begin_alone(), scene.begin_alone()]
    assert len({scene.place(job_id) for job_id in jobs}) == 2, "each is on a server of its own"
    reports = [scene.reports(job_id) for job_id in jobs]
    told: list[list[JobReport]] = [[], []]

    def read_until(enough: Callable[[list[JobReport]], bool], how_many: Callable[[list[bool]], bool]) -> None:
        def look() -> bool:
            for one, so_far in zip(reports, told, strict=True):
                so_far.extend(event.report for event in one.read())
            return how_many([enough(one) for one in told])

        wait_until(look)

    read_until(lambda one: any(report.round >= 5 for report in one), all)
    os.kill(scene.enclaves()[0], signal.SIGKILL)
    read_until(lambda one: any(attempt(report) == 2 for report in one), any)
    hit, spared = sorted(told, key=lambda one: -attempt(one[-1]))
    before = [report for report in hit if attempt(report) == 1]
    after = next(report for report in hit if attempt(report) == 2)
    lost = 2 * scene.checkpoint_ticks(jobs[0])  # and those of one that was under way
    kept = [report.round for report in before if report.tick <= before[-1].tick - lost]
    assert after.tick > before[-1].tick - lost > 0
    assert after.round >= kept[-1] > 0
    assert {attempt(report) for report in spared} == {1}
    read_until(lambda one: one[-1].round > before[-1].round, all)
    assert {attempt(report) for report in spared} == {1}
    for job_id in jobs:
        list(ordering.cancel(scene.owner, job_id))
