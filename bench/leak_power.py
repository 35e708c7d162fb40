"""What a leak meter would have seen: delays planted into what it recorded (side: owner)."""

import bisect
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.leak_advantage import Advantage, advantage_of_windows, of_trees
from bench.leak_record import JobRecord
from bench.leak_series import Jobs

LADDER_MS: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
SHARES: Final = {"half of the ticks": 0.5, "one tick in ten": 0.1}
"""Not all of them: when a trainer begins to hear is no secret, and moves all its ticks."""


@dataclass(frozen=True)
class Power:
    """The smallest delay of a trainer's frames, on a share of the ticks, that would have been above a bound for certain
    (the lower end of its interval); None: none of the ladder.
    """

    jobs_ms: dict[str, float | None]
    windows_ms: dict[str, float | None]


def smallest_effects(records: Sequence[JobRecord], bound_jobs: float, bound_windows: float, seed: int = 7) -> Power:
    """Plant delays into what was recorded, under labels that a coin gave to each pair, until they are seen."""
    draw = np.random.default_rng(seed)
    swapped = {pair: bool(draw.integers(2)) for pair in sorted({one.pair for one in records})}

    def seen(share: float, delay: float, of: Callable[[Jobs], Advantage], bound: float) -> bool:
        planted = [
            _delayed(one, swapped[one.pair], share, delay, np.random.default_rng([seed, one.pair])) for one in records
        ]
        return of(Jobs.of(planted)).low > bound

    def first(share: float, of: Callable[[Jobs], Advantage], bound: float) -> float | None:
        place = bisect.bisect_left(LADDER_MS, True, key=lambda delay: seen(share, delay, of, bound))
        return LADDER_MS[place] if place < len(LADDER_MS) else None

    def of_jobs(jobs: Jobs) -> Advantage:
        return of_trees(jobs, jobs.summaries())

    return Power(
        {name: first(share, of_jobs, bound_jobs) for name, share in SHARES.items()},
        {name: first(share, advantage_of_windows, bound_windows) for name, share in SHARES.items()},
    )


def _delayed(one: JobRecord, swapped: bool, share: float, delay: float, draw: np.random.Generator) -> JobRecord:
    secret = one.secret ^ swapped
    series = dict(one.series)
    if secret:
        chosen = draw.random(series["up"].size) < share
        for name in ("up", "up second", "chunk"):
            series[name] = series[name] + np.where(chosen, delay, 0.0)
    return dataclasses.replace(one, secret=secret, series=series)
