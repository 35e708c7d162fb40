"""A schedule from public figures: what a step of the bundle costs, and how fast trainers are (side: owner).

    step     its published cost for the wished rows, times the slowest machine's reference step, times the trainers that
             share a core there
    tick     in lockstep so long that the ticks which a round only waits are a quarter of it: fewer ticks are charged as
             fewer bits; else as client/scheduling has it
    reads    as the share's size asks for (client/scheduling)
    warm-up  as such bundles take, times the same slowness; longer if reading takes longer
    slack    little where the step was measured, much where it is guessed

Of a bundle without a published cost a dense network of its size class is assumed, each weight used once a row. A model
that uses weights more often (convolutions, recurrence) takes a multiple of it, and the owner can't know: so it is said.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any, Final

from client import events as e
from client.context import Party
from client.scheduling import LATENCY_TICKS, READING_SHARE, WARMUP_SECONDS, ScheduleWishes, first_chunks, schedule_for
from client.services import IngestService
from common.data_shares import Share
from common.exchange.frames import FrameKind
from common.exchange.schedule import ticks_to_send
from common.messages.objects import BundlePublication, StepCost
from common.messages.service import TrainerMachine
from common.reference_step import LAYERS, ROWS, STANDARD_MICROSECONDS, WIDTH

TICKS_MILLISECONDS: Final = (50, 100, 200, 500, 1000)
"""Shorter ones are late on a machine that does anything else; longer ones would make waiting felt."""

WAITING_SHARE: Final = 1 / 3
"""Ticks of transfer and latency, in parts of a round's work."""

MEASURED_SLACK: Final = 150
"""Costs are rounded up, but other work on two shared cores (load 5) made rounds 1.7 times as long as planned."""
GUESSED_SLACK: Final = 200

OVERHEAD_MICROSECONDS: Final = 1000
UPDATE_NANOSECONDS: Final = 2.0
"""Of a step whatever its rows: the framework's calls, and an optimiser's passes over each weight."""


@dataclass(frozen=True)
class Grounds:
    """What a schedule is chosen from."""

    publication: BundlePublication
    machines: tuple[TrainerMachine, ...]
    trainers: int
    share: Share

    @property
    def cost(self) -> StepCost:
        """As published, or the stand-in's."""
        return self.publication.step_cost or stand_in(self.publication.state_class)

    @property
    def slowness(self) -> float:
        """The slowest machine's, in units of the standard one; trainers that share a core are slower by as much."""
        return max((_slowness(one, self.trainers) for one in self.machines), default=1.0)

    def step_milliseconds(self, rows: int) -> int:
        """Of a local step, rounded up."""
        return max(1, math.ceil(self.cost.milliseconds(rows) * self.slowness))


def _slowness(machine: TrainerMachine, trainers: int) -> float:
    crowding = min(machine.slots, trainers) / machine.cores
    return machine.reference_microseconds / STANDARD_MICROSECONDS * max(1.0, crowding)


def stand_in(state_class: int) -> StepCost:
    """The cost of a dense network with so many weights, as the reference step has it for its own."""
    row = 1000 * STANDARD_MICROSECONDS / (LAYERS * WIDTH * WIDTH * ROWS)
    return StepCost.of(OVERHEAD_MICROSECONDS + state_class * UPDATE_NANOSECONDS / 1000, state_class * row)


