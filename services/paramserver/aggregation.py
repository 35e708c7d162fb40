"""The outer optimiser: what a round's deltas do to the state (side: enclave).

P parameters. Each delta is a member's local change from the round's state; their mean, weighted by the rows that each
member has, is the negative of DiLoCo's outer gradient (arXiv 2311.08105, algorithm 1). With momentum m and learning
rate r:

    velocity = m velocity + mean        state = state + r (mean + m velocity)        (Nesterov, as in torch.optim.SGD)

m = 0, r = 1 is plain averaging, which buffers of the state get in any case: with momentum a running variance could
become negative. Deltas are summed in the order of their slots, so the result does not depend on which
came first. Sums are float64 for the weights alone; values stay float32. A delta of a design that has stopped takes part
in the round and changes nothing.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from common.errors import FormatError
from common.exchange.payloads import STOPPED, Buffer, Figures, StateP, decode_delta
from common.refused_calls import NONE_REFUSED, RefusedCalls


@dataclass(frozen=True)
class RoundResult:
    """A closed round: the new state, the mean loss over rows, who took part and whose delta was no valid one.

    `stopped`: those of the contributors whose design has ended the training. `refused`: what all of them say of calls
    that their code was refused. `rows`: how many each of them has, `chunks`: how many of its data it has asked for.
    """

    state_P: StateP
    loss: float | None
    contributors: tuple[int, ...]
    invalid: tuple[int, ...]
    stopped: tuple[int, ...] = ()
    refused: RefusedCalls = NONE_REFUSED
    rows: Mapping[int, int] = field(default_factory=dict)
    chunks: Mapping[int, int] = field(default_factory=dict)


class OuterOptimiser:
    """Holds the velocity of one job, which never changes in place; `velocity_P` is that of an earlier launch."""

    def __init__(
        self, state_class: int, learning_rate: float, momentum: float, velocity_P: StateP | None = None
    ) -> None:
        self._rate, self._momentum = np.float32(learning_rate), np.float32(momentum)
        self._factors: tuple[StateP | np.float32, StateP | np.float32] = self._rate, self._momentum
        self.velocity_P: StateP = np.zeros(state_class, np.float32) if velocity_P is None else velocity_P

    def average(self, buffers: Sequence[slice]) -> None:
        """These parts of the state are averaged, whatever rate and momentum say of the rest."""
        self._factors = self._rate, self._momentum
        if not buffers or (self._rate == 1 and self._momentum == 0):
            return
        rate_P, momentum_P = (np.full_like(self.velocity_P, one) for one in (self._rate, self._momentum))
        for part in buffers:
            rate_P[part], momentum_P[part] = 1.0, 0.0
        self._factors = rate_P, momentum_P

    def close_round(self, state_P: StateP, payloads: Mapping[int, Buffer], least: int = 1) -> RoundResult:
        """Apply the DELTA payloads of a round, by slot. If fewer than `least` are valid, nothing of them is.

        Then the state stays as it is, and nobody took part. A delta that is not finite or trained on no rows is
        invalid; so are all, if they make the state not finite.
        """
        valid: dict[int, tuple[StateP, Figures]] = {}
        for slot in sorted(payloads):
            try:
                delta_P, figures = decode_delta(payloads[slot], state_P.size)
            except FormatError:
                continue
            if figures.rows > 0:
                valid[slot] = (delta_P, figures)
        if len(valid) < least:
            return RoundResult(state_P, None, (), tuple(sorted(payloads.keys() - valid.keys())))
        stopped = tuple(slot for slot, (_, figures) in valid.items() if figures.code == STOPPED)
        learning = {slot: one for slot, one in valid.items() if slot not in stopped}
        moved_P = self._step(state_P, learning) if learning else state_P
        if not np.isfinite(moved_P).all():
            valid, stopped, moved_P = {}, (), state_P
            self.velocity_P = np.zeros_like(state_P)
        return RoundResult(
            moved_P,
            mean_loss([figures for _, figures in valid.values()]),
            tuple(valid),
            tuple(sorted(payloads.keys() - valid.keys())),
            stopped,
            functools.reduce(RefusedCalls.joined, (figures.refused for _, figures in valid.values()), NONE_REFUSED),
            {slot: figures.rows for slot, (_, figures) in valid.items()},
            {slot: figures.chunks for slot, (_, figures) in valid.items()},
        )

    def _step(self, state_P: StateP, valid: Mapping[int, tuple[StateP, Figures]]) -> StateP:
        rows = sum(figures.rows for _, figures in valid.values())
        mean_P = np.zeros_like(state_P)
        with np.errstate(over="ignore", invalid="ignore"):
            for delta_P, figures in valid.values():
                mean_P += delta_P * np.float32(figures.rows / rows)
            rate, momentum = self._factors
            self.velocity_P = momentum * self.velocity_P + mean_P
            moved_P = state_P + rate * (mean_P + momentum * self.velocity_P)
        return moved_P.astype(np.float32, copy=False)


def mean_loss(figures: list[Figures]) -> float | None:
    """Mean over the rows of those that tell a loss."""
    told = [(one.loss, one.rows) for one in figures if one.loss is not None and one.rows > 0]
    rows = sum(count for _, count in told)
    return sum(loss * count for loss, count in told) / rows if rows else None
