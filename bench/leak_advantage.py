"""How well can held-out classifiers tell the sides apart? (side: owner)

J jobs, U units (jobs or windows of them). *Advantage*: 2 x accuracy - 1 on jobs that the classifier was not trained
with; pairs stay together in one of `FOLDS` folds, so classes are balanced, and each job is held out once. Its interval
is a bootstrap over jobs; where windows of a job are what is classified, whole jobs are drawn with all their windows (a
block bootstrap).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.leak_series import Floats, Jobs, windows_of

FOLDS: Final = 5
BOOTSTRAPS: Final = 2000

Predict = Callable[[Floats, NDArray[np.int64], Floats], Floats]
"""From training inputs, their labels and test inputs to the probability of label 1."""


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
