"""Sealed data becomes a sealed model and sealed answers, through the public SDK on real services."""

from pathlib import Path

import numpy as np
import pytest

from client import events as e
from client import user, verification
from client.demo import WISHES
from client.digits import DigitsFiles
from client.scheduling import host_view, plan_schedule
from tests.e2e.conftest import Finished, MakeParty, Published, labels_of, let_ask

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_a_sealed_model_answers_as_well_as_a_plain_one(
    finished: Finished, plain: e.PlainTwinTrained, make_party: MakeParty, digits: DigitsFiles, tmp_path: Path
) -> None:
    asker = make_party("user")
    grant = let_ask(finished, asker, tmp_path / "grant.json", answers=400)
    images = user.read_rows(digits.held_out, "image")
    told = list(user.query(asker, grant, images))
    verified, answered = told[0], told[-1]
    assert isinstance(verified, e.QuoteVerified)
    assert (verified.role, verified.trust_level) == ("query", "simulation")
    assert isinstance(answered, e.Answered)
    accuracy = float((np.array(answered.labels) == labels_of(digits.held_out)).mean())
    assert accuracy >= 0.95
    assert abs(accuracy - plain.accuracy) <= 0.015
    assert answered.answers_left == 400 - len(images)


def test_the_owners_reports_tell_rounds_losses_and_frames(finished: Finished, published: Published) -> None:
    reports = [event.report for event in finished.told if isinstance(event, e.ReportOpened)]
    assert [one.sequence for one in reports] == sorted({one.sequence for one in reports})
    last = reports[-1]
    assert (last.outcome, last.round, last.codes) == ("finished", WISHES.rounds, ())
    losses = [one.loss for one in reports if one.loss is not None]
    assert losses[-1] < losses[0] / 10
    view = host_view(plan_schedule(finished.wishes, published.bundle.state_class), trainers=2)
    counted = last.real_frames + last.dummy_frames
    assert last.real_frames > 3 * WISHES.rounds
    assert 0.7 * view.frames <= counted <= view.frames


def test_the_model_names_all_that_made_it(finished: Finished, published: Published) -> None:
    model = finished.model
    assert (model.outcome, model.rounds_done, model.trust_level) == ("finished", WISHES.rounds, "simulation")
    verified = e.outcome(verification.verify_model(finished.owner.party, model.model_id), e.Verified)
    checks = "\n".join(verified.checks)
    assert finished.owner.dataset.dataset_id in checks
    assert published.bundle.bundle_id in checks
