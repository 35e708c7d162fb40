"""A worker's slots: claimed for a task, kept under renewed leases, given back when what holds them ends (side: host).

One thread says every HEARTBEAT_SECONDS that the worker lives, renews leases every RENEW_SECONDS, and looks at what the
slots' holders do. A holder that ended by itself has done its work or crashed. One whose lease was lost is stopped at
once, because another worker may have the slot. One whose job is over hears so from the broker as well and ends by
itself within GRACE_SECONDS, so that what the host sees of the end does not depend on who was faster; later it is
stopped. The database may be away for a while: it is asked again.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from prometheus_client.metrics_core import Metric

from common.errors import CloisterError, Refusal
from common.event_log import log_event
from common.untrusted.metrics import SLOT_ENDS, gauge
from common.untrusted.slot_board import HEARTBEAT_SECONDS, RENEW_SECONDS, Lease, Slot, SlotBoard

_log = logging.getLogger("slots")

LOOK_SECONDS: Final = 0.5

GRACE_SECONDS: Final = 15.0
"""An enclave lists the members once a tick or more often; on a busy machine its sandbox is gone seconds later."""


class Holder(Protocol):
    """What works for one slot: a relay process, or a job in an enclave."""

    def ended(self) -> bool:
        """Whether it is through, one way or the other."""
        ...

    def crashed(self) -> bool:
        """Once ended: whether somebody must take the slot again."""
        ...

    def code(self) -> str | None:
        """Once ended: the public code of what ended it, if it is known."""
        ...

    def stop(self) -> None:
        """End it now, and wait until it is gone. Idempotent."""
        ...


class SlotKeeper:
    """All slots of one worker. `take` may be called from any thread; what it starts is started on that thread."""

    def __init__(
        self, board: SlotBoard, worker: str, role: str, capacity: int, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._board, self._worker, self._role, self._capacity, self._now = board, worker, role, capacity, now
        self._held: dict[Slot, Holder] = {}
        self._over_since: dict[Slot, float] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slot-keeper", daemon=True)
        self.alive = False

    def start(self) -> None:
        """Begin under this worker's name: what a predecessor of this name held waits again."""
        with contextlib.suppress(Refusal):
            self._board.retire(self._worker, self._role)
        self._thread.start()

    def stop(self) -> None:
        """End all holders, at the same time, and give their slots back: they wait for nobody's lease to lapse."""
        self._stopped.set()
        self._thread.join()
        with self._lock:
            held = list(self._held.values())
        enders = [threading.Thread(target=holder.stop, name="slot-end") for holder in held]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()
        with contextlib.suppress(Refusal):
            self._board.retire(self._worker, self._role)

    def take(self, slot: Slot, start: Callable[[], Holder]) -> bool:
        """Claim the slot and start its holder; False when it is not to be had. Raises what `start` raises."""
        if self._stopped.is_set() or not self._board.claim(slot, self._worker):
            return False
        try:
            holder = start()
        except (CloisterError, OSError, TimeoutError) as error:
            code = error.code if isinstance(error, Refusal) else None
            self._board.release(slot, self._worker, crashed=True, code=code)
            raise
        with self._lock:
            self._held[slot] = holder
        log_event(_log, "slot_claimed", job_id=slot.job_id, role=slot.role, slot=slot.slot)
        return True

    @property
    def count(self) -> int:
        """Slots held now."""
        return len(self._held)

    def metrics(self) -> Iterator[Metric]:
        """The same, beside what there is room for."""
        numbers = {"held": float(self.count), "free": float(max(0, self._capacity - self.count))}
        yield gauge("cloister_worker_slots", "Slots of this worker, by state (held, free).", "state", numbers)

    def _run(self) -> None:
        beat_at = renew_at = 0.0
        while not self._stopped.wait(LOOK_SECONDS):
            now = self._now()
            try:
                if now >= beat_at:
                    self._board.heartbeat(self._worker, self._role, self._capacity)
                    beat_at = now + HEARTBEAT_SECONDS
                self._collect()
                if now >= renew_at:
                    self._renew()
                    renew_at = now + RENEW_SECONDS
                self.alive = True
            except Refusal as refusal:
                self.alive = False
                log_event(_log, "board_unavailable", logging.WARNING, code=refusal.code)
            except Exception as error:  # a holder that does not stop, for one: leases of the others must go on
                self.alive = False
                log_event(_log, "keeper_failed", logging.ERROR, reason=type(error).__name__)

    def _snapshot(self) -> list[tuple[Slot, Holder]]:
        with self._lock:
            return list(self._held.items())

    def _collect(self) -> None:
        """Give back the slots of holders that ended."""
        for slot, holder in self._snapshot():
            if holder.ended():
                crashed, code = holder.crashed(), holder.code()
                self._board.release(slot, self._worker, crashed=crashed, code=code)
                self._forget(slot, "crashed" if crashed else "done")
                log_event(_log, "slot_released", job_id=slot.job_id, role=slot.role, slot=slot.slot, code=code,
                          state="crashed" if crashed else "done")  # fmt: skip

    def _renew(self) -> None:
        """Renew every lease; stop a holder whose lease is lost, or who has had its time to end."""
        for slot, holder in self._snapshot():
            lease = self._board.renew(slot, self._worker)
            if lease is Lease.LOST or (lease is Lease.OVER and self._had_its_time(slot)):
                holder.stop()
                self._forget(slot, "withdrawn")
                log_event(_log, "slot_withdrawn", job_id=slot.job_id, role=slot.role, slot=slot.slot)

    def _had_its_time(self, slot: Slot) -> bool:
        now = self._now()
        return now - self._over_since.setdefault(slot, now) >= GRACE_SECONDS

    def _forget(self, slot: Slot, end: str) -> None:
        SLOT_ENDS.labels(slot.role, end).inc()
        with self._lock:
            self._held.pop(slot, None)
            self._over_since.pop(slot, None)
