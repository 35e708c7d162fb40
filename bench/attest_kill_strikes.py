"""The key broker's processes die by SIGKILL at drawn moments, one after the other (side: owner).

Most wait until keys are released again; every fourth or so does not, and dies while it starts. The supervisor gives a
service up that ends eight times without having been ready for 30 s: what it starts itself dies less often than that.
"""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from bench.kill_strike import LOOK_SECONDS, ORPHAN_SECONDS
from bench.kill_victims import VICTIMS, ProcessGroup
from deploy.embedded.probes import http_ready
from deploy.embedded.stack import EmbeddedStack

RESTARTED_INSIDE: Final = ("broker enclave", "broker launcher")
"""Started again by the attestation service's host process, as often as it takes."""

RESTARTED_BY_SUPERVISOR: Final = ("attestation host", "witness")
MOST_OF_A_SERVICE: Final = 5
LONGEST_PAUSE_SECONDS: Final = 2.0
_WHEN_READY: Final = 0.75
APPEARS_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Planned:
    """What dies, so many seconds after the one before did, or after everything was ready again."""

    victim: str
    pause_seconds: float
    when_ready: bool


def draw(kills: int, seed: int) -> Iterator[Planned]:
    """So many, the same ones for the same seed: each kind once, then any."""
    chance, died = random.Random(f"{seed}: attest"), dict.fromkeys(RESTARTED_BY_SUPERVISOR, 0)
    each = chance.sample((*RESTARTED_INSIDE, *RESTARTED_BY_SUPERVISOR), 4)
    for _ in range(kills):
        kinds = [*RESTARTED_INSIDE, *(name for name, count in died.items() if count < MOST_OF_A_SERVICE)]
        victim = each.pop() if each else chance.choice(kinds)
        if victim in died:
            died[victim] += 1
        yield Planned(victim, chance.uniform(0.0, LONGEST_PAUSE_SECONDS), chance.random() < _WHEN_READY)


def strike(stack: EmbeddedStack, plan: Iterator[Planned], say: Callable[[str], None]) -> list[str]:
    """Kill as planned; what outlived its head although it should have died with it, or was never there."""
    begun, groups, problems = time.monotonic(), list[tuple[str, ProcessGroup]](), list[str]()
    for planned in plan:
        if planned.when_ready and not await_ready(stack):
            problems.append(f"not ready within {APPEARS_SECONDS:.0f} s")
        time.sleep(planned.pause_seconds)
        group = _kill(stack, planned.victim)
        if group is None:
            problems.append(f"{planned.victim} was never there")
        else:
            groups.append((planned.victim, group))
            say(f"{planned.victim} at {time.monotonic() - begun:.2f} s")
    deadline = time.monotonic() + ORPHAN_SECONDS
    while left := [f"{name} left {line}" for name, group in groups for line in group.left()]:
        if time.monotonic() > deadline:
            return problems + left
        time.sleep(LOOK_SECONDS)
    return problems


def await_ready(stack: EmbeddedStack) -> bool:
    """Whether service and witness say in time that they wait for nothing: then keys are released."""
    give_up = time.monotonic() + APPEARS_SECONDS
    ports, services = stack.state.ports(), stack.status().services
    probes = [http_ready(ports[one.name]) for one in services]
    while any(probe() for probe in probes):
        if time.monotonic() > give_up:
            return False
        time.sleep(LOOK_SECONDS)
    return True


def _kill(stack: EmbeddedStack, victim: str) -> ProcessGroup | None:
    """SIGKILL to the oldest of this kind, once there is one."""
    give_up = time.monotonic() + APPEARS_SECONDS
    while time.monotonic() < give_up:
        for pid in VICTIMS[victim].find(stack.status())[:1]:
            group = ProcessGroup.of(pid)
            if group.kill():
                return group
        time.sleep(LOOK_SECONDS)
    return None
