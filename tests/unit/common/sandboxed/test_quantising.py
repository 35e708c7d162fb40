"""common/sandboxed/quantising: int8 is close to the reference; what it costs is said of enough rows or not at all."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bench.resnet_graphs import small_resnet
from common.sandboxed.engine_choice import APART_TOLERANCES, choose_engine, difference
from common.sandboxed.engine_report import EngineKind, Precision, Reason
from common.sandboxed.engines import EagerEngine
from common.sandboxed.graph_model import INPUT, GraphModel
from common.sandboxed.model_state import flatten_state
from common.sandboxed.openvino_engine import OpenVinoEngine, computes_in
from common.sandboxed.openvino_graph import ranged_values
from common.sandboxed.quantised_layout import Finding
from common.sandboxed.quantising import calibrate, is_right, quantise

DOCUMENT = small_resnet(16, (8, 16), 1)
SECONDS = 60.0


def images(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Ten patterns of squares under noise, and which of them each is."""
    patterns = np.random.default_rng(0).integers(64, 192, (10, 3, 4, 4)).repeat(4, axis=2).repeat(4, axis=3)
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 10, count)
    return (patterns[labels] + draw.integers(-40, 41, (count, 3, 16, 16))).astype(np.uint8), labels


def in_greys(
    greys: int, labelled: tuple[NDArray[np.uint8], NDArray[np.int64]]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The same in so many greys, from zero on."""
    rows, labels = labelled
    return rows // np.uint8(256 // greys), labels


def trained_state(greys: int = 256) -> NDArray[np.float32]:
    """Trained for a second: random weights tell nothing of int8, which is as coarse as their differences."""
    torch.manual_seed(1)
    model = GraphModel(DOCUMENT)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(60):
        rows, labels = (torch.from_numpy(one) for one in in_greys(greys, images(32, 100 + step)))
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(rows), labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return flatten_state(model)


STATE_P = trained_state()
EAGER = EagerEngine(DOCUMENT, STATE_P)


def test_ranges_hold_zero_on_a_step_and_what_is_usual() -> None:
    ranges = calibrate(DOCUMENT, EAGER, images(8, 1)[0])
    assert list(ranges) == ranged_values(DOCUMENT)
    for name, (low, high) in ranges.items():
        if name.endswith("relu") or name in ("mean", INPUT):
            assert low == 0.0 < high
        else:
            assert -low / high == pytest.approx(128 / 127)
    assert 1.5 < ranges["pixels"][1] < 3.0


WITH_UNITS = pytest.mark.skipif(
    not computes_in(EngineKind.OPENVINO_INT8), reason="this processor has no units for int8"
)


@WITH_UNITS
def test_int8_agrees_on_rows_that_are_like_those_it_was_calibrated_with() -> None:
    found = quantise(DOCUMENT, STATE_P, images(64, 3)[0], images(512, 2), SECONDS)
    assert (found.finding, found.rows) == (Finding.JUDGED, 512)
    assert found.float32_percent > 90.0
    assert found.float32_percent - found.int8_percent <= 1.0
    assert found.ranges_V2 is not None
    engine, report = choose_engine(DOCUMENT, STATE_P, Precision.INT8, tuple(map(tuple, found.ranges_V2.tolist())))
    assert (engine.kind, report.kind, report.reason) == (*[EngineKind.OPENVINO_INT8] * 2, Reason.MEASURED)
    rows = images(4, 5)[0]
    alone = np.concatenate([engine.answer(rows[at : at + 1]) for at in range(4)])
    assert difference(engine.answer(rows), alone) <= APART_TOLERANCES[EngineKind.OPENVINO_INT8]


@WITH_UNITS
def test_rows_that_use_little_of_their_type_are_like_those_that_use_all() -> None:
    """As images of 16 greys in bytes: random bytes are far beyond what the model was made for."""
    state_P, calibrating = trained_state(16), in_greys(16, images(64, 3))[0]
    found = quantise(DOCUMENT, state_P, calibrating, in_greys(16, images(512, 2)), SECONDS)
    assert found.finding is Finding.JUDGED
    assert found.ranges_V2 is not None
    assert found.ranges_V2[0, 1] < 16
    ranges = tuple(map(tuple, found.ranges_V2.tolist()))
    assert choose_engine(DOCUMENT, state_P, Precision.INT8, ranges)[0].kind is EngineKind.OPENVINO_INT8


@WITH_UNITS
def test_int8_with_ranges_of_nothing_is_another_model() -> None:
    grey = np.full((64, 3, 16, 16), 115, np.uint8)  # the mean of all pixels
    assert quantise(DOCUMENT, STATE_P, grey, images(128, 4), SECONDS).finding is Finding.DISAGREES


def test_what_is_judged_are_rows_whose_highest_score_is_their_class() -> None:
    answers = np.array([[1, 0], [0, 1], [2, 0], [1, np.nan]], np.float32)
    assert is_right(answers, np.array([0, 0, 0, 0])).tolist() == [True, False, True, False]


@pytest.mark.parametrize(("calibrating", "judged", "finding"), [(64, 99, Finding.FEW_ROWS), (0, 200, Finding.FEW_ROWS)])
def test_few_rows_are_no_judgement(calibrating: int, judged: int, finding: Finding) -> None:
    found = quantise(DOCUMENT, STATE_P, images(64, 1)[0][:calibrating], images(judged, 2), SECONDS)
    assert found.finding is finding


@pytest.mark.parametrize("labels", [np.zeros(200, np.float32), np.zeros((200, 2), np.int64)])
def test_labels_that_are_no_classes_are_no_judgement(labels: NDArray[Any]) -> None:
    found = quantise(DOCUMENT, STATE_P, images(8, 1)[0], (images(200, 2)[0], labels), SECONDS)
    assert found.finding is Finding.NO_CLASSES


@WITH_UNITS
def test_as_many_rows_are_judged_as_there_is_time_for() -> None:
    assert quantise(DOCUMENT, STATE_P, images(64, 3)[0], images(512, 2), 0.0).finding is Finding.LATE


def test_a_channel_of_zeros_and_int8_itself_compile() -> None:
    state_P = STATE_P.copy()
    state_P[:27] = 0.0
    ranges = calibrate(DOCUMENT, EagerEngine(DOCUMENT, state_P), images(4, 0)[0])
    engine = OpenVinoEngine(EngineKind.OPENVINO_INT8, DOCUMENT, state_P, ranges=ranges)
    assert np.isfinite(engine.answer(images(2, 1)[0])).all()
