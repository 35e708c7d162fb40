"""common/sandboxed/quantising: int8 is close to the reference, and is not kept where it costs too much."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bench.resnet_graphs import small_resnet
from common.sandboxed.engine_choice import APART_TOLERANCES, difference
from common.sandboxed.engine_report import EngineKind
from common.sandboxed.engines import EagerEngine
from common.sandboxed.graph_model import GraphModel
from common.sandboxed.model_state import flatten_state
from common.sandboxed.openvino_engine import OpenVinoEngine, computes_in
from common.sandboxed.openvino_graph import quantised_values
from common.sandboxed.quantising import calibrate, int8_engine, judge

DOCUMENT = small_resnet(16, (8, 16), 1)


def images(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Ten patterns of squares under noise, and which of them each is."""
    patterns = np.random.default_rng(0).integers(64, 192, (10, 3, 4, 4)).repeat(4, axis=2).repeat(4, axis=3)
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 10, count)
    return (patterns[labels] + draw.integers(-40, 41, (count, 3, 16, 16))).astype(np.uint8), labels


def trained_state() -> NDArray[np.float32]:
    """Trained for a second: random weights tell nothing of int8, which is as coarse as their differences."""
    torch.manual_seed(1)
    model = GraphModel(DOCUMENT)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(60):
        rows, labels = (torch.from_numpy(one) for one in images(32, 100 + step))
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(rows), labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return flatten_state(model)


STATE_P = trained_state()
EAGER = EagerEngine(DOCUMENT, STATE_P)


def test_ranges_hold_zero_on_a_step_and_what_is_usual() -> None:
    ranges = calibrate(DOCUMENT, EAGER, images(8, 1)[0])
    assert ranges.keys() == set(quantised_values(DOCUMENT))
    for name, (low, high) in ranges.items():
        if name.endswith("relu") or name == "mean":
            assert low == 0.0 < high
        else:
            assert -low / high == pytest.approx(128 / 127)
    assert 1.5 < ranges["pixels"][1] < 3.0


@pytest.mark.skipif(not computes_in(EngineKind.OPENVINO_INT8), reason="this processor has no units for int8")
def test_int8_is_kept_where_it_agrees() -> None:
    rows, labels = images(512, 2)
    engine, verdict = int8_engine(DOCUMENT, STATE_P, images(64, 3)[0], (rows, labels), most_points=1.0)
    assert verdict.reference_percent > 90.0
    assert verdict.kept
    assert engine is not None
    alone = np.concatenate([engine.answer(rows[at : at + 1]) for at in range(4)])
    assert difference(engine.answer(rows)[:4], alone) <= APART_TOLERANCES[EngineKind.OPENVINO_INT8]


def test_int8_that_costs_too_much_is_not_kept() -> None:
    rows, labels = images(16, 4)
    grey = np.full_like(rows, 115)  # the mean of all pixels: ranges of nearly nothing
    engine, verdict = int8_engine(DOCUMENT, STATE_P, grey, (rows, labels), most_points=0.5)
    assert (engine, verdict.kept) == (None, False)
    assert verdict.drop_points > 0.5


@pytest.mark.parametrize(
    ("int8", "most", "kept"),
    [
        ([[0, 1], [1, 0], [1, 0], [1, 0]], 25.0, True),
        ([[0, 1], [1, 0], [1, 0], [1, 0]], 24.9, False),
        ([[1, 0], [1, 0], [1, 0], [1, np.nan]], 100.0, False),
    ],
)
def test_the_bound_is_in_points_of_top_1(int8: list[Any], most: float, kept: bool) -> None:
    reference = np.array([[1, 0]] * 4, np.float32)
    verdict = judge(reference, np.array(int8, np.float32), np.zeros(4, np.int64), most)
    assert verdict.reference_percent == 100.0
    assert verdict.kept is kept


def test_without_rows_there_is_nothing_to_judge_by() -> None:
    with pytest.raises(ValueError, match="no rows"):
        int8_engine(DOCUMENT, STATE_P, images(1, 0)[0][:0], images(1, 0))


def test_a_channel_of_zeros_and_int8_itself_compile() -> None:
    state_P = STATE_P.copy()
    state_P[:27] = 0.0
    ranges = calibrate(DOCUMENT, EagerEngine(DOCUMENT, state_P), images(4, 0)[0])
    engine = OpenVinoEngine(EngineKind.OPENVINO_INT8, DOCUMENT, state_P, ranges=ranges)
    assert np.isfinite(engine.answer(images(2, 1)[0])).all()
