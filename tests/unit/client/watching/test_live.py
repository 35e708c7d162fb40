"""An owner sees what enclaves seal to it beside the order's clock; the provider sees public figures alone."""

import json
from pathlib import Path
from typing import TypeVar

import pytest
from click.testing import CliRunner

from client import events as e
from client.broker import BrokerLink
from client.cli import main
from client.commands import watch as command
from client.context import Party
from client.services import IngestService
from client.watching import live as watching
from client.watching.events import ForecastHeld, JobProgressed, MembersListed, RateMeasured
from client.watching.live import live
from common.errors import NotFoundError, UnavailableError
from common.identifiers import JobId
from common.messages.objects import DatasetManifest
from common.messages.signed import sign
from common.sealed_object import CHUNK_BYTES
from tests.fakes.broker_world import TRAINER, BrokerWorld
from tests.fakes.log_keeping import identity_directory
from tests.unit.client.watching.desk import Desk, report

E = TypeVar("E", bound=e.Event)


class Scene:
    """An owner and a provider, a job of theirs with one member, and a host that tells its course."""

    def __init__(self, directory: Path) -> None:
        self.world = BrokerWorld(directory / "world")
        self.owner = identity_directory(self.world, self.world.owner, directory / "owner")
        self.provider = identity_directory(self.world, self.world.provider, directory / "provider")
        self.data = self.world.register_data()
        order = self.world.order(self.data, self.world.register_bundle())
        self.order = sign(order, self.world.owner.key)
        self.job_id = self.world.accept(self.order).job_id
        self.world.launch(TRAINER, self.job_id)
        self.owner.keep_document("orders", self.job_id, self.order)
        self.desk = Desk(self.order, self.owner, reports_told=[report(self.order, number) for number in (1, 2, 3)])

    def told(self, party: Party) -> list[e.Event]:
        return list(live(party, self.job_id, pause=lambda _: None))


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene(tmp_path)
    monkeypatch.setattr(IngestService, "of", lambda _party: scene.desk)
    monkeypatch.setattr(watching, "BrokerLink", lambda party: BrokerLink(party, scene.world.handle))
    return scene


def of(told: list[e.Event], kind: type[E]) -> list[E]:
    return [event for event in told if isinstance(event, kind)]


def test_an_owner_sees_reports_rates_members_and_the_clock(scene: Scene) -> None:
    told = scene.told(scene.owner)
    assert [one.report.round for one in of(told, e.ReportOpened)] == [1, 2, 2]
    assert [one.round for one in of(told, RateMeasured)] == [2, 2]
    assert [one.state for one in of(told, JobProgressed)][-1] == "failed"
    (listed,) = of(told, MembersListed)
    assert [(one.role, one.slot, one.attempt) for one in listed.members] == [("trainer", 0, 1)]
    assert isinstance(told[-2], ForecastHeld)
    assert isinstance(told[-1], e.JobSeen)
    assert told[-1].code == "unavailable.rounds"


def test_forecast_and_fact_of_data_read_stand_side_by_side_while_the_data_are_there(scene: Scene) -> None:
    scene.desk.reports_told[-1] = report(scene.order, 3, read_chunks=5)
    (gone,) = of(scene.told(scene.owner), ForecastHeld)
    assert "data read" not in [one.what for one in gone.figures]
    scene.desk.looks, scene.desk.manifests[scene.data.dataset_id] = 0, scene.data.manifest
    (held,) = of(scene.told(scene.owner), ForecastHeld)
    (read,) = [one for one in held.figures if one.what == "data read"]
    chunks = sum(part.chunk_count for part in DatasetManifest.decode(scene.data.manifest.payload).parts)
    assert (read.forecast, read.fact) == (2 * chunks * CHUNK_BYTES, 5 * CHUNK_BYTES)


def test_the_provider_sees_public_figures_alone(scene: Scene) -> None:
    scene.desk.owner = None
    told = scene.told(scene.provider)
    assert {type(event) for event in told} == {JobProgressed, MembersListed}
    assert [one.state for one in of(told, JobProgressed)][-1] == "failed"
    everything = b"".join(event.encode() for event in told)
    assert b"loss" not in everything
    assert b"round" not in everything


def test_who_has_no_part_in_a_job_sees_nothing(scene: Scene) -> None:
    scene.desk.owner, scene.desk.participants = None, False
    with pytest.raises(NotFoundError, match="not_found.job"):
        scene.told(scene.provider)


def test_the_clock_stands_before_a_worker_begins_and_stays_within_the_schedule(scene: Scene) -> None:
    scene.desk.owner = None
    first, *_, last = of(scene.told(scene.provider), JobProgressed)
    assert (first.ticks, first.seconds) == (0, 0.0)
    assert (last.ticks, last.seconds) == (last.total_ticks, 3.0)  # the enclaves' clock began later than the host's word


def test_an_owner_reads_the_enclaves_clock(scene: Scene) -> None:
    ticks = [one.ticks for one in of(scene.told(scene.owner), JobProgressed)]
    assert ticks[-1] == 15


def test_a_broker_that_is_away_ends_no_watching(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_raw: bytes) -> bytes:
        raise UnavailableError("unavailable.service")

    monkeypatch.setattr(watching, "BrokerLink", lambda party: BrokerLink(party, away))
    told = scene.told(scene.owner)
    assert of(told, MembersListed) == []
    assert isinstance(told[-1], e.JobSeen)


def run(scene: Scene, *words: object) -> tuple[int, list[dict[str, object]]]:
    where = ["--as", scene.owner.directory.name, "--home", str(scene.owner.directory.parent)]
    result = CliRunner().invoke(main, [*map(str, words), "--json", *where])
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]


def test_the_command_tells_programs_and_plots(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.watching.following.time.sleep", lambda _: None)
    monkeypatch.setattr("client.watching.live.live.__kwdefaults__", {"pause": lambda _: None})
    status, told = run(scene, "watch", scene.job_id, "--plot", tmp_path / "curves.csv")
    assert status == 0
    assert [one["type"] for one in told][-3:] == ["forecast-held", "job-seen", "curves-written"]
    assert len((tmp_path / "curves.csv").read_text().splitlines()) == 3
    status, told = run(scene, "watch", scene.job_id, "--plot", tmp_path / "curves.png")
    assert (status, told[-1]["code"]) == (1, "format.message")


def test_an_interrupt_leaves_the_job_alone_and_keeps_the_curves(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(party: Party, job_id: JobId) -> e.Event:  # type: ignore[misc]
        for event in live(party, job_id, pause=lambda _: None):
            yield event
            if isinstance(event, RateMeasured):
                raise KeyboardInterrupt

    monkeypatch.setattr(command, "live", interrupted)
    status, told = run(scene, "owner", "watch", scene.job_id, "--plot", tmp_path / "curves.svg")
    assert status == command.INTERRUPTED
    assert "the job goes on" in str(told[-1]["text"])
    assert "<svg" in (tmp_path / "curves.svg").read_text()
    assert not hasattr(scene.desk, "cancel_job")  # nothing could have been cancelled
