"""One process dies at a drawn moment of a job, and what lived below it (side: owner).

Moments are drawn from a seed, so a round can be repeated: with the same victims, moments and load.
"""

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.kill_victims import KEEPERS, VICTIMS, ProcessGroup, Victim
from deploy.embedded.processes import start_times
from deploy.embedded.stack import EmbeddedStack

LAUNCH_SECONDS: Final = 3.0
"""From an order to its job's first tick, on a machine that does nothing else: moments are drawn over this time too."""

SLOT_SHARE: Final = 0.7
"""Moments of a slot's processes are drawn over this part of the schedule, counted from when the process is there."""

ORPHAN_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 0.05


@dataclass(frozen=True)
class Planned:
    """A victim and its moment: seconds after the order was accepted, or for a slot's process, after it was there."""

    victim: Victim
    moment_seconds: float


@dataclass(frozen=True)
class Kill:
    """What came of a plan. `after_seconds`: when it died, after the order was accepted; None: it was never there."""

    victim: str
    moment_seconds: float
    after_seconds: float | None
    processes: int

    def __str__(self) -> str:
        """In a few words."""
        return f"{self.victim} " + ("never" if self.after_seconds is None else f"at {self.after_seconds:.2f} s")


def draw(names: Sequence[str], schedule_seconds: float, seed: str) -> list[Planned]:
    """A moment for each victim, anywhere in the job's life."""
    chance, plan = random.Random(seed), []
    for victim in ((VICTIMS | KEEPERS)[name] for name in names):
        life = SLOT_SHARE * schedule_seconds if victim.per_job else LAUNCH_SECONDS + schedule_seconds
        plan.append(Planned(victim, chance.uniform(0.0, life)))
    return plan


class Strike:
    """One planned kill, on a thread of its own."""

    def __init__(self, stack: EmbeddedStack, planned: Planned) -> None:
        self._stack, self._planned = stack, planned
        self._over = threading.Event()
        self._group: ProcessGroup | None = None
        self._begun = self._struck = 0.0
        self._thread = threading.Thread(target=self._run, name=f"strike-{planned.victim.name}", daemon=True)

    def start(self) -> None:
        """The order was accepted now."""
        self._begun = time.monotonic()
        self._thread.start()

    def finish(self) -> None:
        """The job has ended: what lives as long as the stack dies now at the latest."""
        self._over.set()
        self._thread.join()

    @property
    def result(self) -> Kill:
        """What came of it."""
        at = None if self._group is None else self._struck - self._begun
        members = 0 if self._group is None else len(self._group.started)
        return Kill(self._planned.victim.name, self._planned.moment_seconds, at, members)

    def problems(self) -> list[str]:
        """What outlived it, or that it never died."""
        if self._group is None:
            return [f"{self._planned.victim.name} was never there"]
        deadline = time.monotonic() + ORPHAN_SECONDS
        while left := self._group.left():
            if time.monotonic() > deadline:
                return [f"{self._planned.victim.name} left {line}" for line in left]
            time.sleep(LOOK_SECONDS)
        return []

    def _run(self) -> None:
        if self._planned.victim.per_job:
            self._await_one()
        self._over.wait(self._planned.moment_seconds)
        while (pid := self._await_one()) is not None:
            group = ProcessGroup.of(pid)
            if group.kill():
                self._group, self._struck = group, time.monotonic()
                return

    def _await_one(self) -> int | None:
        """One that lives, the oldest, as numbers begin anew; None when the job ended and there is none."""
        while not (found := start_times(self._planned.victim.find(self._stack.status()))):
            if self._over.wait(LOOK_SECONDS) and not self._planned.victim.find(self._stack.status()):
                return None
        return min(found, key=lambda pid: found[pid])
