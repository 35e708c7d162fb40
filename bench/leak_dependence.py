"""Do gaps, durations and counts depend on the secret? (side: owner)

P pairs, G points of a grid. Kolmogorov-Smirnov distances of gaps between the two sides, and rank differences of
durations and counts. Gaps of one job are not independent of each other, so no table of the statistic would be right:
the sides are swapped within pairs instead (all 2^P ways, or many), which holds whatever a job is like inside. One
p-value for each family (gaps; durations and counts): how often a swap makes any of them as rare as the rarest that was
seen (Westfall and Young, 1993). The smaller one counts, twice.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from bench.leak_record import JobRecord
from bench.leak_series import GAP_NAMES, Floats, Jobs

SWAPS: Final = 9999
EXACT_PAIRS: Final = 14
GRID: Final = 199


@dataclass(frozen=True)
class Dependence:
    """`p`: of all together; `most`: what stood out most; `distances`: of each statistic, with its own p."""

    p: float
    most: str
    distances: dict[str, tuple[float, float]]


def dependence(jobs: Jobs, seed: int = 0) -> Dependence:
    """Compare the sides in all gaps, durations and counts."""
    differences = _pair_differences(jobs)
    signs = _swaps(len(jobs.secret_J) // 2, np.random.default_rng(seed))
    tails, distances = {}, {}
    for name, difference_PG in differences.items():
        swapped = np.abs(signs @ difference_PG / len(difference_PG)).max(axis=1).round(9)
        tails[name] = 1 - np.searchsorted(np.sort(swapped), swapped, side="left") / swapped.size
        distances[name] = (float(swapped[0]), float(tails[name][0]))
    families = [[name for name in tails if (name in GAP_NAMES) == gaps] for gaps in (True, False)]
    found = min((_rarest(tails, names) for names in families if names), key=lambda one: one[0])
    return Dependence(min(1.0, len(families) * found[0]), found[1], distances)


def _rarest(tails: dict[str, Floats], names: list[str]) -> tuple[float, str]:
    """How often a swap makes any of these as rare as the rarest that was seen, and which that is."""
    least = np.min([tails[name] for name in names], axis=0)
    return float((least <= least[0]).mean()), min(names, key=lambda name: float(tails[name][0]))


def _pair_differences(jobs: Jobs) -> dict[str, Floats]:
    """Of each pair, side 1 less side 0: distribution functions of gaps on a grid [P, G], ranks of numbers [P, 1]."""
    found = {}
    for number, name in enumerate(GAP_NAMES):
        values = jobs.gaps_JST[:, number]
        known = values[np.isfinite(values)]
        if known.size:
            grid = np.quantile(known, np.linspace(0, 1, GRID + 2)[1:-1])
            below = np.stack([_below(one, grid) for one in values])
            found[name] = below[1::2] - below[0::2]
    for number, name in enumerate(jobs.duration_names):
        ranks = _ranks(jobs.durations_JF[:, number])
        if ranks.any():
            found[name] = (ranks[1::2] - ranks[0::2])[:, np.newaxis]
    return found


def _below(values: Floats, grid: Floats) -> Floats:
    known = np.sort(values[np.isfinite(values)])
    return np.searchsorted(known, grid, side="right") / max(known.size, 1)


def _ranks(values: Floats) -> Floats:
    """Mid-ranks from -1 to 1; missing values are lowest."""
    filled = np.where(np.isfinite(values), values, -np.inf)
    ordered = np.sort(filled)
    middle = (np.searchsorted(ordered, filled, "left") + np.searchsorted(ordered, filled, "right")) / 2
    return np.asarray(2 * middle / filled.size - 1)


def _swaps(pairs: int, draw: np.random.Generator) -> Floats:
    """Rows of signs for the pairs; the first row is what was seen."""
    if pairs <= EXACT_PAIRS:
        return np.array(list(itertools.product((1.0, -1.0), repeat=pairs)))
    return np.vstack([np.ones(pairs), draw.choice((1.0, -1.0), (SWAPS, pairs))])


def differences(records: Sequence[JobRecord]) -> list[str]:
    """Names of shapes that are not the same in all jobs, with two values that differ."""
    first = records[0].shape
    found = []
    for name, value in first.items():
        other: Any = next((one.shape[name] for one in records if one.shape[name] != value), None)
        if other is not None:
            found.append(f"{name}: {_short(value)} and {_short(other)}")
    return found


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 120 else text[:117] + "..."
