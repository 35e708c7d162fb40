"""Sealed data becomes a sealed model and sealed answers, through the public SDK on real services."""

from pathlib import Path

import numpy as np
import pytest

from client import events as e
from client import granting, user, verification
from client.demo import WISHES
from client.digits import DigitsFiles
from client.measuring import CODE_ROOT
from client.plain_training import train_plain_twin
from client.scheduling import host_view, plan_schedule
from common.messages.signed import Signed
from tests.e2e.conftest import MakeParty, Published, Registered, follow, labels_of, order

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_a_sealed_model_answers_as_well_as_a_plain_one(
    registered: Registered, published: Published, make_party: MakeParty, digits: DigitsFiles, tmp_path: Path
) -> None:
    plain = train_plain_twin(
        CODE_ROOT / "examples" / "providers" / "digits_cnn",
        digits.train,
        digits.held_out,
        steps=WISHES.rounds * WISHES.steps,
        batch=WISHES.batch * 2,
        seed=1,
    )
    job_id = order(registered, published, WISHES)
    told = follow(registered, job_id)
    model = told[-1]
    assert isinstance(model, e.ModelSealed)
    assert (model.outcome, model.rounds_done, model.trust_level) == ("finished", WISHES.rounds, "simulation")
    _require_reports(told, published)

    asker, grant_file = make_party("user"), tmp_path / "grant.json"
    terms = granting.GrantTerms(answers=400)
    asked_by = asker.identity.signing_key.party
    e.outcome(granting.grant(registered.party, asked_by, model.model_id, terms, grant_file), e.GrantSigned)
    with np.load(digits.held_out, allow_pickle=False) as columns:
        images = columns["image"]
    answered = e.outcome(user.query(asker, Signed.decode(grant_file.read_bytes()), images), e.Answered)
    accuracy = float((np.array(answered.labels) == labels_of(digits.held_out)).mean())
    assert accuracy >= 0.95
    assert abs(accuracy - plain.accuracy) <= 0.015
    assert answered.answers_left == 400 - len(images)
    assert e.outcome(verification.verify_model(registered.party, model.model_id), e.Verified).subject == model.model_id


def _require_reports(told: list[e.Event], published: Published) -> None:
    """Reports grow, the last one has the outcome, and frames are those of the public schedule."""
    reports = [event.report for event in told if isinstance(event, e.ReportOpened)]
    assert [one.sequence for one in reports] == sorted({one.sequence for one in reports})
    last = reports[-1]
    assert last.outcome == "finished"
    assert last.loss is not None
    assert last.codes == ()
    view = host_view(plan_schedule(WISHES, published.bundle.state_class), trainers=2)
    counted = last.real_frames + last.dummy_frames
    assert last.real_frames > 3 * WISHES.rounds
    assert 0.7 * view.frames <= counted <= view.frames
