"""How much of a model's scores an answer tells: all, or what rounding and cutting leave (side: enclave).

In this order, in trusted code, for each row:
  (1) the label is the place of the largest score; what is no number counts as the least;
  (2) where decimals are bounded, scores become confidences: a row of numbers from 0 to 1 whose sum is 1 (to 0.001)
      stands as it is, any other goes through softmax; then they are rounded;
  (3) where the number of scores is bounded, the largest of *these* are told, the label's first, of equal ones the first
      ones; the others read 0, or unrounded the least value of the type.
So a tighter bound tells a function of what a wider one would have told, which was charged (common/leakage). Rounding
knows no integers: a model that answers in them tells the label alone where decimals are bounded.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.messages.answer_bounds import AnswerBounds
from common.messages.query import QueryProfile
from common.messages.query_tensors import encode_answer, encode_told, labels_of

SUM_TOLERANCE: Final = 1e-3
"""Softmax in half precision, summed up, is that far from 1."""

_MOST: Final = float(np.finfo(np.float64).max) / 4


def tell(
    scores_NA: NDArray[np.generic], answers_left: int, detail: str, bounds: AnswerBounds, profile: QueryProfile
) -> bytes:
    """The padded outcome of an answered question, as far as `detail` and `bounds` let it tell."""
    by_label = detail == "label" or (bounds.decimals is not None and scores_NA.dtype.kind != "f")
    if by_label or (bounds.top is None and bounds.decimals is None):
        return encode_answer(scores_NA, answers_left, "label" if by_label else "scores", profile)
    flat_NC = _numbers(scores_NA.reshape(len(scores_NA), -1))
    labels_N = labels_of(flat_NC)  # (1)
    if bounds.decimals is not None:
        flat_NC = np.round(_confidences(flat_NC), bounds.decimals).astype(scores_NA.dtype)  # (2)
    if bounds.top is not None and bounds.top < flat_NC.shape[1]:
        flat_NC = _largest(flat_NC, labels_N, bounds.top, 0 if bounds.decimals is not None else _least(flat_NC))  # (3)
    return encode_told(labels_N, flat_NC.reshape(scores_NA.shape), answers_left, profile)


def _numbers(scores_NC: NDArray[np.generic]) -> NDArray[np.generic]:
    if scores_NC.dtype.kind != "f":
        return scores_NC
    return np.where(np.isnan(scores_NC), _least(scores_NC), scores_NC)


def _least(scores_NC: NDArray[np.generic]) -> float | int:
    if scores_NC.dtype.kind == "f":
        return -np.inf
    return 0 if scores_NC.dtype.kind == "b" else int(np.iinfo(scores_NC.dtype.name).min)


def _confidences(scores_NC: NDArray[np.generic]) -> NDArray[np.float64]:
    """Of each row; infinities are the largest numbers that there are."""
    raw_NC = np.nan_to_num(scores_NC.astype(np.float64), posinf=_MOST, neginf=-_MOST)
    exp_NC = np.exp(raw_NC - raw_NC.max(axis=1, keepdims=True))
    soft_NC = exp_NC / exp_NC.sum(axis=1, keepdims=True)
    sums_N1 = np.clip(raw_NC, -1, 2).sum(axis=1, keepdims=True)
    within_N1 = ((raw_NC >= 0) & (raw_NC <= 1)).all(axis=1, keepdims=True)
    return np.where(within_N1 & (np.abs(sums_N1 - 1) <= SUM_TOLERANCE), raw_NC, soft_NC)


def _largest(
    flat_NC: NDArray[np.generic], labels_N: NDArray[np.uint32], top: int, untold: float
) -> NDArray[np.generic]:
    rank_NC = np.argsort(-flat_NC.astype(np.float64), axis=1, kind="stable")
    first_NC = rank_NC == labels_N[:, None]
    order_NC = np.take_along_axis(rank_NC, np.argsort(~first_NC, axis=1, kind="stable"), axis=1)[:, :top]
    told_NC = np.full_like(flat_NC, untold)
    np.put_along_axis(told_NC, order_NC, np.take_along_axis(flat_NC, order_NC, axis=1), axis=1)
    return told_NC
