"""Releases over real HTTP: their lists of files are published and proven, and a revocation reaches the broker."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from client import releasing
from client.cli import main
from client.context import Endpoints, PinnedTrust
from client.context import Party as OwnParty
from client.events import Ended, outcome
from client.measuring import digest_cache, list_own_files, own_references
from client.services import AttestationService
from common.errors import AppraisalError, AuthenticityError, NotFoundError
from common.messages.measured_files import MeasuredFiles
from common.messages.release import Release, ReleaseRevocation
from common.messages.signed import Signed, sign
from services.attestation.app import build
from services.attestation.settings import AttestationSettings
from tests.fakes.broker_world import QUERY, BrokerWorld
from tests.fakes.http_services import CoreRelay
from tests.integration.ingest_service import served

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    """A broker whose releases want two signatures."""
    return BrokerWorld(tmp_path, release_signers=2)


@pytest.fixture
def files(world: BrokerWorld) -> MeasuredFiles:
    return list_own_files(world.trust, digest_cache())


@pytest.fixture
def endpoints(tmp_path: Path, world: BrokerWorld, files: MeasuredFiles) -> Iterator[Endpoints]:
    """The attestation service with that list."""
    (tmp_path / "release.json").write_bytes(world.release.encode())
    (tmp_path / "files.json").write_bytes(files.encode())
    settings = AttestationSettings(
        state_directory=tmp_path, listen_port=0, launcher=tmp_path, release_file=tmp_path / "release.json",
        measured_files=tmp_path / "files.json",
    )  # fmt: skip
    with served(build(settings, CoreRelay(world))) as url:  # type: ignore[arg-type]
        yield Endpoints(attestation=url, ingest=url, query=url)


def pinned(directory: Path, world: BrokerWorld, endpoints: Endpoints, release: Signed) -> OwnParty:
    party = OwnParty.create(directory / "home" / "owner", "owner", unsafe_simulation=True)
    party.pin(PinnedTrust(endpoints=endpoints, trust_settings=world.trust, release=release, broker=world.genesis))
    return party


def run(directory: Path, *words: str) -> tuple[int, list[dict[str, Any]]]:
    result = CliRunner().invoke(main, [*words, "--json", "--home", str(directory / "home")])
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]


def test_files_of_the_pinned_release_are_fetched_and_proven(
    tmp_path: Path, world: BrokerWorld, endpoints: Endpoints, files: MeasuredFiles
) -> None:
    release = Release(name="built", tag="1", created=1, measurements=own_references(files, {}))
    pinned(tmp_path, world, endpoints, sign(release, *world.release_keys))
    status, told = run(tmp_path, "release", "files", "--role", "query")
    assert (status, told[-1]["type"], told[-1]["files"]) == (0, "files-verified", len(files.roles[QUERY].files))


def test_a_host_that_publishes_another_list_is_refused(
    tmp_path: Path, world: BrokerWorld, endpoints: Endpoints
) -> None:
    pinned(tmp_path, world, endpoints, world.release)
    status, told = run(tmp_path, "release", "files", "--role", "query")
    assert (status, [one["code"] for one in told]) == (1, ["appraisal.measurement"])


def test_where_no_list_is_published_there_is_none(tmp_path: Path, world: BrokerWorld) -> None:
    settings = AttestationSettings(
        state_directory=tmp_path, listen_port=0, launcher=tmp_path, release_file=tmp_path / "release.json"
    )
    with served(build(settings, CoreRelay(world))) as url:  # type: ignore[arg-type]
        service = AttestationService(Endpoints(attestation=url, ingest=url, query=url))
        with pytest.raises(NotFoundError, match=r"not_found\.path"):
            service.measured_files()


def test_anybody_brings_a_revocation_that_enough_release_keys_signed(
    tmp_path: Path, world: BrokerWorld, endpoints: Endpoints
) -> None:
    party = pinned(tmp_path, world, endpoints, world.release)
    revocation = ReleaseRevocation(release=world.release.digest, created=world.time)
    file = tmp_path / "revocation.json"
    file.write_bytes(sign(revocation, world.release_keys[0]).encode())
    with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
        list(releasing.revoke(party, file))
    world.start_job()
    file.write_bytes(sign(revocation, *world.release_keys).encode())
    ended = outcome(releasing.revoke(party, file), Ended)
    assert (ended.identifier, ended.state) == (world.release.digest, "revoked")
    with pytest.raises(AppraisalError, match=r"appraisal\.release"):
        world.start_job()