def calibrated(
    party: Party,
    share: Share,
    publication: BundlePublication,
    trainers: int,
    wishes: ScheduleWishes,
    keep: frozenset[str] = frozenset(),
) -> Generator[e.Event, None, ScheduleWishes]:
    """Wishes for these machines, each trainer on a share like this one. Yields `Calibrated`, warnings first.

    Rounds, steps, batch and what `keep` names stay.
    """
    grounds = Grounds(publication, IngestService.of(party).machines().trainers, trainers, share)
    chosen = choose(grounds, wishes, keep)
    yield from _warnings(grounds, chosen)
    schedule = schedule_for(chosen, publication, share)
    yield e.Calibrated(
        source="stand-in" if publication.step_cost is None else "publication",
        machines=len(grounds.machines),
        slowness=round(grounds.slowness, 3),
        step_milliseconds=chosen.step_milliseconds,
        tick_milliseconds=schedule.tick_milliseconds,
        ticks_per_round=schedule.ticks_per_round,
        reads_per_tick=schedule.reads_per_tick,
        warmup_seconds=schedule.warmup_ticks * schedule.tick_seconds,
        slack_percent=chosen.slack_percent,
    )
    return chosen


def choose(grounds: Grounds, wishes: ScheduleWishes, keep: frozenset[str] = frozenset()) -> ScheduleWishes:
    """The rules above. Pure."""

    def unless_kept(name: str, value: int) -> dict[str, Any]:
        return {} if name in keep else {name: value}

    wishes = replace(wishes, **unless_kept("step_milliseconds", grounds.step_milliseconds(wishes.batch)))
    if waits_in_rounds(wishes, grounds.publication):
        work, waiting = wishes.steps * wishes.step_milliseconds, waiting_ticks(wishes, grounds.publication)
        fitting = [tick for tick in TICKS_MILLISECONDS if waiting * tick <= WAITING_SHARE * work]
        wishes = replace(wishes, **unless_kept("tick_milliseconds", max(fitting, default=TICKS_MILLISECONDS[0])))
    measured = grounds.publication.step_cost is not None
    wishes = replace(wishes, **unless_kept("slack_percent", MEASURED_SLACK if measured else GUESSED_SLACK))
    usual = schedule_for(wishes, grounds.publication, grounds.share)
    warmup = usual.warmup_ticks * usual.tick_seconds
    if wishes.warmup_seconds is None:
        warmup += WARMUP_SECONDS * max(0.0, grounds.slowness - 1)
    reading = math.ceil(first_chunks(grounds.share) / usual.reads_per_tick) * usual.tick_seconds
    return replace(wishes, **unless_kept("warmup_seconds", math.ceil(max(warmup, reading / READING_SHARE))))


def waits_in_rounds(wishes: ScheduleWishes, publication: BundlePublication) -> bool:
    """Whether trainers wait while a round is exchanged: in lockstep, as designs always are."""
    return not wishes.rounds_ahead or publication.sandbox == "wasm"


def waiting_ticks(wishes: ScheduleWishes, publication: BundlePublication) -> int:
    """Ticks of a round in which nobody works: the state comes, the delta goes, clocks differ."""
    schedule = schedule_for(wishes, publication)
    kinds = (FrameKind.STATE, FrameKind.DELTA, *((FrameKind.STEERING,) if publication.sandbox == "wasm" else ()))
    return sum(ticks_to_send(kind, schedule) for kind in kinds) + LATENCY_TICKS


def _warnings(grounds: Grounds, chosen: ScheduleWishes) -> Generator[e.Event, None, None]:
    if grounds.publication.step_cost is None:
        yield e.Noted(
            warning=True,
            text="the provider has published no cost of a step: a dense network of this size is assumed, and a "
            "convolutional one takes a multiple (ask for `cloister provider publish --measure`, or give --step-ms)",
        )
    if not grounds.machines:
        yield e.Noted(warning=True, text="the operator tells no machine of its trainers: a standard one is assumed")
    schedule = schedule_for(chosen, grounds.publication)
    work = chosen.steps * chosen.step_milliseconds / 1000
    waiting = waiting_ticks(chosen, grounds.publication) * schedule.tick_seconds
    if waiting > work and waits_in_rounds(chosen, grounds.publication):
        yield e.Noted(
            warning=True,
            text=f"a round works {work:.2f} s and waits {waiting:.2f} s: more --steps in fewer --rounds cost less",
        )
