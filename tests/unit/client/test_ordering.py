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
from client.scheduling import QUANTISING_SECONDS, ScheduleWishes, plan_schedule
from common.errors import FormatError
from common.identifiers import BundleId, DatasetId, Digest
from common.messages.objects import StepCost
from common.messages.order import AnswerTerms, TrainingOrder
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


@pytest.mark.parametrize(("options", "device"), [((), "cpu"), (("--device", "cuda"), "cuda")])
def test_a_gpu_is_ordered_by_name(
    options: tuple[str, ...], device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = ordered_by(*options, monkeypatch=monkeypatch)
    assert training.device == device
    world = BrokerWorld(tmp_path / "world")
    party = identity_directory(world, world.owner, tmp_path / "owner")
    order = TrainingOrder.decode(make_order(party, training, SCHEDULE).payload)
    assert (order.device, ordering.preview_of(party, order).device) == (device, device)


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


def test_int8_has_its_rows_and_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    training = ordered_by("--answers-in", "int8", monkeypatch=monkeypatch)
    assert training.answers == AnswerTerms(lowest="int8", most_drop_points=0.5, held_out_percent=10)
    schedule = plan_schedule(training.wishes, 1000)
    assert schedule.quantising_ticks * schedule.tick_seconds > QUANTISING_SECONDS
    assert schedule.learning_ticks == plan_schedule(ScheduleWishes(), 1000).total_ticks
    options = ("--int8-drop", "1.5", "--held-out", "25", "--quantising", "7")
    other = ordered_by("--answers-in", "int8", *options, monkeypatch=monkeypatch)
    assert other.answers == AnswerTerms(lowest="int8", most_drop_points=1.5, held_out_percent=25)
    assert other.wishes.quantising_seconds == 7


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_other_precisions_hold_nothing_out(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    training = ordered_by("--answers-in", precision, monkeypatch=monkeypatch)
    assert training.answers == AnswerTerms(lowest=precision)  # type: ignore[arg-type]
    assert plan_schedule(training.wishes, 1000).quantising_ticks == 0
    result = CliRunner().invoke(main, ["owner", "train", DATASET, BUNDLE, "--answers-in", precision, "--held-out", "5"])
    assert result.exit_code == 2
    assert "are of --answers-in int8" in result.output


def test_an_order_of_int8_has_rows_and_ticks_for_it_or_is_none(tmp_path: Path) -> None:
    world = BrokerWorld(tmp_path)
    order = world.order([world.register_data()], world.register_bundle())
    int8, ticks = AnswerTerms(lowest="int8", held_out_percent=10), SCHEDULE.model_copy(update={"quantising_ticks": 9})
    changed = order.model_copy(update={"answers": int8, "schedule": ticks})
    assert TrainingOrder.decode(changed.encode()) == changed
    for update in ({"answers": int8}, {"schedule": ticks}):
        with pytest.raises(FormatError, match=r"format\.message"):
            TrainingOrder.decode(order.model_copy(update=update).encode())
