"""Releases over real HTTP: their lists of files are published and proven, and a revocation reaches the broker."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from client import inventory, releasing
from client.cli import main
from client.context import Endpoints, PinnedTrust
from client.context import Party as OwnParty
from client.events import Ended, InventoryInForce, outcome
from client.http_client import ServiceClient
from client.measuring import digest_cache, list_own_files, own_references
from client.services import AttestationService
from common.dcap import verify_quote
from common.errors import AppraisalError, AuthenticityError, NotFoundError
from common.messages.measured_files import MeasuredFiles
from common.messages.platform_inventory import PlatformInventory
from common.messages.release import Release, ReleaseRevocation
from common.messages.signed import Signed, sign
from common.untrusted.database import Database
from common.untrusted.registry import Registry
from services.attestation.app import build
from tests.fakes.broker_world import QUERY, TRAINER, BrokerWorld
from tests.fakes.handover_world import Heir
from tests.fakes.http_services import CoreRelay
from tests.integration.ingest_service import attestation_service, attestation_settings, registry_url, served

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
    (tmp_path / "files.json").write_bytes(files.encode())
    with attestation_service(tmp_path, world, measured_files=tmp_path / "files.json") as url:
        yield Endpoints(attestation=url, ingest=url, query=url)


def pinned(directory: Path, world: BrokerWorld, endpoints: Endpoints, release: Signed) -> OwnParty:
    party = OwnParty.create(directory / "home" / "owner", "owner", unsafe_simulation=True)
    party.pin(PinnedTrust(endpoints=endpoints, trust_settings=world.trust, release=release, broker=world.genesis))
    Registry(Database(registry_url(directory))).enrol(party.identity.signing_key.party, 0)
    return party


def run(directory: Path, *words: str) -> tuple[int, list[dict[str, Any]]]:
    result = CliRunner().invoke(main, [*words, "--json", "--home", str(directory / "home")])
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]


def test_files_of_the_pinned_release_are_fetched_and_proven(
    tmp_path: Path, world: BrokerWorld, endpoints: Endpoints, files: MeasuredFiles
) -> None:
    release = Release(name="built", tag="1", created=1, measurements=own_references(files))
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
    with attestation_service(tmp_path, world) as url:
        service = AttestationService(Endpoints(attestation=url, ingest=url, query=url))
        with pytest.raises(NotFoundError, match=r"not_found\.path"):
            service.measured_files()


def test_the_release_is_that_of_the_broker_that_answers_and_the_next_is_told_of(
    tmp_path: Path, world: BrokerWorld
) -> None:
    newer, older = Heir.of(world).release, world.release
    for name, release in (("newer.json", newer), ("older.json", older)):
        (tmp_path / name).write_bytes(release.encode())
    settings = attestation_settings(tmp_path, world).model_copy(update={"release_file": tmp_path / "newer.json"})
    relay = CoreRelay(world)
    with served(build(settings, relay)) as url:  # type: ignore[arg-type]
        http = ServiceClient(url)
        assert Signed.decode(http.get("/v1/release")) == newer
        with pytest.raises(NotFoundError):
            http.get("/v1/release/next")
        relay.older_release = tmp_path / "older.json"
        assert Signed.decode(http.get("/v1/release")) == older
        assert Signed.decode(http.get("/v1/release/next")) == newer


def test_any_identity_brings_a_revocation_that_enough_release_keys_signed(
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


def test_any_identity_brings_an_inventory_that_enough_release_keys_signed(
    tmp_path: Path, world: BrokerWorld, endpoints: Endpoints
) -> None:
    party, file = pinned(tmp_path, world, endpoints, world.release), tmp_path / "inventory.json"
    evidence = world.runtime("trainer").evidence(bytes(64))
    machine = verify_quote(evidence, world.trust.allowed_roots, world.time).machine.platform_ids[0]
    drafted = PlatformInventory(number=1, platforms=(), revoked=(machine,), created=world.time)
    file.write_bytes(sign(drafted, world.release_keys[0]).encode())
    with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
        list(inventory.publish_inventory(party, file))
    job = world.start_job()
    file.write_bytes(sign(drafted, *world.release_keys).encode())
    assert outcome(inventory.publish_inventory(party, file), InventoryInForce).number == 1
    with pytest.raises(AppraisalError, match=r"appraisal\.platform_revoked"):
        world.launch(TRAINER, job)
