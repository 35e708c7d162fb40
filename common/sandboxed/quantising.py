"""A graph in int8: ranges from calibration rows, and the verdict on what it costs in accuracy (side: sandbox).

N rows, X shape of an input row, A classes. Calibrated here and not by NNCF: that needs OpenVINO's Python and a dozen
packages beside it, where a sandbox of trusted code holds four libraries; and all that it would do for a checked graph
is what stands here, ranges of activations and FakeQuantize before what multiplies.

Rows and labels are an owner's data: what comes out, ranges and the verdict, is derived from them and belongs to the
sealed model.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from common.sandboxed.engine_choice import BATCH, CHECKED_ROWS, is_independent, random_rows
from common.sandboxed.engine_report import EngineKind
from common.sandboxed.engines import Answers, EagerEngine, Engine, Graph, RowByRow
from common.sandboxed.openvino_engine import OpenVinoEngine
from common.sandboxed.openvino_graph import LEAST_RANGE, Ranges, quantised_values

DROP_POINTS: Final = 0.5
"""Most loss of top-1 accuracy on held-out rows, in percent points."""

CALIBRATION_BATCH: Final = 64
_SIGNED_STEPS: Final = 127  # above zero; 128 below


@dataclass(frozen=True)
class Int8Verdict:
    """Top-1 accuracy on held-out rows, in percent, and whether int8 is kept."""

    reference_percent: float
    int8_percent: float
    kept: bool

    @property
    def drop_points(self) -> float:
        """What int8 costs; negative where it gains."""
        return self.reference_percent - self.int8_percent


def calibrate(graph: Graph, eager: EagerEngine, rows_NX: NDArray[Any]) -> Ranges:
    """Range of each value that int8 needs one of: the mean over rows of the row's lowest and highest.

    One outlier among the rows does not widen it (NNCF's MEAN_MINMAX). Zero is in each range and on a step, as padding
    must stay zero: a value that is never negative begins at zero, another is symmetric.
    """
    wanted = set(quantised_values(graph))
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in wanted}
    for begin in range(0, len(rows_NX), CALIBRATION_BATCH):
        batch = torch.from_numpy(np.array(rows_NX[begin : begin + CALIBRATION_BATCH]))
        with torch.inference_mode():
            for name, value in eager.model.computed(batch):
                if name in wanted:
                    flat = value.reshape(len(batch), -1)
                    found[name].append(torch.stack([flat.amin(1), flat.amax(1)], 1).numpy())
    return {name: _range(*np.concatenate(ends).mean(axis=0)) for name, ends in found.items()}


def _range(low: float, high: float) -> tuple[float, float]:
    if low >= 0:
        return 0.0, max(float(high), LEAST_RANGE)
    step = max(-low / (_SIGNED_STEPS + 1), high / _SIGNED_STEPS, LEAST_RANGE)
    return float(-step * (_SIGNED_STEPS + 1)), float(step * _SIGNED_STEPS)


def top1_percent(answers_NA: Answers, labels_N: NDArray[Any]) -> float:
    """Share of rows whose highest answer is the label's."""
    return float(100 * np.mean(answers_NA.argmax(axis=1) == labels_N))


def judge(reference_NA: Answers, int8_NA: Answers, labels_N: NDArray[Any], most_points: float) -> Int8Verdict:
    """Kept if it costs at most `most_points` and every answer is finite."""
    wanted, seen = top1_percent(reference_NA, labels_N), top1_percent(int8_NA, labels_N)
    return Int8Verdict(wanted, seen, bool(wanted - seen <= most_points and np.isfinite(int8_NA).all()))


def int8_engine(
    graph: Graph,
    state_P: NDArray[np.float32],
    calibration_NX: NDArray[Any],
    held_out: tuple[NDArray[Any], NDArray[Any]],
    *,
    most_points: float = DROP_POINTS,
    threads: int = 1,
) -> tuple[Engine | None, Int8Verdict]:
    """The engine, or None where it costs too much or mixes rows, and the verdict. `held_out`: rows and labels.

    Raises what `OpenVinoEngine` raises, and `ValueError` without rows.
    """
    held_out_NX, labels_N = held_out
    if not len(calibration_NX) or not len(labels_N):
        raise ValueError("no rows to calibrate with, or to judge by")
    eager = EagerEngine(graph, state_P)
    ranges = calibrate(graph, eager, calibration_NX)
    engine = OpenVinoEngine(EngineKind.OPENVINO_INT8, graph, state_P, threads=threads, ranges=ranges)
    wanted, seen = (np.concatenate([one.answer(part) for part in _parts(held_out_NX)]) for one in (eager, engine))
    verdict = judge(wanted, seen, labels_N, most_points)
    rows = random_rows(graph, CHECKED_ROWS)
    apart = is_independent(engine, graph, rows, RowByRow(engine).answer(rows), BATCH)
    return (engine if verdict.kept and apart else None), verdict


def _parts(rows_NX: NDArray[Any]) -> list[NDArray[Any]]:
    return [rows_NX[begin : begin + CALIBRATION_BATCH] for begin in range(0, len(rows_NX), CALIBRATION_BATCH)]
