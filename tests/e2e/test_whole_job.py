"""Sealed data becomes a sealed model and sealed answers, through the public SDK on real services."""

import pytest

from client import events as e
from client import verification
from client.demo import WISHES
from tests.e2e.conftest import DemoRun, Finished, Published

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_the_owners_reports_tell_rounds_losses_and_frames(finished: Finished, demo: DemoRun) -> None:
    reports = [event.report for event in finished.told if isinstance(event, e.ReportOpened)]
    assert [one.sequence for one in reports] == sorted({one.sequence for one in reports})
    last = reports[-1]
    assert (last.outcome, last.round, last.codes) == ("finished", WISHES.rounds, ())
    losses = [one.loss for one in reports if one.loss is not None]
    assert losses[-1] < losses[0] / 10
    assert (last.real_frames, last.dummy_frames) == (demo.figures["real_frames"], demo.figures["dummy_frames"])


def test_the_model_names_all_that_made_it(finished: Finished, published: Published) -> None:
    model = finished.model
    assert (model.outcome, model.rounds_done, model.trust_level) == ("finished", WISHES.rounds, "simulation")
    verified = e.outcome(verification.verify_model(finished.owner, model.model_id), e.Verified)
    checks = "\n".join(verified.checks)
    assert set(finished.order.datasets) <= set(checks.split())
    assert published.bundle.bundle_id in checks
