"""Where a leak sits: what each feature alone tells, each series of gaps, windows by where they begin (side: owner).

F features, J jobs. Nothing here is judged: of so many features some one always stands out. `chance` says by how much
the best of them does where there is nothing to be told: with sides swapped within pairs.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.leak_advantage import Advantage, Labels, advantage, by_trees, held_out, steps_of, told_right
from bench.leak_series import GAP_NAMES, SUMMARY_NAMES, WINDOW_TICKS, Floats, Jobs, windows_of

SHOWN: Final = 10
"""Features, of some 140."""

CHANCES: Final = 40
"""Swaps of sides, from which `chance` is taken."""


@dataclass(frozen=True)
class Places:
    """`features`: the `SHOWN` that tell most alone, by one threshold, with `chance`: what the best of all has by chance
    alone in 19 runs of 20. `series`: boosted trees on one series of gaps, or on all durations and counts. `windows`:
    boosted trees on windows, by the tick at which they begin.
    """

    features: dict[str, Advantage]
    chance: float
    series: dict[str, Advantage]
    windows: dict[int, Advantage]


def places_of(jobs: Jobs) -> Places:
    """Look at every place."""
    return Places(*_features(jobs), _series(jobs), _windows(jobs))


def _features(jobs: Jobs, seed: int = 0) -> tuple[dict[str, Advantage], float]:
    inputs, names = jobs.summaries(), jobs.summary_names
    ranks_JF = np.stack([_ranks(column) for column in inputs.T], axis=1)
    right_JF = by_threshold(ranks_JF, jobs.secret_J, jobs.pair_J)
    told = np.nanmean(right_JF, axis=0)
    best = sorted(range(len(names)), key=lambda one: -told[one])[:SHOWN]
    found = {names[one]: advantage(right_JF[:, one], jobs.secret_J, jobs.numbers, jobs.pair_J) for one in best}
    draw, most = np.random.default_rng(seed), []
    for _ in range(CHANCES):
        swapped_J = jobs.secret_J ^ np.repeat(draw.integers(0, 2, jobs.secret_J.size // 2), 2)
        most.append(2 * np.nanmean(by_threshold(ranks_JF, swapped_J, jobs.pair_J), axis=0).max() - 1)
    return found, float(np.quantile(most, 0.95))


def _ranks(values: Floats) -> Labels:
    """Which of the distinct values each is; what is missing is lowest."""
    return np.unique(np.where(np.isfinite(values), values, -np.inf), return_inverse=True)[1].astype(np.int64)


def by_threshold(ranks_JF: Labels, secret_J: Labels, pair_J: Labels) -> Floats:
    """Whether the best threshold of each feature among earlier pairs tells a side: 0 or 1, [J, F]; NaN: not asked."""
    right_JF = np.full(ranks_JF.shape, np.nan)
    for step in steps_of(pair_J):
        known, asked = np.isin(pair_J, step.learned), np.isin(pair_J, step.asked)
        for feature, rank_J in enumerate(ranks_JF.T):
            count = int(rank_J.max()) + 1
            sides = [np.bincount(rank_J[known & (secret_J == side)], minlength=count) for side in (0, 1)]
            apart = np.cumsum(sides[0]) - np.cumsum(sides[1])
            place = int(np.abs(apart).argmax())
            above = rank_J[asked] > place
            right_JF[asked, feature] = (above if apart[place] > 0 else ~above) == (secret_J[asked] == 1)
    return right_JF


def _series(jobs: Jobs) -> dict[str, Advantage]:
    inputs, width = jobs.summaries(), len(SUMMARY_NAMES)
    parts = {name: inputs[:, number * width : (number + 1) * width] for number, name in enumerate(GAP_NAMES)}
    parts["durations and counts"] = jobs.durations_JF
    return {
        name: held_out(by_trees, part, jobs.secret_J, jobs.numbers, jobs.pair_J)
        for name, part in parts.items()
        if np.isfinite(part).any()
    }


def _windows(jobs: Jobs) -> dict[int, Advantage]:
    inputs_U, job_U = windows_of(jobs)
    secret_U = jobs.secret_J[job_U]
    right_U = told_right(by_trees, inputs_U, secret_U, job_U, jobs.pair_J)
    begin_U = inputs_U[:, -1].astype(int)
    return {
        begin: advantage(right_U[here], secret_U[here], job_U[here], jobs.pair_J)
        for begin in range(0, int(begin_U.max()) + 1, WINDOW_TICKS)
        for here in [begin_U == begin]
    }
