"""Builds that leak on purpose, so that a leak meter shows what it would have seen (side: owner).

Each plant changes one thing in the process of an enclave before the enclave begins; no file of the product knows it.
A plant on a closed channel must be caught. Those on the open ones (CPU time) show how large such a channel is.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from bench.leak_secrets import SECRETS, Secret
from common.errors import UnavailableError
from common.exchange import frames
from common.exchange.frames import FRAME_HEADER_BYTES, FrameKind
from services.paramserver import checkpointing
from services.paramserver import running as server_running
from services.paramserver.checkpoint import JobProgress
from services.trainer_enclave import exchange, job, reading, running, training

LARGE_LOSS: Final = 6.0
"""Quiet losses begin at log(10) = 2.3."""

SLOW_SECONDS: Final = 0.004
"""Less than half of the shortest tick."""

_telling = threading.Event()
"""In an enclave with a plant: what is to be told is the case."""


def skip_dummies() -> None:
    """Nothing leaves in place of a dummy."""

    class Skipping(exchange.TrainerExchange):
        def emit(self, tick: int) -> list[bytes]:
            real = sum(body.kind is not FrameKind.DUMMY for body in self._next_frames.waiting)
            return super().emit(tick)[: max(1, real)]

    _replace(running, "TrainerExchange", Skipping)


def shorten_frames() -> None:
    """A dummy is sealed without its padding."""
    seal = frames.FrameSealer.seal

    def shorter(self: frames.FrameSealer, tick: int, index: int, body: frames.FrameBody) -> bytes:
        frame = seal(self, tick, index, body)
        return frame[: FRAME_HEADER_BYTES + 64] if body.kind is FrameKind.DUMMY else frame

    _replace(frames.FrameSealer, "seal", shorter)


def end_early() -> None:
    """A trainer whose provider's code has failed ends its clock."""

    class Ending(job.TrainerJob):
        def emit(self, tick: int) -> list[bytes]:
            if self._failed is not None:
                raise UnavailableError("unavailable.enclave")
            return super().emit(tick)

    _replace(running, "TrainerJob", Ending)


def tick_slowly() -> None:
    """After a round of large loss a tick's frames come late."""
    _watch_losses()

    class Slow(exchange.TrainerExchange):
        def emit(self, tick: int) -> list[bytes]:
            if _telling.is_set():
                time.sleep(SLOW_SECONDS)
            return super().emit(tick)

    _replace(running, "TrainerExchange", Slow)


def read_late() -> None:
    """After a round of large loss chunks are asked for late."""
    _watch_losses()

    class Late(reading.ChunkReads):
        def ask(self, tick: int) -> list[reading.Asked]:
            if _telling.is_set():
                time.sleep(SLOW_SECONDS)
            return super().ask(tick)

    _replace(running, "ChunkReads", Late)


def spare_checkpoints() -> None:
    """No checkpoint is made of what has not changed."""

    class Sparing(checkpointing.Checkpointing):
        kept: bytes | None = b""

        def begin(self, progress: JobProgress) -> None:
            state = None if progress.state_P is None else progress.state_P.tobytes()
            if state != self.kept:
                self.kept = state
                super().begin(progress)

    _replace(server_running, "Checkpointing", Sparing)


def _watch_losses() -> None:
    told = training.LocalTraining._delta  # noqa: SLF001 - a plant is where it should not be

    def watched(self: training.LocalTraining, number: int, *rest: Any, stopped: bool) -> exchange.Saying:
        if rest[2].loss_mean > LARGE_LOSS:
            _telling.set()
        return told(self, number, *rest, stopped=stopped)

    _replace(training.LocalTraining, "_delta", watched)


def _replace(owner: object, name: str, by: object) -> None:
    setattr(owner, name, by)


@dataclass(frozen=True)
class Plant:
    """`role`: whose build it is. `differ`: the secrets that its pairs differ in. `channel`: what it should show in;
    `timed`: by times, which takes several pairs to see; `long`: and jobs of a whole run, not of a quick one.

    `install` is None where the plant is in the provider's code (`busy_milliseconds` a batch) or in the product itself.
    """

    channel: str
    install: Callable[[], None] | None
    timed: bool = False
    long: bool = False
    differ: tuple[Secret, ...] = SECRETS
    closed: bool = True
    role: str = "trainer"
    busy_milliseconds: float = 0.0


PLANTS: Final = {
    "skipped dummy": Plant("frames of a tick", skip_dummies),
    "shorter frame": Plant("frame sizes", shorten_frames),
    "early end": Plant("ticks and the end", end_early),
    "slow tick on large loss": Plant("gaps", tick_slowly, timed=True),
    "late chunk read": Plant("times of chunk requests", read_late, timed=True),
    "spared checkpoint": Plant("checkpoints", spare_checkpoints, timed=True, long=True, role="paramserver"),
    "idle after early stop": Plant("CPU time", None, timed=True, differ=("stop",), closed=False),
    "busy or idle per batch": Plant(
        "CPU time", None, timed=True, differ=("data",), closed=False, busy_milliseconds=3.0
    ),
}
