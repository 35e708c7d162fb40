"""How well can held-out classifiers tell the sides apart? (side: owner)

J jobs, U units (jobs or windows of them), P pairs. *Advantage*: 2 x accuracy - 1 on jobs that the classifier was not
trained with, below 0 where it is worse than a coin.

A classifier learns from the jobs that were played before those that it is asked about, as a host would: the first
`LEARNED_ONLY` of the pairs are never asked about, the others in `STEPS` parts, each after training on all before it.
So where there is nothing to be told every answer is a coin's, whatever the ones before it were, and the interval is as
wide as it must be. In a cross-validation each part is trained on and asked about, and answers hang together: of 100
intervals at 95 % as few as 85 held. In each step the classifier is trained `repeats` times on `SUBSET` of the pairs,
and what counts is how often a unit was told right: with one training chance would do more.

The interval is a bootstrap over pairs, each drawn with both jobs and all their windows (a block bootstrap). Jobs of a
pair run one after the other and are alike in what the machine did meanwhile, so they are not two draws: a classifier
that goes by the machine is right about one of them and wrong about the other.

Nothing is chosen by what comes out. Which classifiers there are, with which settings, is fixed here; a run is refused
if any one of them may be above the bound, so that there are several makes none of them look better (an
intersection-union test: each interval stands at 95 %, and so does the verdict).
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.leak_series import Floats, Jobs, windows_of

LEARNED_ONLY: Final = 0.25
STEPS: Final = 6
SUBSET: Final = 0.8
BOOTSTRAPS: Final = 2000

JOB_REPEATS: Final = 8
NETWORK_REPEATS: Final = 3
"""Of the network, which takes a minute to train where trees take a second. Windows are many, and take one."""

Labels = NDArray[np.int64]
Shares = NDArray[np.floating[Any]]

Predict = Callable[[Floats, Labels, Floats], Floats]
"""From training inputs, their labels and test inputs to the probability of label 1."""


@dataclass(frozen=True)
class Advantage:
    """2 x balanced accuracy - 1, with the ends of its 95 % interval, of so many units in so many jobs, all held out."""

    estimate: float
    low: float
    high: float
    units: int
    jobs: int

    @property
    def listed(self) -> list[float]:
        """For a file of figures."""
        return [round(self.estimate, 4), round(self.low, 4), round(self.high, 4)]


def advantage(right_U: Shares, secret_U: Labels, job_U: Labels, pair_J: Labels, seed: int = 0) -> Advantage:
    """Of units U, each of one job, that were told right so often (0 to 1; NaN: not asked); pairs are drawn, each with
    all its units.
    """
    asked = np.isfinite(right_U)
    right_U, secret_U, job_U = right_U[asked], secret_U[asked], job_U[asked]
    pair_U = np.unique(pair_J[job_U], return_inverse=True)[1]
    pairs = int(pair_U.max()) + 1
    hits = np.stack([np.bincount(pair_U[secret_U == side], right_U[secret_U == side], pairs) for side in (0, 1)])
    units = np.stack([np.bincount(pair_U[secret_U == side], minlength=pairs) for side in (0, 1)])
    weights = np.random.default_rng(seed).multinomial(pairs, np.full(pairs, 1 / pairs), BOOTSTRAPS)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = 2 * ((weights @ hits.T) / (weights @ units.T)).mean(axis=1) - 1
        estimate = 2 * float((hits.sum(axis=1) / units.sum(axis=1)).mean()) - 1
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Advantage(estimate, float(low), float(high), int(right_U.size), int(np.unique(job_U).size))


@dataclass(frozen=True)
class Step:
    """Numbers of the pairs that a classifier learns from, and of those that it is asked about then."""

    learned: Labels
    asked: Labels


def steps_of(pair_J: Labels) -> list[Step]:
    """In the order in which they were played."""
    pairs = np.unique(pair_J)
    first = max(1, round(LEARNED_ONLY * pairs.size))
    ends = np.linspace(first, pairs.size, STEPS + 1).round().astype(int)
    return [Step(pairs[:begin], pairs[begin:end]) for begin, end in itertools.pairwise(ends) if end > begin]


def told_right(
    predict: Predict, inputs_U: Floats, label_U: Labels, job_U: Labels, pair_J: Labels, repeats: int = 1
) -> Floats:
    """How often a classifier that has learned from earlier pairs tells a unit's side [U]: 0 to 1; NaN: not asked."""
    right_U, pair_U, draw = np.full(label_U.size, np.nan), pair_J[job_U], np.random.default_rng(0)
    for step in steps_of(pair_J):
        asked = np.isin(pair_U, step.asked)
        right = np.zeros(int(asked.sum()))
        for _ in range(repeats):
            learned = step.learned
            if repeats > 1:
                learned = draw.choice(learned, max(1, round(SUBSET * learned.size)), replace=False)
            known = np.isin(pair_U, learned)
            right += (predict(inputs_U[known], label_U[known], inputs_U[asked]) > 0.5) == (label_U[asked] == 1)
        right_U[asked] = right / repeats
    return right_U


def held_out(
    predict: Predict, inputs_U: Floats, label_U: Labels, job_U: Labels, pair_J: Labels, repeats: int = 1
) -> Advantage:
    """The advantage of a classifier over units U, each of one job."""
    return advantage(told_right(predict, inputs_U, label_U, job_U, pair_J, repeats), label_U, job_U, pair_J)


def by_trees(inputs: Floats, labels: Labels, asked: Floats) -> Floats:
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


def by_network(inputs: Floats, labels: Labels, asked: Floats) -> Floats:
    """A small convolutional network over time, on [units, C, T]."""
    from bench.leak_network import predict

    return predict(inputs, labels, asked)


def advantages_of_jobs(jobs: Jobs) -> dict[str, Advantage]:
    """Of each named classifier."""
    return {
        "boosted trees": of_trees(jobs, jobs.summaries()),
        "network": held_out(
            by_network, jobs.drift_JCT, jobs.secret_J, jobs.numbers, jobs.pair_J, repeats=NETWORK_REPEATS
        ),
    }


def of_trees(jobs: Jobs, inputs_JF: Floats) -> Advantage:
    """Of boosted trees on features of jobs."""
    return held_out(by_trees, inputs_JF, jobs.secret_J, jobs.numbers, jobs.pair_J, JOB_REPEATS)


def advantage_of_windows(jobs: Jobs) -> Advantage:
    """Of boosted trees on windows."""
    inputs_U, job_U = windows_of(jobs)
    return held_out(by_trees, inputs_U, jobs.secret_J[job_U], job_U, jobs.pair_J)


def advantages_of_usage(jobs: Jobs) -> dict[str, Advantage]:
    """What the open channels tell: boosted trees on CPU time, memory and page faults of each process."""
    return {
        who: held_out(by_trees, used, jobs.secret_J, jobs.numbers, jobs.pair_J)
        for who, used in jobs.usage.items()
        if np.isfinite(used).any()
    }
