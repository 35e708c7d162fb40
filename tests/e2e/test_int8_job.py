"""An order of int8 on real services: the owner reads whether it was kept, the host does not; users are answered
either way.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client import events as e
from client import granting, ordering, user
from client.context import Party
from client.digits import DigitsFiles
from client.scheduling import ScheduleWishes
from common.identifiers import ModelId
from common.messages.objects import ModelManifest
from common.messages.order import AnswerTerms
from common.messages.policy import JobReport
from common.messages.signed import Signed
from common.sandboxed.engine_report import EngineKind
from common.sandboxed.openvino_engine import computes_in
from tests.e2e.conftest import MakeParty, Published, Registered, came_late, follow

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

WISHES = ScheduleWishes(rounds=8, steps=30, batch=64, slack_percent=200, quantising_seconds=30)


def trained(registered: Registered, published: Published, answers: AnswerTerms) -> tuple[e.ModelSealed, JobReport]:
    """The model of a job with one trainer, and its last report; with more time where the machine was too busy."""
    for patience in (1, 3):
        seconds = patience * WISHES.quantising_seconds
        wishes = replace(WISHES, warmup_seconds=10 * patience, quantising_seconds=seconds)
        training = ordering.Training(
            registered.dataset.dataset_id, published.bundle.bundle_id, 1, wishes, answers=answers
        )
        told = follow(registered, e.outcome(ordering.train(registered.party, training), e.OrderAccepted).job_id)
        last = [one.report for one in told if isinstance(one, e.ReportOpened)][-1]
        if not came_late(told) and last.int8 is not None and last.int8.finding != "late":
            break
    assert isinstance(told[-1], e.ModelSealed), told[-1]
    return told[-1], last


def accuracy(registered: Registered, model: ModelId, asker: Party, digits: DigitsFiles, place: Path) -> float:
    """Of a user who is granted answers."""
    with np.load(digits.held_out) as held:
        image, label = held["image"][:128], held["label"][:128]
    key = asker.identity.signing_key.party
    e.outcome(granting.grant(registered.party, key, model, granting.GrantTerms(128), place), e.GrantSigned)
    answered = e.outcome(user.query(asker, Signed.decode(place.read_bytes()), image), e.Answered)
    assert answered.answered_by == "graph"
    return float(np.mean(np.array(answered.labels) == label))


@pytest.mark.skipif(not computes_in(EngineKind.OPENVINO_INT8), reason="this processor has no units for int8")
def test_int8_is_kept_and_answers(
    registered: Registered, published: Published, make_party: MakeParty, digits: DigitsFiles, tmp_path: Path
) -> None:
    terms = AnswerTerms(lowest="int8", most_drop_points=3.0, held_out_percent=15)
    model, last = trained(registered, published, terms)
    told = last.int8
    assert told is not None
    assert (told.kept, told.finding) == (True, "judged"), told
    assert told.rows >= 100
    assert told.float32_percent is not None
    assert told.float32_percent > 80.0
    signed = registered.party.document("models", model.model_id)
    assert signed is not None
    assert ModelManifest.decode(signed.payload).answers_in == "int8"
    assert accuracy(registered, model.model_id, make_party("user"), digits, tmp_path / "grant.json") > 0.8


def test_int8_that_cannot_be_judged_is_not_kept_and_float32_answers(
    registered: Registered, published: Published, make_party: MakeParty, digits: DigitsFiles, tmp_path: Path
) -> None:
    """One percent of these rows are too few."""
    model, last = trained(registered, published, AnswerTerms(lowest="int8", held_out_percent=1))
    assert last.int8 is not None
    assert (last.int8.kept, last.int8.finding) == (False, "few_rows")
    assert accuracy(registered, model.model_id, make_party("user"), digits, tmp_path / "grant.json") > 0.8
