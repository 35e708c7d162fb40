"""Records of jobs as arrays: gaps, drifts, summaries, windows (side: owner).

J jobs, S series of gaps, T ticks, C channels, F features. NaN where nothing was seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.leak_record import SERIES, JobRecord

Floats = NDArray[np.float64]

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
    "down to checkpoint": ("checkpoint", "down second"),
}
"""Of each gap the later series and the earlier one; None: the same series a tick before."""

DRIFTS: Final = {"drift down": "down", "drift up": "up"}
"""How late each tick is against the first `FIRST_TICKS` of its own series, on a clock of the schedule's tick."""

FIRST_TICKS: Final = 16
GAP_NAMES: Final = (*GAPS, *DRIFTS)


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


QUANTILES: Final = {"least": 0.0, "5 %": 0.05, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "95 %": 0.95, "most": 1.0}
SUMMARY_NAMES: Final = ("mean", "deviation", *QUANTILES, "mean of the first half", "mean of the second half")


def summary_of(gaps_ST: Floats) -> Floats:
    """Of each gap series, one after the other, what `SUMMARY_NAMES` says."""
    told: list[float] = []
    for gap_T in gaps_ST:
        known = gap_T[np.isfinite(gap_T)]
        if known.size < 2:
            told += [np.nan] * len(SUMMARY_NAMES)
            continue
        quantiles = np.quantile(known, list(QUANTILES.values()))
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

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Of the jobs, from 0."""
        return np.arange(self.secret_J.size)

    @property
    def summary_names(self) -> tuple[str, ...]:
        """Of each feature of `summaries`."""
        return (*(f"{gap}, {name}" for gap in GAP_NAMES for name in SUMMARY_NAMES), *self.duration_names)

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


def windows_of(jobs: Jobs) -> tuple[Floats, NDArray[np.int64]]:
    """Windows of `WINDOW_TICKS` ticks: summaries of gaps, and where the window begins; and the job of each.

    Gaps are less their median in the window: where the clock of a job stands, in all its windows, is the job's affair,
    and would make them all one guess.
    """
    rows, owners = [], []
    for number, gaps_ST in enumerate(jobs.gaps_JST):
        for begin in range(0, gaps_ST.shape[1] - WINDOW_TICKS + 1, WINDOW_TICKS):
            part = gaps_ST[:, begin : begin + WINDOW_TICKS]
            rows.append(np.append(summary_of(np.stack([_centred(one) for one in part])), begin))
            owners.append(number)
    return np.stack(rows), np.array(owners)


def _centred(gap_T: Floats) -> Floats:
    known = gap_T[np.isfinite(gap_T)]
    return gap_T - np.median(known) if known.size else gap_T
