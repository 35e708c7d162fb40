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
            real = self._outbox.real_frames
            sealed = super().emit(tick)
            return sealed[: max(1, self._outbox.real_frames - real)]

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
        def read_tick(self, tick: int) -> None:
            if _telling.is_set():
                time.sleep(SLOW_SECONDS)
            super().read_tick(tick)

    _replace(running, "ChunkReads", Late)


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
    `timed`: by times, which takes several pairs to see.

    `install` is None where the plant is in the provider's code (`busy_milliseconds` a batch) or in the product itself.
    """

    channel: str
    install: Callable[[], None] | None
    timed: bool = False
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
    "idle after early stop": Plant("CPU time", None, timed=True, differ=("stop",), closed=False),
    "busy or idle per batch": Plant(
        "CPU time", None, timed=True, differ=("data",), closed=False, busy_milliseconds=3.0
    ),
}
