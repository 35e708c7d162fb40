"""`./cloister bench leak-meter`: does what a host sees of a job depend on its secrets? (side: owner; docs/traffic.md)

Pairs of short jobs that differ in secrets alone run in the enclaves' own code, with sandboxes, before a host that keeps
the size and the time of all that it carries. Then, in this order; each can end the command with status 1:

  (1) sizes and counts are what the public schedule says, and the same to the byte in all jobs;
  (2) gaps, durations and counts do not depend on the side (bench/leak_dependence: one p-value for all of them);
  (3) held-out classifiers can't tell the sides: the upper end of their advantage is within `BOUNDS`;
  (4) builds that leak on purpose are caught by (1) or (2), with the very same code.

CPU time, memory and page faults are open channels: their advantage is told, and no verdict. `--quick` leaves (3) out.
`--keep` writes what was recorded to a file, `--again` has (1) to (3) once more from it.

Keys of the JSON file: `leak_jobs` that were played, `leak_held_out` and `leak_windows` that classifiers had not learned
from (bench/leak_advantage); `leak_advantage_jobs` and
`leak_advantage_windows`, the upper ends that are judged (of both classifiers of jobs the larger); `leak_advantages`, by
classifier: estimate, low, high; `leak_shapes`, what (1) found; `leak_dependence_p`, `leak_dependence_most`,
`leak_dependence`, by statistic: distance and its own p; `leak_smallest_effect_ms`; `leak_open_channels`, as
`leak_advantages`; `planted_leaks_caught` of `planted_leaks_total`, `planted_leaks` and `open_leaks`, by name what was
found. Where a leak sits, as `leak_advantages` and not judged (bench/leak_places): `leak_places_features` with
`leak_places_chance`, `leak_places_series`, `leak_places_windows`.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np

from bench.leak_drawing import draw_svg, draw_text
from bench.leak_figures import drawn, judged, leaks, look, planted_figures, seen_in, shown
from bench.leak_keeping import keep, recall
from bench.leak_plants import PLANTS
from bench.leak_play import QUICK_RELEASE_SECONDS, QUICK_SCHEDULE, SCHEDULE, Meeting, Pair, exported
from bench.leak_record import JobRecord
from bench.leak_secrets import SECRETS, Secret, Side, pair_of
from common.exchange.clock import RELEASE_SECONDS
from common.messages.order import Schedule

QUICK_PAIRS: Final = 4
TIMED_PAIRS: Final = 14
"""Of a plant that shows in times: of ten gaps any is as large as a swap can make it in 20 of 16,384 ways, at most."""

SAID_PAIRS: Final = 20
"""How often a long run says how far it is."""

PLANT_STRIDE: Final = 100_000
"""Between the numbers of the pairs of one plant and of the next."""


# ----------------------------------------------------------------------------------------------------------- plants

Names = Sequence[str]
CLOSED: Final = tuple(name for name, plant in PLANTS.items() if plant.closed)
QUICK: Final = tuple(name for name in CLOSED if not PLANTS[name].long)
OPEN: Final = tuple(name for name, plant in PLANTS.items() if not plant.closed)


def pairs_of(names: Names) -> list[Pair]:
    """Pairs of jobs of builds that leak on purpose."""
    return [
        Pair(PLANT_STRIDE * (1 + number) + one, name)
        for number, name in enumerate(names)
        for one in range(TIMED_PAIRS if PLANTS[name].timed else 1)
    ]


def caught(names: Names, records: Sequence[JobRecord], schedule: Schedule) -> dict[str, list[str]]:
    """What was seen of each."""
    return {name: seen_in(*look(of_plant(records, 1 + number), schedule)) for number, name in enumerate(names)}


def of_plant(records: Sequence[JobRecord], number: int) -> list[JobRecord]:
    """Records of plant `number`, counted from 1; 0: those without one."""
    return [one for one in records if one.pair // PLANT_STRIDE == number]


def play_open(workers: int) -> dict[str, list[str]]:
    """How large what nothing closes is."""
    found = {}
    for name in OPEN:
        meeting = Meeting(pair_of(PLANTS[name].differ, PLANTS[name].busy_milliseconds), workers=workers)
        found[name] = _open_channels(meeting.play(pairs_of([name])))
    return found


def _open_channels(records: Sequence[JobRecord]) -> list[str]:
    """How far apart the sides are in what processes used up."""
    sides = [[one.usage.get("sandbox_cpu_ms", np.nan) for one in records if one.secret == side] for side in (0, 1)]
    quiet, other = (float(np.nanmedian(one)) for one in sides)
    apart = np.nanmin(sides[1]) > np.nanmax(sides[0]) or np.nanmax(sides[1]) < np.nanmin(sides[0])
    told = "tells each job apart" if apart else "overlaps"
    return [f"CPU time of the sandbox {told}: {quiet:.0f} ms and {other:.0f} ms (medians)"]


# ---------------------------------------------------------------------------------------------------------- figures


@dataclass(frozen=True)
class Wanted:
    """What one run does. `jobs`: without the planted ones, in pairs; `differ`: the secrets that those differ in;
    `kept`: a file for what is recorded of them; `small`: their data are kept by the trainer, and read once.
    """

    jobs: int
    workers: int = 1
    differ: tuple[Secret, ...] = SECRETS
    quick: bool = False
    plants: bool = True
    kept: Path | None = None
    small: bool = False

    @property
    def schedule(self) -> Schedule:
        """Of all its jobs."""
        return QUICK_SCHEDULE if self.quick else SCHEDULE

    def play(self, say: Callable[[str], None]) -> tuple[dict[str, Any], list[JobRecord]]:
        """All that is asked for; the jobs without a plant. Raises `RuntimeError`, `OSError`."""
        sides = pair_of(self.differ)
        graphs = (None, None) if self.quick else (exported(sides[0]), exported(sides[1]))
        began = time.monotonic()
        apart = self.plants and self.differ != SECRETS
        pairs = [Pair(number) for number in range(self.jobs // 2)]
        names = QUICK if self.quick else CLOSED
        planted = pairs_of(names) if self.plants else []
        release = QUICK_RELEASE_SECONDS if self.quick else RELEASE_SECONDS

        def on_pair(done: int) -> None:
            if done % SAID_PAIRS == 0:
                say(f"{2 * done} jobs, {time.monotonic() - began:.0f} s")

        def meeting(sides: tuple[Side, Side]) -> Meeting:
            return Meeting(sides, self.schedule, graphs, self.workers, release, small=self.small)

        records = meeting(sides).play(pairs if apart else [*pairs, *planted], on_pair)
        plain = of_plant(records, 0)
        if self.kept is not None:
            keep(self.kept, plain, self.schedule)

        figures: dict[str, Any] = {
            "leak_seconds": round(time.monotonic() - began, 1), "leak_differ": list(self.differ),
            "leak_small": self.small, "leak_workers": self.workers, "leak_ticks": self.schedule.total_ticks,
            "leak_graphs": [one is not None for one in graphs],
        }  # fmt: skip
        if apart:
            records = meeting(pair_of(SECRETS)).play(planted)
        if self.plants:
            figures |= planted_figures(caught(names, records, self.schedule))
        return figures | (shown(plain, self.schedule) if self.quick else judged(plain, self.schedule)), plain


@click.command("leak-meter")
@click.option("--jobs", type=click.IntRange(8), default=800, show_default=True, help="How many, in pairs.")
@click.option("--workers", type=click.IntRange(1, 16), default=1, show_default=True, help="Jobs at a time.")
@click.option(
    "--differ", type=click.Choice(SECRETS), multiple=True, help="What pairs differ in; all, if none is named."
)
@click.option("--quick", is_flag=True, help="Few and short jobs; no classifier, and no open channel.")
@click.option("--small", is_flag=True, help="Data that a trainer keeps, and reads once.")
@click.option("--plants/--no-plants", default=True, show_default=True, help="Also builds that leak on purpose.")
@click.option("--keep", "kept", type=click.Path(dir_okay=False, path_type=Path), help="Write what was recorded there.")
@click.option("--again", type=click.Path(exists=True, path_type=Path), help="Play nothing: what was kept in this file.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Draw the distributions there.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there.")
def leak_meter(
    jobs: int, workers: int, differ: tuple[Secret, ...], *, quick: bool, small: bool, plants: bool,
    kept: Path | None, again: Path | None, svg: Path | None, json_file: Path | None,
) -> None:  # fmt: skip
    """Run pairs of jobs that differ in secrets alone, and test whether a host could tell.

    Ends with status 1 where sizes or counts differ, times depend on the secret, a classifier's advantage may be above
    its bound, or a leak that was planted is not caught.
    """
    wanted = Wanted(2 * QUICK_PAIRS if quick else jobs, workers, differ or SECRETS, quick, plants, kept, small)
    if again is not None:
        records, schedule = recall(again)
        figures = judged(records, schedule)
    else:
        figures, records = wanted.play(lambda text: click.echo(text, err=True))
        if plants and not quick:
            figures["open_leaks"] = play_open(workers)
    pairs = drawn(records)
    for name, values in pairs.items():
        click.echo("\n".join(draw_text(name, values)))
    for name, value in figures.items():
        click.echo(f"{name:>26}  {value}")
    if svg is not None:
        svg.write_text(draw_svg(pairs))
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    if found := leaks(figures):
        click.echo("\n".join(found), err=True)
        raise SystemExit(1)
