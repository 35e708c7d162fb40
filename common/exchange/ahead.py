"""The frames of a tick, sealed before it: a member's only work at the tick itself is to send them (side: enclave).

How long it takes to choose what is said, and to seal it, shows in no frame's time then. What is chosen does not change:
it is decided when the tick before has been worked off, and nothing happens between.
"""

from common.exchange.frames import FrameBody, FrameSealer
from common.exchange.parts import Outbox
from common.exchange.toolchain import Toolchain
from common.messages.order import Schedule


class FramesAhead:
    """One direction's frames of one launch; `waiting` is what the prepared ones say. One thread's, as the outbox is."""

    def __init__(self, schedule: Schedule, sealer: FrameSealer, outbox: Outbox) -> None:
        self._schedule, self._sealer, self._outbox = schedule, sealer, outbox
        self._tick = -1
        self.waiting: list[FrameBody] = []
        self._sealed: list[bytes] = []

    def prepare(self, tick: int, held: int, toolchain: Toolchain) -> None:
        """Seal the frames of `tick`, if the schedule has it; what was prepared and not taken stays."""
        if not self.waiting and tick < self._schedule.total_ticks:
            self._seal(tick, [self._outbox.take(held, toolchain) for _ in range(self._schedule.frames_per_tick)])

    def take(self, tick: int, held: int, toolchain: Toolchain) -> list[bytes]:
        """The frames of `tick`. Those of the first are sealed now; so are, anew and in the place of this tick, those
        that were prepared for one that was left out.
        """
        self.prepare(tick, held, toolchain)
        if self._tick != tick:
            self._seal(tick, self.waiting)
        sealed, self.waiting, self._sealed = self._sealed, [], []
        return sealed

    def _seal(self, tick: int, bodies: list[FrameBody]) -> None:
        self._tick, self.waiting = tick, bodies
        self._sealed = [self._sealer.seal(tick, index, body) for index, body in enumerate(bodies)]
