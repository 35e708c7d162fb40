"""The outer optimiser: what a round's deltas do to the state (side: enclave).

P parameters. Each delta is a member's local change from the round's state; their mean, weighted by the rows that each
member has, is the negative of DiLoCo's outer gradient (arXiv 2311.08105, algorithm 1). With momentum m and learning
rate r:

    velocity = m velocity + mean        state = state + r (mean + m velocity)        (Nesterov, as in torch.optim.SGD)

m = 0, r = 1 is plain averaging. Deltas are summed in the order of their slots, so the result does not depend on which
came first. Sums are float64 for the weights alone; values stay float32. A delta of a design that has stopped takes part
in the round and changes nothing.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from common.errors import FormatError
from common.exchange.payloads import STOPPED, Figures, StateP, decode_delta
from common.refused_calls import NONE_REFUSED, RefusedCalls


@dataclass(frozen=True)
class RoundResult:
    """A closed round: the new state, the mean loss over rows, who took part and whose delta was no valid one.

    `stopped`: those of the contributors whose design has ended the training. `refused`: what all of them say of calls
    that their code was refused.
    """

    state_P: StateP
    loss: float | None
    contributors: tuple[int, ...]
    invalid: tuple[int, ...]
    stopped: tuple[int, ...] = ()
    refused: RefusedCalls = NONE_REFUSED


class OuterOptimiser:
    """Holds the velocity of one job, which never changes in place; `velocity_P` is that of an earlier launch."""

    def __init__(
        self, state_class: int, learning_rate: float, momentum: float, velocity_P: StateP | None = None
    ) -> None:
        self._rate, self._momentum = np.float32(learning_rate), np.float32(momentum)
        self.velocity_P: StateP = np.zeros(state_class, np.float32) if velocity_P is None else velocity_P

    def close_round(self, state_P: StateP, payloads: Mapping[int, bytes | bytearray]) -> RoundResult:
        """Apply the DELTA payloads of a round, by slot. If none is valid the state stays as it is.

        A delta that is not finite or trained on no rows is invalid; so are all, if they make the state not finite.
        """
        valid: dict[int, tuple[StateP, Figures]] = {}
        for slot in sorted(payloads):
            try:
                delta_P, figures = decode_delta(payloads[slot], state_P.size)
            except FormatError:
                continue
            if figures.rows > 0:
                valid[slot] = (delta_P, figures)
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
        )

    def _step(self, state_P: StateP, valid: Mapping[int, tuple[StateP, Figures]]) -> StateP:
        rows = sum(figures.rows for _, figures in valid.values())
        mean_P = np.zeros_like(state_P)
        with np.errstate(over="ignore", invalid="ignore"):
            for delta_P, figures in valid.values():
                mean_P += delta_P * np.float32(figures.rows / rows)
            self.velocity_P = self._momentum * self.velocity_P + mean_P
            moved_P = state_P + self._rate * (mean_P + self._momentum * self.velocity_P)
        return moved_P.astype(np.float32, copy=False)


def mean_loss(figures: list[Figures]) -> float | None:
    """Mean over the rows of those that tell a loss."""
    told = [(one.loss, one.rows) for one in figures if one.loss is not None and one.rows > 0]
    rows = sum(count for _, count in told)
    return sum(loss * count for loss, count in told) / rows if rows else None
