"""Promise: with a frozen, set-back or leaping clock at the parameter server no frame is aggregated and no model is
sealed without an answer of the key broker to a fresh nonce.

The host owns the clock. It also keeps answers back, or repeats an earlier one, because the job was cancelled.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from common.exchange.schedule import rounds_per_answer
from common.messages.broker_exchange import BrokerRequest
from common.messages.jobs import AwaitEnd, ListMembers
from common.messages.training_door import JobEnded
from tests.fakes.training_world import TrainingWorld
from tests.unit.services.paramserver.test_running import await_rounds, quick, rounds_done

WATCHED_SECONDS = 0.6
"""Forty ticks: at an honest host ten rounds or so close in it."""


class HostClock:
    """Monotonic seconds, as the host likes them."""

    def __init__(self) -> None:
        self._offset, self._frozen_at = 0.0, None  # type: float, float | None

    def __call__(self) -> float:
        return time.monotonic() + self._offset if self._frozen_at is None else self._frozen_at

    def freeze(self) -> None:
        self._frozen_at = self()

    def move(self, seconds: float) -> None:
        """From now on it goes again, so much later or earlier than where it stood."""
        self._offset, self._frozen_at = self() + seconds - time.monotonic(), None


class RepeatingWorld(TrainingWorld):
    """A host that answers questions for the members, and for the job's end, with what the broker said once."""

    repeating, repeated, heard = False, 0, b""

    def ask(self, raw: bytes) -> bytes:
        if not isinstance(BrokerRequest.decode(raw).body, ListMembers | AwaitEnd):
            return super().ask(raw)
        answer = b"" if self.repeating else super().ask(raw)
        if self.repeating:  # from now on, or since the broker was asked whether the job has ended
            self.repeated += 1
            return self.heard
        self.heard = answer
        return answer


class Scene:
    """A job that learns, cancelled behind the back of its parameter server."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("services.paramserver.ending.PERSIST_PAUSE_SECONDS", 0.05)
        self.clock, self.world = HostClock(), RepeatingWorld(directory, quick(rounds=2000))
        for slot in range(2):
            self.world.start_trainer(slot)
        self.server = self.world.start_server(self.clock)
        self.ending: Future[JobEnded] = self.world.in_background(self.server)
        await_rounds(self.server, 2)

    def closed_rounds(self) -> int:
        """How many rounds close while the host's clock does what it does; frames go on to come."""
        before, frames = rounds_done(self.server), len(self.world.frames)
        time.sleep(WATCHED_SECONDS)
        assert len(self.world.frames) > frames, "trainers go on"
        return rounds_done(self.server) - before

    def is_not_sealed(self) -> bool:
        return not self.ending.done() and self.world.store.committed == []

    def ends_cancelled(self) -> None:
        """As soon as it hears the broker, whatever the clock says."""
        ended = self.ending.result(30)
        assert (ended.outcome, ended.manifest) == ("cancelled", None)
        assert self.world.store.committed == []
        assert self.world.completed is None
        for thread in self.world.threads.values():
            thread.join(30)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


MOVES: dict[str, Callable[[HostClock], None]] = {
    "frozen": HostClock.freeze,
    "set back": lambda clock: clock.move(-4 * WATCHED_SECONDS),
}


@pytest.mark.parametrize("move", MOVES)
def test_a_clock_that_does_not_go_on_aggregates_nothing(scene: Scene, move: str) -> None:
    MOVES[move](scene.clock)
    assert scene.closed_rounds() <= 1  # one whose deltas were being added
    assert scene.closed_rounds() == 0
    assert scene.is_not_sealed()
    scene.world.state = "cancelled"
    if move == "frozen":
        scene.clock.move(0.0)
    scene.ends_cancelled()


def test_a_clock_that_stutters_gains_no_round_without_a_fresh_answer(scene: Scene) -> None:
    """Frozen and set back by turns, while each new question gets an earlier answer: it answers another nonce."""
    scene.world.repeating, scene.world.state = True, "cancelled"
    first, least = rounds_done(scene.server), rounds_per_answer(scene.world.schedule)
    for _ in range(6):
        scene.clock.freeze()
        time.sleep(0.05)
        scene.clock.move(-0.03)
        time.sleep(0.25)
    assert scene.world.repeated > 0
    assert rounds_done(scene.server) - first <= least + 1
    assert scene.closed_rounds() == 0
    assert scene.is_not_sealed()
    scene.world.repeating = False
    scene.ends_cancelled()


@pytest.mark.parametrize("repeating", [False, True], ids=["kept back", "repeated"])
def test_a_clock_that_leaps_to_the_end_seals_no_model(scene: Scene, *, repeating: bool) -> None:
    scene.world.repeating, scene.world.holding, scene.world.state = repeating, not repeating, "cancelled"
    schedule = scene.world.schedule
    scene.clock.move(schedule.total_ticks * schedule.tick_seconds)
    time.sleep(2 * WATCHED_SECONDS)
    assert scene.world.store.committed == []
    if repeating:  # an answer to another nonce is a forgery, and ends the job
        ended = scene.ending.result(30)
        assert (ended.code, ended.manifest) == ("authenticity.broker_reply", None)
    else:
        assert scene.is_not_sealed()
        scene.world.holding = False
        scene.ends_cancelled()
    assert scene.world.store.committed == []


def test_an_honest_clock_and_broker_let_rounds_close(scene: Scene) -> None:
    """Else the others would show nothing."""
    assert scene.closed_rounds() >= 3
    scene.world.state = "cancelled"
    scene.ends_cancelled()
