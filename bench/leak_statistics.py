"""Does what a host sees depend on the secret? (side: owner)

J jobs, P pairs, S series of gaps, T ticks, G points of a grid, C channels, F features.

*Dependence*: Kolmogorov-Smirnov distances of gaps between the two sides, and rank differences of durations and counts.
Gaps of one job are not independent of each other, so no table of the statistic would be right: the sides are swapped
within pairs instead (all 2^P ways, or many of them), which holds whatever a job is like inside. One p-value for each
family (gaps; durations and counts): how often a swap makes any of them as rare as the rarest that was seen (Westfall
and Young, 1993). The smaller one counts, twice.

*Advantage*: 2 x accuracy - 1 of a classifier on jobs that it was not trained with; pairs stay together in one of
`FOLDS` folds, so classes are balanced, and each job is held out once. Its interval is a bootstrap over jobs; where
windows of a job are what is classified, whole jobs are drawn with all their windows (a block bootstrap).
"""

import bisect
import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.leak_record import SERIES, JobRecord

FOLDS: Final = 5
BOOTSTRAPS: Final = 2000
SWAPS: Final = 9999
EXACT_PAIRS: Final = 14
GRID: Final = 199
WINDOW_TICKS: Final = 32

GAPS: Final[dict[str, tuple[str, str | None]]] = {
    "between ticks down": ("down", None),
    "between ticks up": ("up", None),
    "within a tick down": ("down second", "down"),
    "within a tick up": ("up second", "up"),
    "down to up": ("up", "down"),
    "up to chunk request": ("chunk", "up second"),
    "down to question": ("question", "down second"),
    "down to report": ("report", "down second"),
}
"""Of each gap the later series and the earlier one; None: the same series a tick before."""

DRIFTS: Final = {"drift down": "down", "drift up": "up"}
"""How late each tick is against the first `FIRST_TICKS` of its own series, on a clock of the schedule's tick."""

FIRST_TICKS: Final = 16
GAP_NAMES: Final = (*GAPS, *DRIFTS)

Floats = NDArray[np.float64]
Predict = Callable[[Floats, NDArray[np.int64], Floats], Floats]
"""From training inputs, their labels and test inputs to the probability of label 1."""


def gaps_of(series: Mapping[str, Floats], tick_ms: float) -> Floats:
    """Milliseconds [S, T], NaN where there is none."""
    rows = []
    for later, earlier in GAPS.values():
        before = np.concatenate([[np.nan], series[later][:-1]]) if earlier is None else series[earlier]
        rows.append(series[later] - before)
    for name in DRIFTS.values():
        late_T = series[name] - tick_ms * np.arange(series[name].size)
        begun = late_T[np.isfinite(late_T)][:FIRST_TICKS]
        rows.append(late_T - np.median(begun) if begun.size else late_T)
    return np.stack(rows)


def summary_of(gaps_ST: Floats) -> Floats:
    """Of each gap series: mean, deviation, quantiles, how many are there, mean of either half."""
    told = []
    for gap_T in gaps_ST:
        known = gap_T[np.isfinite(gap_T)]
        if known.size < 2:
            told += [np.nan] * 11
            continue
        quantiles = np.quantile(known, [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0])
        halves = [float(half.mean()) for half in np.array_split(known, 2)]
        told += [float(known.mean()), float(known.std()), *quantiles.tolist(), *halves]
    return np.array(told)


@dataclass(frozen=True)
class Jobs:
    """Complete pairs of jobs, as arrays. `drift_JCT`: each series less the schedule's own time, for a network."""

    secret_J: NDArray[np.int64]
    pair_J: NDArray[np.int64]
    gaps_JST: Floats
    drift_JCT: Floats
    durations_JF: Floats
    duration_names: tuple[str, ...]
    usage: dict[str, Floats]

    @classmethod
    def of(cls, records: Sequence[JobRecord]) -> "Jobs":
        """Records of which both jobs of a pair are there, pair by pair."""
        by_pair: dict[int, dict[int, JobRecord]] = {}
        for one in records:
            by_pair.setdefault(one.pair, {})[one.secret] = one
        kept = [both[secret] for _, both in sorted(by_pair.items()) if len(both) == 2 for secret in (0, 1)]
        names = tuple(kept[0].durations)
        groups = ("trainer", "server", "sandbox")
        keys = {who: sorted({key for one in kept for key in one.usage if key.startswith(who)}) for who in groups}
        return cls(
            np.array([one.secret for one in kept]),
            np.array([one.pair for one in kept]),
            np.stack([gaps_of(one.series, one.tick_ms) for one in kept]),
            np.stack([drift_of(one.series, one.tick_ms) for one in kept]),
            np.array([[one.durations[name] for name in names] for one in kept]),
            names,
            {who: np.array([[one.usage.get(key, np.nan) for key in keys[who]] for one in kept]) for who in groups}
            | {"sandbox by time": _padded([np.diff(one.sandbox_cpu) for one in kept])},
        )

    def summaries(self) -> Floats:
        """What the boosted trees see of each job [J, F]."""
        return np.hstack([np.stack([summary_of(one) for one in self.gaps_JST]), self.durations_JF])


def _padded(rows: Sequence[Floats]) -> Floats:
    wide = max(len(one) for one in rows)
    return np.stack([np.pad(one.astype(float), (0, wide - len(one)), constant_values=np.nan) for one in rows])


def drift_of(series: Mapping[str, Floats], tick_ms: float) -> Floats:
    """Milliseconds [C, T] by which frames are off a line of the schedule's slope, and all else off its tick's frame."""
    rows = []
    for name in SERIES:
        clocked = name.startswith(("up", "down"))
        off_T = series[name] - (tick_ms * np.arange(series[name].size) if clocked else series["down"])
        rows.append(off_T - np.median(off_T[np.isfinite(off_T)]) if np.isfinite(off_T).any() else off_T)
    return np.stack(rows)


