"""`./cloister bench leak-meter`: does what a host sees of a job depend on its secrets? (side: owner; docs/traffic.md)

Pairs of short jobs that differ in secrets alone run in the enclaves' own code, with sandboxes, before a host that keeps
the size and the time of all that it carries. Then, in this order; each can end the command with status 1:

  (1) sizes and counts are what the public schedule says, and the same to the byte in all jobs;
  (2) gaps, durations and counts do not depend on the side (bench/leak_dependence: one p-value for all of them);
  (3) held-out classifiers can't tell the sides: the upper end of their advantage is within `BOUNDS`;
  (4) builds that leak on purpose are caught by (1) or (2), with the very same code.

CPU time, memory and page faults are open channels: their advantage is told, and no verdict. `--quick` leaves (3) out.

Keys of the JSON file: `leak_jobs` and `leak_windows` that were held out; `leak_advantage_jobs` and
`leak_advantage_windows`, the upper ends that are judged (of both classifiers the larger); `leak_advantages`, by
classifier: estimate, low, high; `leak_shapes`, what (1) found; `leak_dependence_p`, `leak_dependence_most`,
`leak_dependence`, by statistic: distance and its own p; `leak_smallest_effect_ms`; `leak_open_channels`, as
`leak_advantages`; `planted_leaks_caught` of `planted_leaks_total`, `planted_leaks` and `open_leaks`, by name what was
found.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np

from bench.leak_advantage import Advantage, advantage_of_windows, advantages_of_jobs, advantages_of_usage
from bench.leak_dependence import Dependence, dependence, differences
from bench.leak_drawing import Pair as Drawn
from bench.leak_drawing import draw_svg, draw_text
from bench.leak_plants import PLANTS
from bench.leak_play import QUICK_RELEASE_SECONDS, QUICK_SCHEDULE, SCHEDULE, Meeting, Pair, exported
from bench.leak_power import smallest_effects
from bench.leak_record import JobRecord
from bench.leak_secrets import SECRETS, Secret, pair_of
from bench.leak_series import GAP_NAMES, Jobs
from bench.leak_shape import unscheduled
from common.exchange.clock import RELEASE_SECONDS
from common.messages.order import Schedule

BOUNDS: Final = {"leak_advantage_jobs": 0.12, "leak_advantage_windows": 0.05}
"""The most that the upper ends may be."""

LEAST_P: Final = 0.01
"""Of (2), for all its statistics together: one run in a hundred is called a leak that is none."""

QUICK_PAIRS: Final = 4
TIMED_PAIRS: Final = 14
"""Of a plant that shows in times: of ten gaps any is as large as a swap can make it in 20 of 16,384 ways, at most."""

SAID_PAIRS: Final = 20
"""How often a long run says how far it is."""

PLANT_STRIDE: Final = 100_000
"""Between the numbers of the pairs of one plant and of the next."""


def look(records: Sequence[JobRecord], schedule: Schedule) -> tuple[list[str], Dependence]:
    """(1) and (2)."""
    found = sorted({what for one in records for what in unscheduled(one.shape, schedule)})
    return [*found, *differences(records)], dependence(Jobs.of(records))


def seen_in(shapes: Sequence[str], told: Dependence) -> list[str]:
    """What of them is a leak, in words; nothing if nothing is."""
    gaps = [f"{told.most}: p = {told.p:.4f}"] if told.p <= LEAST_P else []
    return [*shapes, *gaps]


# ----------------------------------------------------------------------------------------------------------- plants

Names = Sequence[str]
CLOSED: Final = tuple(name for name, plant in PLANTS.items() if plant.closed)
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
    """What one run does. `jobs`: without the planted ones, in pairs; `differ`: the secrets that those differ in."""

    jobs: int
    workers: int = 1
    differ: tuple[Secret, ...] = SECRETS
    quick: bool = False
    plants: bool = True

    @property
    def schedule(self) -> Schedule:
        """Of all its jobs."""
        return QUICK_SCHEDULE if self.quick else SCHEDULE

    def play(self, say: Callable[[str], None]) -> tuple[dict[str, Any], Jobs]:
        """All that is asked for; the jobs without a plant as arrays."""
        sides = pair_of(self.differ)
        graphs = (None, None) if self.quick else (exported(sides[0]), exported(sides[1]))
        began = time.monotonic()
        apart = self.plants and self.differ != SECRETS
        pairs = [Pair(number) for number in range(self.jobs // 2)]
        planted = pairs_of(CLOSED) if self.plants else []
        release = QUICK_RELEASE_SECONDS if self.quick else RELEASE_SECONDS

        def on_pair(done: int) -> None:
            if done % SAID_PAIRS == 0:
                say(f"{2 * done} jobs, {time.monotonic() - began:.0f} s")

        records = Meeting(sides, self.schedule, graphs, self.workers, release).play(
            pairs if apart else [*pairs, *planted], on_pair
        )
        plain = of_plant(records, 0)

        figures: dict[str, Any] = {
            "leak_seconds": round(time.monotonic() - began, 1), "leak_differ": list(self.differ),
            "leak_workers": self.workers, "leak_ticks": self.schedule.total_ticks,
            "leak_graphs": [one is not None for one in graphs],
        }  # fmt: skip
        if apart:
            records = Meeting(pair_of(SECRETS), self.schedule, graphs, self.workers, release).play(planted)
        if self.plants:
            figures |= planted_figures(caught(CLOSED, records, self.schedule))
        arrays = Jobs.of(plain)
        figures |= shown(plain, self.schedule)
        return figures if self.quick else figures | _classified(arrays) | _power(plain), arrays


def planted_figures(found: dict[str, list[str]]) -> dict[str, Any]:
    """How many were caught."""
    return {
        "planted_leaks_caught": sum(bool(what) for what in found.values()), "planted_leaks_total": len(found),
        "planted_leaks": found,
    }  # fmt: skip


def shown(plain: Sequence[JobRecord], schedule: Schedule) -> dict[str, Any]:
    """(1) and (2) of jobs without a plant."""
    shapes, told = look(plain, schedule)
    return {
        "leak_jobs": len(plain), "leak_shapes": shapes, "leak_dependence_p": round(told.p, 5),
        "leak_dependence_most": told.most,
        "leak_dependence": {name: [round(one, 4) for one in both] for name, both in told.distances.items()},
    }  # fmt: skip


def _classified(arrays: Jobs) -> dict[str, Any]:
    jobs, windows = advantages_of_jobs(arrays), advantage_of_windows(arrays)
    return {
        "leak_windows": windows.units,
        "leak_advantage_jobs": _upper(jobs.values()),
        "leak_advantage_windows": _upper([windows]),
        "leak_advantages": {name: one.listed for name, one in (jobs | {"trees on windows": windows}).items()},
        "leak_open_channels": {name: one.listed for name, one in advantages_of_usage(arrays).items()},
    }


def _upper(found: Any) -> float:
    several: list[Advantage] = list(found)
    return round(max(one.high for one in several), 4)


def _power(records: Sequence[JobRecord]) -> dict[str, Any]:
    power = smallest_effects(records, BOUNDS["leak_advantage_jobs"], BOUNDS["leak_advantage_windows"])
    return {"leak_smallest_effect_ms": {"jobs": power.jobs_ms, "windows": power.windows_ms}}


def _drawn(arrays: Jobs) -> dict[str, Drawn]:
    return {
        name: (
            arrays.gaps_JST[arrays.secret_J == 0, number].ravel(),
            arrays.gaps_JST[arrays.secret_J == 1, number].ravel(),
        )
        for number, name in enumerate(GAP_NAMES)
    }


def leaks(figures: dict[str, Any]) -> list[str]:
    """Why the command ends with status 1."""
    found = [f"sizes and counts: {one}" for one in figures.get("leak_shapes", ())]
    if figures.get("leak_dependence_p", 1.0) <= LEAST_P:
        found.append(f"{figures['leak_dependence_most']}: p = {figures['leak_dependence_p']}")
    found += [f"{name}: {figures[name]}, above {most}" for name, most in BOUNDS.items() if figures.get(name, 0) > most]
    missed = figures.get("planted_leaks_total", 0) - figures.get("planted_leaks_caught", 0)
    return [*found, *([f"{missed} planted leaks were not caught"] if missed else [])]


@click.command("leak-meter")
@click.option("--jobs", type=click.IntRange(8), default=800, show_default=True, help="How many, in pairs.")
@click.option("--workers", type=click.IntRange(1, 16), default=1, show_default=True, help="Jobs at a time.")
@click.option(
    "--differ", type=click.Choice(SECRETS), multiple=True, help="What pairs differ in; all, if none is named."
)
@click.option("--quick", is_flag=True, help="Few and short jobs; no classifier, and no open channel.")
@click.option("--plants/--no-plants", default=True, show_default=True, help="Also builds that leak on purpose.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Draw the distributions there.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there.")
def leak_meter(
    jobs: int, workers: int, differ: tuple[Secret, ...], *, quick: bool, plants: bool,
    svg: Path | None, json_file: Path | None,
) -> None:  # fmt: skip
    """Run pairs of jobs that differ in secrets alone, and test whether a host could tell.

    Ends with status 1 where sizes or counts differ, times depend on the secret, a classifier's advantage may be above
    its bound, or a leak that was planted is not caught.
    """
    wanted = Wanted(2 * QUICK_PAIRS if quick else jobs, workers, differ or SECRETS, quick, plants)
    figures, arrays = wanted.play(lambda text: click.echo(text, err=True))
    if plants and not quick:
        figures["open_leaks"] = play_open(workers)
    drawn = _drawn(arrays)
    for name, values in drawn.items():
        click.echo("\n".join(draw_text(name, values)))
    for name, value in figures.items():
        click.echo(f"{name:>26}  {value}")
    if svg is not None:
        svg.write_text(draw_svg(drawn))
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    if found := leaks(figures):
        click.echo("\n".join(found), err=True)
        raise SystemExit(1)
