"""A job that orders int8, in real time: what was found is sealed with the model and told to the owner, in one size."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.door_objects import DoorObjects
from common.exchange.steering import pad_design
from common.messages.objects import ModelManifest
from common.messages.order import AnswerTerms
from common.messages.policy import Int8Told
from common.model_file import decode_int8, decode_model
from common.sandboxed.quantised_layout import Finding, Findings
from common.sealed_object import ObjectKind
from tests.fakes.exported_graphs import linear_graph
from tests.fakes.in_memory_job import FEATURES, make_schedule
from tests.fakes.training_world import FixedFindings, TrainingWorld, WorldDoor, small_bundle

pytestmark = pytest.mark.timeout(180)

JUDGED = Findings(Finding.JUDGED, 200, 90.0, 89.0, np.array([[0.0, 1.0]], np.float32))
GRAPH = pad_design(json.dumps(linear_graph(small_bundle().manifest)).encode())
SCHEDULE = make_schedule(tick_milliseconds=20, rounds=3, warmup_ticks=40, reads_per_tick=2, quantising_ticks=120)


class Case:
    """One job, and what came of it."""

    def __init__(self, directory: Path, most: float = 1.0, **fields: Any) -> None:
        answers = AnswerTerms(lowest="int8", most_drop_points=most, held_out_percent=20)
        self.world = TrainingWorld(
            directory, SCHEDULE, answers=answers, quantiser=FixedFindings(JUDGED), **{"exported": GRAPH} | fields
        )
        ended = self.world.run()
        assert (ended.outcome, ended.code) == ("finished", None)
        assert ended.manifest is not None
        self.manifest = ModelManifest.decode(ended.manifest.payload)
        objects, model = DoorObjects(WorldDoor(self.world)), self.world.keys["model"]
        self.payload = objects.load(self.manifest.object, model, ObjectKind.MODEL)
        self.state_P, _ = decode_model(self.payload, self.world.bundle.manifest)

    @property
    def told(self) -> Int8Told | None:
        return self.world.read_reports()[-1].int8

    @property
    def sealed(self) -> Findings | None:
        return decode_int8(self.payload, self.world.bundle.manifest)


def test_int8_is_kept_with_the_model_that_it_was_judged_of(tmp_path: Path) -> None:
    case = Case(tmp_path)
    assert case.told is not None
    assert (case.told.kept, case.told.finding, case.told.int8_percent) == (True, "judged", 89.0)
    assert case.sealed is not None
    assert case.sealed.encode() == JUDGED.encode()
    assert case.manifest.answers_in == "int8"
    ((state_P, rows, calibrating),) = case.world.quantiser.asked
    np.testing.assert_array_equal(state_P, case.state_P)
    assert rows["x"].shape[1] == FEATURES
    assert 0 < calibrating < len(rows["x"]) == len(rows["y"])


def test_int8_that_costs_more_than_the_owner_allows_is_not_kept_and_no_size_tells(tmp_path: Path) -> None:
    kept, not_kept = Case(tmp_path / "kept"), Case(tmp_path / "not", most=0.5)
    assert not_kept.told is not None
    assert (not_kept.told.kept, not_kept.told.finding, not_kept.told.float32_percent) == (False, "judged", 90.0)
    assert not_kept.sealed is not None
    assert not_kept.sealed.encode() == Findings(Finding.NOTHING).encode()
    assert len(kept.payload) == len(not_kept.payload)
    assert kept.manifest.object.chunk_count == not_kept.manifest.object.chunk_count
    assert len({len(one.sealed) for case in (kept, not_kept) for one in case.world.reports}) == 1


@pytest.mark.parametrize("exported", [None, pad_design(b'{"type": "model-graph"}')])
def test_code_without_a_valid_graph_is_answered_in_float32(exported: bytes | None, tmp_path: Path) -> None:
    """What a sandbox finds of a document that does not stand the checks counts for nothing."""
    case = Case(tmp_path, exported=exported)
    assert case.told is not None
    assert (case.told.kept, case.told.finding) == (False, "no_graph")
    assert case.sealed is not None
    assert case.sealed.finding is Finding.NOTHING
