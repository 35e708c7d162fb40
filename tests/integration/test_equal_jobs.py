"""Two jobs of one seed make one model, to the bit: real torch in real sandboxes, each job on clocks of its own."""

import time
from pathlib import Path
from typing import Final

import pytest

from common.bundle import BundleContents
from common.crypto.digests import sha256
from common.crypto.keys import SecretKey
from common.exchange.payloads import encode_state
from common.identifiers import Digest
from common.messages.order import Schedule
from services.trainer_enclave.provider_work import Starts
from tests.fakes.in_memory_job import make_schedule
from tests.fakes.training_world import FixedExport, TrainingWorld, small_bundle

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

MODEL: Final = b"""
import torch
from torch import nn
from torch.nn import functional

class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(0.1 * torch.randn(18))
        self.more = nn.Parameter(0.1 * torch.randn(2, 1))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)

    def augment(self, batch):
        return batch | {"x": batch["x"] + 0.01 * torch.randn_like(batch["x"])}

    def training_step(self, batch):
        return functional.mse_loss(self(functional.dropout(batch["x"], 0.1)), batch["y"])

    def forward(self, x):
        return x[:, :18] @ self.weight + (x[:, 18:] @ self.more).squeeze(1)
"""
ROUNDS: Final = 5
SECONDS: Final = 120.0


def patient(**changes: int) -> Schedule:
    """Two minutes; a test waits for its rounds alone."""
    return make_schedule(rounds=ROUNDS, tick_milliseconds=20, ticks_per_round=120, slack_percent=1000, **changes)


class TorchWorld(TrainingWorld):
    """Provider code runs in its sandbox. No round closes without both trainers, so none is late."""

    def starts(self, _slot: int) -> Starts:
        return Starts(export=lambda *_: FixedExport(None))


def begin(directory: Path, seed: SecretKey) -> TorchWorld:
    contents = BundleContents(manifest=small_bundle().manifest, files={"provider.toml": b"", "linear.py": MODEL})
    world = TorchWorld(directory, patient(rounds_ahead=1), bundle=contents, seed=seed, minimal_trainers=2)
    for slot in range(world.trainers):
        world.start_trainer(slot)
    world.in_background(world.start_server())
    return world


def learned(world: TorchWorld) -> Digest:
    """The model, once all rounds are done, and one that counts for nothing. In its file it stands behind a salt."""
    give_up = time.monotonic() + SECONDS
    while (job := world.servers[0]._job) is None or job.rounds.closed <= ROUNDS:
        assert time.monotonic() < give_up, world.codes
        time.sleep(0.02)
    assert job.members.delivered() == (ROUNDS, ROUNDS)
    assert job.members.codes() == ()
    assert job.state_P is not None
    return sha256(encode_state(job.state_P))


def test_jobs_of_one_seed_make_one_model(tmp_path: Path) -> None:
    """Weights, noise and dropout are drawn by the provider's code."""
    seed = SecretKey.generate()
    worlds = [begin(tmp_path / str(number), seed) for number in range(2)]
    try:
        first, again = (learned(world) for world in worlds)
    finally:
        for world in worlds:
            world.state = "cancelled"
        for thread in [thread for world in worlds for thread in world.threads.values()]:
            thread.join(30)
    assert first == again
