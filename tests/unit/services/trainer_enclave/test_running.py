"""A slot on a machine that can't confine provider code, and one whose lease ends while provider code is at work."""

import threading
from pathlib import Path

import pytest

from common.messages.training_door import StartTrainer
from common.sandbox import bubblewrap
from common.sandbox.probe import require_confinement
from common.sandbox.protocol import RoundOutcome
from services.trainer_enclave import running
from services.trainer_enclave.provider_work import Starts
from services.trainer_enclave.running import TrainerRun
from tests.fakes.in_memory_job import LeastSquares, make_schedule
from tests.fakes.training_world import TrainingWorld, WorldDoor


def test_a_machine_without_bubblewrap_is_refused_before_the_broker_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bubblewrap, "_PLACES", ("/nonexistent/bwrap",))
    require_confinement.cache_clear()
    world = TrainingWorld(tmp_path, make_schedule(), trainers=1)
    start = StartTrainer(job_id=world.job_id, slot=0, order=world.order)
    assert TrainerRun(WorldDoor(world), world, start).run() == "confinement.bubblewrap"
    assert (world._log_size, world.frames) == (0, [])  # the broker's log has an entry for each question


def test_provider_code_that_is_at_work_outlives_no_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own deadline may be hours away: the process ends."""
    monkeypatch.setattr(running, "LAST_SECONDS", 0.1)
    world = TrainingWorld(tmp_path, make_schedule(), trainers=1, lease_seconds=1, refuses_renewal="policy.revoked")
    at_work, let_go, ended = threading.Event(), threading.Event(), threading.Event()

    class Hanging(LeastSquares):
        def initial_state(self, deadline_seconds: float) -> RoundOutcome:
            at_work.set()
            let_go.wait(30)
            return super().initial_state(deadline_seconds)

    start = StartTrainer(job_id=world.job_id, slot=0, order=world.order)
    run = TrainerRun(
        WorldDoor(world), world, start,
        confine=lambda: None, starts=Starts(sandbox=lambda *_: Hanging()), end_process=ended.set,
    )  # fmt: skip
    slot = threading.Thread(target=run.run, daemon=True)
    slot.start()
    assert at_work.wait(10)
    assert ended.wait(10)
    let_go.set()
    slot.join(10)
    assert not slot.is_alive()