# ------------------------------------------------------------------------------------------------------- dependence


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


# -------------------------------------------------------------------------------------------------------- advantage


@dataclass(frozen=True)
class Advantage:
    """2 x balanced accuracy - 1, with the ends of its 95 % interval, of so many units in so many jobs."""

    estimate: float
    low: float
    high: float
    units: int
    jobs: int

    @property
    def listed(self) -> list[float]:
        """For a file of figures."""
        return [round(self.estimate, 4), round(self.low, 4), round(self.high, 4)]


def advantage(
    correct_U: NDArray[np.bool_], secret_U: NDArray[np.int64], job_U: NDArray[np.int64], seed: int = 0
) -> Advantage:
    """Of units U that were classified, each of one job; jobs are drawn, each with all its units."""
    job_count = int(job_U.max()) + 1
    hits = np.stack([np.bincount(job_U[secret_U == side], correct_U[secret_U == side], job_count) for side in (0, 1)])
    units = np.stack([np.bincount(job_U[secret_U == side], minlength=job_count) for side in (0, 1)])
    draw = np.random.default_rng(seed)
    weights = draw.multinomial(job_count, np.full(job_count, 1 / job_count), BOOTSTRAPS)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = 2 * ((weights @ hits.T) / (weights @ units.T)).mean(axis=1) - 1
        estimate = 2 * float((hits.sum(axis=1) / units.sum(axis=1)).mean()) - 1
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Advantage(estimate, float(low), float(high), int(correct_U.size), job_count)


def folds_of(pair_J: NDArray[np.int64], seed: int = 0) -> NDArray[np.int64]:
    """The fold [J] of each job: pairs stay together."""
    pairs = np.unique(pair_J)
    shuffled = np.random.default_rng(seed).permutation(pairs)
    fold = {int(pair): number % FOLDS for number, pair in enumerate(shuffled)}
    return np.array([fold[int(pair)] for pair in pair_J])


def held_out(
    predict: Predict, inputs_U: Floats, label_U: NDArray[np.int64], job_U: NDArray[np.int64], pair_J: NDArray[np.int64]
) -> Advantage:
    """The advantage of a classifier over units U, each of one job, trained without the jobs that it is asked about."""
    fold_U = folds_of(pair_J)[job_U]
    guessed_U = np.zeros(label_U.size)
    for fold in np.unique(fold_U):
        test = fold_U == fold
        guessed_U[test] = predict(inputs_U[~test], label_U[~test], inputs_U[test])
    return advantage((guessed_U > 0.5) == (label_U == 1), label_U, job_U)


def by_trees(inputs: Floats, labels: NDArray[np.int64], asked: Floats) -> Floats:
    """Gradient boosting of small trees (scikit-learn)."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    model = HistGradientBoostingClassifier(
        max_iter=40, learning_rate=0.1, max_leaf_nodes=8, min_samples_leaf=10, l2_regularization=1.0, random_state=0
    )
    known = np.isfinite(inputs).any(axis=0)
    with threadpool_limits(1):  # several threads wait for each other in loops, which is slow where others work
        model.fit(inputs[:, known], labels)
        return np.asarray(model.predict_proba(asked[:, known])[:, 1])


def by_network(inputs: Floats, labels: NDArray[np.int64], asked: Floats) -> Floats:
    """A small convolutional network over time, on [units, C, T]."""
    from bench.leak_network import predict

    return predict(inputs, labels, asked)


def windows_of(jobs: Jobs) -> tuple[Floats, NDArray[np.int64]]:
    """Windows of `WINDOW_TICKS` ticks: gaps, their summaries, and where the window begins; and the job of each."""
    total = jobs.gaps_JST.shape[2]
    rows, owners = [], []
    for number, gaps_ST in enumerate(jobs.gaps_JST):
        for begin in range(0, total - WINDOW_TICKS + 1, WINDOW_TICKS):
            part = gaps_ST[:, begin : begin + WINDOW_TICKS]
            rows.append(np.concatenate([part.ravel(), summary_of(part), [begin]]))
            owners.append(number)
    return np.stack(rows), np.array(owners)


def advantages_of_jobs(jobs: Jobs) -> dict[str, Advantage]:
    """Of each named classifier."""
    index_J = np.arange(jobs.secret_J.size)
    return {
        "boosted trees": held_out(by_trees, jobs.summaries(), jobs.secret_J, index_J, jobs.pair_J),
        "network": held_out(by_network, jobs.drift_JCT, jobs.secret_J, index_J, jobs.pair_J),
    }


def advantage_of_windows(jobs: Jobs) -> Advantage:
    """Of boosted trees on windows."""
    inputs_U, job_U = windows_of(jobs)
    return held_out(by_trees, inputs_U, jobs.secret_J[job_U], job_U, jobs.pair_J)


def advantages_of_usage(jobs: Jobs) -> dict[str, Advantage]:
    """What the open channels tell: boosted trees on CPU time, memory and page faults of each process."""
    index_J = np.arange(jobs.secret_J.size)
    return {
        who: held_out(by_trees, used, jobs.secret_J, index_J, jobs.pair_J)
        for who, used in jobs.usage.items()
        if np.isfinite(used).any()
    }


# ------------------------------------------------------------------------------------------------------------ power

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
        return held_out(by_trees, jobs.summaries(), jobs.secret_J, np.arange(jobs.secret_J.size), jobs.pair_J)

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
