"""What a leak meter has to say of the jobs that it recorded, and whether that is a leak (side: owner).

Numbers (1) to (3) are those of bench/leak_meter, which also lists the keys.
"""

from collections.abc import Sequence
from typing import Any, Final

from bench.leak_advantage import Advantage, advantage_of_windows, advantages_of_jobs, advantages_of_usage
from bench.leak_dependence import Dependence, dependence, differences
from bench.leak_drawing import Pair as Drawn
from bench.leak_places import places_of
from bench.leak_power import smallest_effects
from bench.leak_record import JobRecord
from bench.leak_series import GAP_NAMES, Jobs
from bench.leak_shape import unscheduled
from common.messages.order import Schedule

BOUNDS: Final = {"leak_advantage_jobs": 0.12, "leak_advantage_windows": 0.05}
"""The most that the upper ends may be."""

LEAST_P: Final = 0.01
"""Of (2), for all its statistics together: one run in a hundred is called a leak that is none."""


def look(records: Sequence[JobRecord], schedule: Schedule) -> tuple[list[str], Dependence]:
    """(1) and (2)."""
    found = sorted({what for one in records for what in unscheduled(one.shape, schedule)})
    return [*found, *differences(records)], dependence(Jobs.of(records))


def seen_in(shapes: Sequence[str], told: Dependence) -> list[str]:
    """What of them is a leak, in words; nothing if nothing is."""
    gaps = [f"{told.most}: p = {told.p:.4f}"] if told.p <= LEAST_P else []
    return [*shapes, *gaps]


def judged(plain: Sequence[JobRecord], schedule: Schedule) -> dict[str, Any]:
    """(1) to (3) of jobs without a plant, and what belongs to them."""
    arrays = Jobs.of(plain)
    return shown(plain, schedule) | _classified(arrays) | _placed(arrays) | _power(plain)


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
        "leak_held_out": max(one.jobs for one in jobs.values()),
        "leak_windows": windows.units,
        "leak_advantage_jobs": _upper(jobs.values()),
        "leak_advantage_windows": _upper([windows]),
        "leak_advantages": {name: one.listed for name, one in (jobs | {"trees on windows": windows}).items()},
        "leak_open_channels": {name: one.listed for name, one in advantages_of_usage(arrays).items()},
    }


def _placed(arrays: Jobs) -> dict[str, Any]:
    places = places_of(arrays)
    return {
        "leak_places_features": {name: one.listed for name, one in places.features.items()},
        "leak_places_chance": round(places.chance, 4),
        "leak_places_series": {name: one.listed for name, one in places.series.items()},
        "leak_places_windows": {str(begin): one.listed for begin, one in places.windows.items()},
    }


def _upper(found: Any) -> float:
    several: list[Advantage] = list(found)
    return round(max(one.high for one in several), 4)


def _power(records: Sequence[JobRecord]) -> dict[str, Any]:
    power = smallest_effects(records, BOUNDS["leak_advantage_jobs"], BOUNDS["leak_advantage_windows"])
    return {"leak_smallest_effect_ms": {"jobs": power.jobs_ms, "windows": power.windows_ms}}


def drawn(records: Sequence[JobRecord]) -> dict[str, Drawn]:
    """The gaps of either side."""
    arrays = Jobs.of(records)
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
