"""What the command's options become, and what of it reaches the broker alone."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from client import events as e
from client import ordering
from client.cli import main
from client.context import Party
from client.ordering import Training, forecast_training, make_order
from client.scheduling import ScheduleWishes
from common.errors import FormatError
from common.identifiers import BundleId, DatasetId, Digest
from common.messages.objects import StepCost
from common.messages.service import Machines, TrainerMachine
from common.messages.signed import Signed
from tests.fakes.broker_world import PARAMSERVER, SCHEDULE, BrokerWorld
from tests.fakes.log_keeping import identity_directory
from tests.vectors.sample_documents import PUBLICATION

DATASET, BUNDLE = DatasetId.of(Digest("1" * 64)), BundleId.of(Digest("2" * 64))


def ordered_by(*options: str, monkeypatch: pytest.MonkeyPatch) -> Training:
    """The training that a command line asks for."""
    seen: list[Training] = []

    def forecast(_party: Party, training: Training) -> tuple[e.Event, ...]:
        seen.append(training)
        return ()

    monkeypatch.setattr(ordering, "forecast_training", forecast)
    result = CliRunner().invoke(main, ["owner", "train", DATASET, BUNDLE, "--dry-run", *options])
    assert result.exit_code == 0, result.output
    return seen[0]


def test_options_that_are_given_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    training = ordered_by("--calibrate", "--tick-ms", "100", "--slack", "150", monkeypatch=monkeypatch)
    assert training.calibrate
    assert training.keep == {"tick_milliseconds", "slack_percent"}  # said, though they are the defaults
    assert training.wishes == ScheduleWishes(tick_milliseconds=100)


def test_nothing_is_calibrated_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    training = ordered_by("--rounds", "7", "--outer-momentum", "0.9", monkeypatch=monkeypatch)
    assert not training.calibrate
    assert (training.wishes.rounds, training.outer_learning_rate, training.outer_momentum) == (7, 1.0, 0.9)


def test_the_outer_optimiser_reaches_the_parameter_server_and_no_host(tmp_path: Path) -> None:
    world = BrokerWorld(tmp_path / "world")
    party = identity_directory(world, world.owner, tmp_path / "owner")
    data, bundle = world.register_data(), world.register_bundle()
    training = Training(data.dataset_id, bundle.bundle_id, 2, outer_learning_rate=0.7, outer_momentum=0.9)
    order = make_order(party, training, SCHEDULE)
    too_many = replace(training, minimal_trainers=3), replace(training, minimal_rounds=1 << 20)
    for wrong, what in zip(too_many, ("1 to 2 trainers", "rounds"), strict=True):
        with pytest.raises(FormatError) as told:
            make_order(party, wrong, SCHEDULE)
        assert what in str(told.value.expected)
    terms = world.launch(PARAMSERVER, world.accept(order).job_id).terms
    assert (terms.outer_learning_rate, terms.outer_momentum) == (0.7, 0.9)
    assert "momentum" not in json.dumps(json.loads(order.payload))


class Desk:
    """As the service, for a data set of one chunk."""

    def __init__(self, manifest: Signed) -> None:
        self.manifest = manifest

    def dataset(self, _dataset_id: DatasetId) -> Signed:
        return self.manifest

    def machines(self) -> Machines:
        return Machines(trainers=(TrainerMachine(slots=2, cores=2, reference_microseconds=1000),))


@pytest.mark.parametrize("calibrate", [False, True])
def test_a_dry_run_signs_nothing_and_asks_no_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, calibrate: bool
) -> None:
    def never(*_: Any) -> None:
        pytest.fail("a dry run signed, or asked the broker")

    world = BrokerWorld(tmp_path / "world")
    party: Party = identity_directory(world, world.owner, tmp_path / "owner")
    data = world.register_data()
    cost = StepCost(fixed_microseconds=1024, row_nanoseconds=1024)
    monkeypatch.setattr(ordering, "fetch_publication", lambda *_: PUBLICATION.model_copy(update={"step_cost": cost}))
    monkeypatch.setattr("client.calibrating.IngestService.of", lambda _party: Desk(data.manifest))
    monkeypatch.setattr(ordering, "BrokerLink", never)
    monkeypatch.setattr(ordering, "make_order", never)
    told = list(forecast_training(party, Training(data.dataset_id, BUNDLE, calibrate=calibrate)))
    assert isinstance(told[-1], e.JobForecast)
    assert isinstance(told[-2], e.OrderPreview)
    assert told[-1].seconds == pytest.approx(told[-2].seconds)
    assert told[-1].traffic_bytes == told[-2].traffic_bytes
    assert any(isinstance(one, e.Calibrated) for one in told) == calibrate
    assert party.documents("orders") == []
