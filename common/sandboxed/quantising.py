"""A graph in int8: ranges from calibration rows, and what it costs in accuracy (side: sandbox).

N rows, X shape of an input row, A classes, V values that need a range. Calibrated here and not by NNCF: that needs
OpenVINO's Python and a dozen packages beside it, where a sandbox of trusted code holds four libraries; and all that it
would do for a checked graph is what stands here, ranges of activations and FakeQuantize before what multiplies.

Rows and labels are an owner's data: what comes out, ranges and accuracies, is derived from them and belongs to the
sealed model and its owner.
"""

import time
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from common.sandboxed.engine_choice import BATCH, CHECKED_ROWS, TOLERANCES, difference, is_independent, random_rows
from common.sandboxed.engine_report import EngineKind
from common.sandboxed.engines import Answers, EagerEngine, Engine, Graph, RowByRow
from common.sandboxed.graph_model import INPUT
from common.sandboxed.openvino_engine import OpenVinoEngine, computes_in
from common.sandboxed.openvino_graph import LEAST_RANGE, Ranges, UnsupportedGraphError, ranged_values
from common.sandboxed.quantised_layout import Finding, Findings

LEAST_JUDGED_ROWS: Final = 100
"""Of fewer, a row is more than a point."""

CALIBRATION_BATCH: Final = 64
_SIGNED_STEPS: Final = 127  # above zero; 128 below


def quantise(
    graph: Graph,
    state_P: NDArray[np.float32],
    calibration_NX: NDArray[Any],
    held_out: tuple[NDArray[Any], NDArray[Any]],
    seconds: float,
) -> Findings:
    """Ranges, and top-1 of float32 and int8 on as many rows of `held_out` (rows, labels) as `seconds` allow.

    The checks of engine_choice.py are made here, too: what is kept passes them wherever int8 is computed alike.

    Raises what torch and OpenVINO raise, out of memory above all.
    """
    deadline = time.monotonic() + seconds
    held_out_NX, labels_N = held_out
    if not is_classifier(labels_N):
        return Findings(Finding.NO_CLASSES)
    if not len(calibration_NX) or len(held_out_NX) < LEAST_JUDGED_ROWS:
        return Findings(Finding.FEW_ROWS)
    if not computes_in(EngineKind.OPENVINO_INT8):
        return Findings(Finding.ABSENT)
    eager = EagerEngine(graph, state_P)
    if eager.answer(held_out_NX[:1]).ndim != 2:  # more than a score of each class
        return Findings(Finding.NO_CLASSES)
    ranges = calibrate(graph, eager, calibration_NX)
    try:
        engine = OpenVinoEngine(EngineKind.OPENVINO_INT8, graph, state_P, ranges=ranges)
    except UnsupportedGraphError:
        return Findings(Finding.UNSUPPORTED)
    rows = random_rows(graph, CHECKED_ROWS, ranges[INPUT])
    alone, reference = (RowByRow(one).answer(rows) for one in (engine, eager))
    if difference(alone, reference) > TOLERANCES[engine.kind]:
        return Findings(Finding.DISAGREES)
    if not is_independent(engine, graph, rows, alone, BATCH):
        return Findings(Finding.MIXES)
    right = _right_answers((eager, engine), held_out_NX, labels_N, deadline)
    if len(right) < LEAST_JUDGED_ROWS:
        return Findings(Finding.LATE)
    float32, int8 = (100 * right.mean(axis=0)).tolist()
    return Findings(Finding.JUDGED, len(right), float32, int8, np.array(list(ranges.values()), np.float32))


def is_classifier(labels_N: NDArray[Any]) -> bool:
    """Whether labels are numbers of classes."""
    return labels_N.ndim == 1 and labels_N.dtype.kind in "iu"


def calibrate(graph: Graph, eager: EagerEngine, rows_NX: NDArray[Any]) -> Ranges:
    """Range of the input and of each value that int8 needs one of, in their order: mean over rows of the row's lowest
    and highest.

    One outlier among the rows does not widen it (NNCF's MEAN_MINMAX). Zero is in each range and on a step, as padding
    must stay zero: a value that is never negative begins at zero, another is symmetric.
    """
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in ranged_values(graph)}
    for begin in range(0, len(rows_NX), CALIBRATION_BATCH):
        batch = torch.from_numpy(np.array(rows_NX[begin : begin + CALIBRATION_BATCH]))
        with torch.inference_mode():
            for name, value in eager.model.computed(batch):
                if name in found:
                    flat = value.reshape(len(batch), -1)
                    found[name].append(torch.stack([flat.amin(1), flat.amax(1)], 1).numpy())
    return {name: _range(*np.concatenate(ends).mean(axis=0)) for name, ends in found.items()}


def _range(low: float, high: float) -> tuple[float, float]:
    """As float32 holds it: what is judged is what is sealed."""
    if low >= 0:
        return 0.0, float(np.float32(max(high, LEAST_RANGE)))
    step = np.float32(max(-low / (_SIGNED_STEPS + 1), high / _SIGNED_STEPS, LEAST_RANGE))
    return float(-step * (_SIGNED_STEPS + 1)), float(step * np.float32(_SIGNED_STEPS))


def _right_answers(
    engines: tuple[Engine, ...], rows_NX: NDArray[Any], labels_N: NDArray[Any], deadline: float
) -> NDArray[np.bool_]:
    """For each row that was asked in time, and each engine: whether its highest score is the label's."""
    right = [np.zeros((0, len(engines)), np.bool_)]
    for begin in range(0, len(rows_NX), CALIBRATION_BATCH):
        if time.monotonic() >= deadline:
            break
        part = slice(begin, begin + CALIBRATION_BATCH)
        right.append(np.stack([is_right(one.answer(rows_NX[part]), labels_N[part]) for one in engines], 1))
    return np.concatenate(right)


def is_right(answers_NA: Answers, labels_N: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether a row's highest answer is the label's; never where an answer is not finite."""
    right: NDArray[np.bool_] = (answers_NA.argmax(axis=1) == labels_N) & np.isfinite(answers_NA).all(axis=1)
    return right
