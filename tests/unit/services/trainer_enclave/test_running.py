"""A slot on a machine that can't confine provider code, and one whose lease ends while provider code is at work."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import ConfinementError
from common.messages.training_door import StartTrainer
from common.sandbox import bubblewrap
from common.sandbox.gpu import Gpu
from common.sandbox.probe import require_confinement
from common.sandbox.protocol import RoundOutcome
from services.trainer_enclave import running
from services.trainer_enclave.provider_work import SandboxStart, Starts
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


def test_a_machine_without_the_gpu_that_is_ordered_is_refused_before_the_broker_is_asked(tmp_path: Path) -> None:
    """A processor never takes its place."""
    world = TrainingWorld(tmp_path, make_schedule(), trainers=1, device="cuda")
    start = StartTrainer(job_id=world.job_id, slot=0, order=world.order)

    def none() -> Gpu:
        raise ConfinementError("confinement.gpu")

    run = TrainerRun(WorldDoor(world), world, start, confine=lambda: None, gpu=none)
    assert run.run() == "confinement.gpu"
    assert (world._log_size, world.frames) == (0, [])


@pytest.mark.parametrize(("capability", "word"), [((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp32")])
def test_a_job_on_gpus_starts_sandboxes_with_one_and_trains_in_what_it_can(
    tmp_path: Path, capability: tuple[int, int], word: str
) -> None:
    schedule = make_schedule(rounds=2, tick_milliseconds=25)
    world = TrainingWorld(tmp_path, schedule, trainers=1, device="cuda")
    started = list[str]()

    def sandbox(name: str) -> SandboxStart:
        return lambda *_: started.append(name) or LeastSquares()  # type: ignore[func-returns-value]

    start = StartTrainer(job_id=world.job_id, slot=0, order=world.order)
    door = world.trainer_doors[0] = WorldDoor(world, 0)
    starts = replace(world.starts(0), sandbox=sandbox("cpu"), gpu_sandbox=sandbox("cuda"))
    run = world.running[0] = TrainerRun(
        door, world, start, confine=lambda: None, starts=starts, gpu=lambda: Gpu(capability, "one"),
        end_process=lambda: None,
    )  # fmt: skip
    slot = threading.Thread(target=run.run, daemon=True)
    slot.start()
    assert world.start_server().run().outcome == "finished"
    slot.join(30)
    assert started == ["cuda"]
    assert world.read_reports()[-1].toolchain == word


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
