"""Promise: no key ever encrypts two messages under one nonce, whatever dies in a job and however often.

Every AES-GCM key and nonce that anything in this process encrypts with is recorded, while parameter server and trainers
of one job are killed fifty times at random moments and launched again.
"""

import contextlib
import secrets
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common.crypto import aead
from common.crypto.digests import sha256_raw
from common.crypto.keys import SecretKey
from common.errors import PeerClosedError
from services.paramserver.running import JobRun
from tests.fakes.in_memory_job import LeastSquares, make_schedule
from tests.fakes.training_world import TrainingWorld
from tests.fakes.unhurried_time import UNHURRIED

KILLS = 50
SECONDS_BETWEEN = (0.05, 0.4)


class Recorder:
    """Which nonces each key has encrypted under."""

    def __init__(self) -> None:
        self.pairs: Counter[tuple[bytes, bytes]] = Counter()
        self._lock = threading.Lock()

    def note(self, key: bytes, nonce: bytes) -> None:
        with self._lock:
            self.pairs[key, nonce] += 1

    @property
    def repeated(self) -> int:
        return sum(count > 1 for count in self.pairs.values())


class RecordingCipher:
    """`AESGCM` that tells what it encrypts under."""

    def __init__(self, recorder: Recorder, key: bytes) -> None:
        self._recorder, self._name, self._cipher = recorder, sha256_raw(key), AESGCM(key)

    def encrypt(self, nonce: bytes, data: Any, associated_data: Any) -> bytes:
        self._recorder.note(self._name, bytes(nonce))
        return self._cipher.encrypt(nonce, data, associated_data)

    def decrypt(self, nonce: bytes, data: Any, associated_data: Any) -> bytes:
        return self._cipher.decrypt(nonce, data, associated_data)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(aead, "AESGCM", lambda key: RecordingCipher(made, key))
    return made


class Massacre:
    """A job whose members die; `kills` counts by role."""

    def __init__(self, directory: Path, seed: int) -> None:
        schedule = make_schedule(
            tick_milliseconds=15, rounds=4000, warmup_ticks=30, reads_per_tick=2, checkpoint_ticks=9
        )
        self.world = TrainingWorld(directory, schedule)
        self.chance, self.kills = np.random.default_rng(seed), Counter[str]()
        for slot in range(self.world.trainers):
            self.world.start_trainer(slot)
        self._serve()

    def _serve(self) -> None:
        run = self.world.start_server()
        threading.Thread(target=self._run, args=(run,), daemon=True).start()

    def _run(self, run: JobRun) -> None:
        with contextlib.suppress(PeerClosedError):  # killed
            run.run()

    def strike(self) -> None:
        """Kill somebody, who is launched again."""
        UNHURRIED.sleep(self.chance.uniform(*SECONDS_BETWEEN))
        slot = int(self.chance.integers(-1, self.world.trainers))
        if slot < 0:
            assert self.world.server_door is not None
            self.world.server_door.killed = True
            self.world.servers[-1].close()
            self._serve()
        else:
            self.world.trainer_doors[slot].killed = True
            self.world.sandboxes[slot] = LeastSquares()
            self.world.start_trainer(slot)
        self.kills["paramserver" if slot < 0 else "trainer"] += 1

    def stop(self) -> None:
        self.world.state = "cancelled"


def test_no_nonce_repeats_over_fifty_kills(tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.paramserver.running.LATER_LAUNCH_POLLS", 0.2)
    seed = secrets.randbits(32)
    massacre = Massacre(tmp_path, seed)
    try:
        for _ in range(KILLS):
            massacre.strike()
        rounds = [report.round for report in massacre.world.read_reports()]
    finally:
        massacre.stop()
    assert recorder.repeated == 0, f"seed {seed}"
    assert min(massacre.kills.values()) >= 5, massacre.kills
    assert len({key for key, _ in list(recorder.pairs)}) > KILLS, "every launch has keys of its own"
    assert len(recorder.pairs) > 1000
    assert max(rounds) > 1, "they trained meanwhile"
    assert massacre.world.kept, "and kept checkpoints"


def test_the_recorder_sees_a_repeated_nonce(recorder: Recorder) -> None:
    cipher = aead._aesgcm(SecretKey(bytes(32)))
    for _ in range(2):
        cipher.encrypt(bytes(12), b"text", None)
    assert recorder.repeated == 1
