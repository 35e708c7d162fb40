"""Promise: when a job's last words leave does not tell what took long inside (docs/traffic.md)."""

import threading
import time
from pathlib import Path

import pytest

from common.exchange import clock
from services.paramserver import ending
from services.paramserver.model_sealing import agreed_graph
from tests.fakes.in_memory_job import LeastSquares, make_schedule
from tests.fakes.training_world import TrainingWorld

SLOW_SECONDS = 0.1
EARLY_SECONDS = 0.005
"""What is released comes a little after a multiple, never before; a busy machine makes it later."""


class SlowToEnd(LeastSquares):
    """A sandbox that is still alive at the end of the job."""

    def close(self) -> None:
        time.sleep(SLOW_SECONDS)
        super().close()


class TimedWorld(TrainingWorld):
    """Knows when the model came and when trainers were through, in seconds after the last frame."""

    def play(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
        times: dict[str, float] = {}
        store = self.store.handle

        def handle(name: str, body: bytes) -> bytes:
            if name == "object.write":
                times.setdefault("model", time.monotonic())
            return store(name, body)

        monkeypatch.setattr(self.store, "handle", handle)
        assert self.run().outcome == "finished"
        return times


@pytest.mark.parametrize("slow", [False, True])
def test_the_model_leaves_at_a_multiple_however_long_its_graph_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    schedule = make_schedule(tick_milliseconds=15, rounds=1, warmup_ticks=10, reads_per_tick=2)
    ends: list[float] = []

    def checked(*arguments: object) -> bytes | None:
        time.sleep(SLOW_SECONDS if slow else 0.0)
        return agreed_graph(*arguments)  # type: ignore[arg-type]

    class Watched(clock.Release):
        def __call__(self) -> None:
            ends.append(self.since)
            super().__call__()

    monkeypatch.setattr(ending, "agreed_graph", checked)
    monkeypatch.setattr("services.paramserver.running.Release", Watched)
    world = TimedWorld(tmp_path, schedule, trainers=1, now=time.monotonic)
    times = world.play(monkeypatch)
    assert len(ends) == 2, "once before the last question, once before the model"
    passed = times["model"] - ends[0]
    assert passed >= 2 * clock.RELEASE_SECONDS - EARLY_SECONDS
    assert passed % clock.RELEASE_SECONDS < clock.RELEASE_SECONDS - EARLY_SECONDS


@pytest.mark.parametrize("sandbox", [LeastSquares, SlowToEnd, lambda: LeastSquares(fails_in=0)])
def test_a_trainers_last_word_leaves_at_a_multiple_however_its_sandbox_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: type[LeastSquares]
) -> None:
    seen: list[tuple[float, float]] = []

    class Watched(clock.Release):
        def __call__(self) -> None:
            own = threading.current_thread() in world.threads.values()  # and no world's of an earlier test
            assert not own or world.sandboxes[0].closed, "all that takes its time comes before"
            super().__call__()
            if own:
                seen.append((self.since, self.now()))

    monkeypatch.setattr("services.trainer_enclave.running.Release", Watched)
    schedule = make_schedule(tick_milliseconds=15, rounds=1, warmup_ticks=10, reads_per_tick=2)
    world = TimedWorld(tmp_path, schedule, trainers=1, now=time.monotonic)
    world.sandboxes[0] = sandbox()
    world.play(monkeypatch)
    ((since, at),) = seen
    assert at - since >= clock.RELEASE_SECONDS - EARLY_SECONDS
