"""Who keeps the stack dies while an order is on its way: the supervisor, and then the guardian.

With either of them everything ends, and the next start carries the order out. The services have other ports then, which
nobody else knows: this file is the last of its folder.
"""

import os
import signal
import time

import pytest

from bench.kill_driver import KillDriver
from bench.kill_scene import Scene
from bench.kill_strike import draw
from bench.kill_victims import KEEPERS, ProcessGroup
from client.context import Party
from client.stack_access import endpoints_of
from deploy.embedded.stack import STOP_SECONDS, EmbeddedStack
from tests.conftest import Say
from tests.e2e.command_process import cloister

pytestmark = pytest.mark.timeout(240)

LAUNCHING_SECONDS = 2.0
"""Of the job's schedule: a keeper dies while it is launched, or in its first ticks."""


def test_who_keeps_the_stack_dies_and_the_next_start_carries_the_order_out(scene: Scene, seed: int, say: Say) -> None:
    scene.asker.stop()
    driver = scene.driver
    stack, accepted = EmbeddedStack(driver.stack.state.root), driver.order()
    for name in KEEPERS:
        (planned,) = draw([name], LAUNCHING_SECONDS, f"{seed}: {name}")
        time.sleep(planned.moment_seconds)
        say(f"{name} at {planned.moment_seconds:.2f} s")
        everything = _kill_keeper(stack, name)
        assert not stack.stop(), "the other one saw to it"
        assert everything.left() == []
        cloister("up", "--state", stack.state.root)
    owner = Party(driver.owner.directory, endpoints_of(stack.status()))
    played = KillDriver(stack, owner, driver.training, driver.accepted).judge(accepted.job_id, also_died=KEEPERS)
    say(str(played))
    assert not played.problems


def _kill_keeper(stack: EmbeddedStack, name: str) -> ProcessGroup:
    """SIGKILL; returns the whole stack, when it is down."""
    status = stack.status()
    (pid,), (head,) = KEEPERS[name].find(status), KEEPERS["guardian"].find(status)
    everything = ProcessGroup.of(head)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + STOP_SECONDS
    while stack.status().state != "down" and time.monotonic() < deadline:
        time.sleep(0.05)
    return everything
