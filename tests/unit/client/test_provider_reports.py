"""What a provider reads of a bundle's jobs: a report for each that has one, verified, and nothing of others' jobs."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from client import provider_reports
from client.broker import BrokerLink
from client.cli import main
from client.context import Party
from client.events import LogVerified, ProviderReportRead
from client.provider_reports import reports
from client.rendering import Terminal
from client.services import IngestService
from common.errors import AuthenticityError, NotFoundError
from common.identifiers import JobId
from common.messages.jobs import Completed
from common.refused_calls import NONE_REFUSED, RefusedCalls
from services.paramserver.reporting import provider_report, seal_provider_report
from tests.fakes.broker_world import PARAMSERVER, BrokerWorld
from tests.fakes.log_keeping import Keeper, identity_directory

REFUSED = RefusedCalls((2, 0, 1, 0, 0, 0, 0))


class Desk:
    """A host that keeps sealed reports by job, and serves what it likes."""

    def __init__(self) -> None:
        self.sealed = dict[JobId, bytes]()

    def finish(self, world: BrokerWorld, job_id: JobId, refused: RefusedCalls = NONE_REFUSED) -> None:
        """Run a job to its end, with the report of its parameter server."""
        server = world.launch(PARAMSERVER, job_id)
        world.channel().ask(world.completion(server), Completed)
        self.sealed[job_id] = seal_provider_report(server, provider_report(server, "finished", "finished", refused))

    def provider_report(self, job_id: JobId) -> bytes:
        """As the service."""
        if job_id not in self.sealed:
            raise NotFoundError("not_found.report")
        return self.sealed[job_id]


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    return BrokerWorld(tmp_path / "world")


@pytest.fixture
def party(world: BrokerWorld, tmp_path: Path) -> Party:
    return identity_directory(world, world.provider, tmp_path / "provider")


@pytest.fixture
def desk(world: BrokerWorld, monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = Desk()
    monkeypatch.setattr(IngestService, "of", lambda _party: desk)
    monkeypatch.setattr(provider_reports, "BrokerLink", lambda party: BrokerLink(party, world.handle))
    return desk


def read(world: BrokerWorld, party: Party, bundle: Any) -> list[ProviderReportRead]:
    verified, *told = reports(party, bundle.bundle_id, Keeper(world, party).keep("log"))
    assert isinstance(verified, LogVerified)
    return [one for one in told if isinstance(one, ProviderReportRead)]


def test_each_job_of_the_bundle_is_told_as_far_as_its_owner_lets_it(
    world: BrokerWorld, party: Party, desk: Desk
) -> None:
    keeps, tells = world.register_data(), world.register_data(refusal_report="classes")
    bundle, another = world.register_bundle(), world.register_bundle()
    jobs = [world.start_job(data, bundle) for data in (keeps, tells, tells)]
    desk.finish(world, world.start_job(tells, another), REFUSED)
    for job_id in jobs[:2]:
        desk.finish(world, job_id, REFUSED)
    told = read(world, party, bundle)
    assert [(one.job_id, one.outcome) for one in told] == list(zip(jobs, ("finished", "finished", None), strict=True))
    assert told[0].told is told[2].told is None
    assert told[1].told is not None
    assert dict(told[1].told.refused) == REFUSED.words
    sink = io.StringIO()
    terminal = Terminal(Console(file=sink, width=200, highlight=False))
    for one in told:
        terminal.show(one)
    terminal.close()
    assert "finished; refused calls: network (many), processes (some)" in sink.getvalue()
    assert "the owners' policies do not let a provider know more" in sink.getvalue()
    assert any("no report" in line and jobs[2] in line for line in sink.getvalue().splitlines())


def test_the_command_tells_it_to_programs(world: BrokerWorld, party: Party, desk: Desk) -> None:
    bundle = world.register_bundle()
    desk.finish(world, world.start_job(world.register_data(refusal_report="classes"), bundle), REFUSED)
    log = Keeper(world, party).keep("log")
    where = ["--log", str(log), "--as", party.directory.name, "--home", str(party.directory.parent)]
    result = CliRunner().invoke(main, ["provider", "report", bundle.bundle_id, "--json", *where])
    verified, told = map(json.loads, result.stdout.splitlines())
    assert (verified["type"], told["type"], told["outcome"]) == ("log-verified", "provider-report-read", "finished")
    assert told["told"] == {"learned": "finished", "refused": REFUSED.words}


def test_a_report_of_another_job_or_launch_is_not_believed(world: BrokerWorld, party: Party, desk: Desk) -> None:
    data, bundle = world.register_data(refusal_report="classes"), world.register_bundle()
    first, second = world.start_job(data, bundle), world.start_job(data, bundle)
    desk.finish(world, first)
    fenced = world.launch(PARAMSERVER, second)
    desk.finish(world, second)
    genuine = desk.sealed[second]
    for served in (
        desk.sealed[first],
        seal_provider_report(fenced, provider_report(fenced, "finished", "finished", REFUSED)),
        genuine[:-1] + bytes([genuine[-1] ^ 1]),
    ):
        desk.sealed[second] = served
        with pytest.raises(AuthenticityError):
            read(world, party, bundle)
    desk.sealed[second] = genuine
    assert len(read(world, party, bundle)) == 2


def test_another_provider_reads_nothing(world: BrokerWorld, party: Party, desk: Desk, tmp_path: Path) -> None:
    bundle = world.register_bundle()
    desk.finish(world, world.start_job(world.register_data(), bundle))
    other = identity_directory(world, world.user, tmp_path / "other")
    assert read(world, party, bundle)
    assert read(world, other, bundle) == []  # the log tells it of no such job
