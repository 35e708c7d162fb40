"""A slot on a machine that can't confine provider code: refused by name, before anything of a party is touched."""

from pathlib import Path

import pytest

from common.messages.training_door import StartTrainer
from common.sandbox import bubblewrap
from common.sandbox.probe import require_confinement
from services.trainer_enclave.running import TrainerRun
from tests.fakes.in_memory_job import make_schedule
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
