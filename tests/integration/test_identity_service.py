"""A stolen key, from the command line to the key broker and back: revoked, replaced, and the owner goes on."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from client.cli import main
from client.context import Endpoints, Party, PinnedTrust
from client.services import IngestService
from common.identifiers import DatasetId
from tests.fakes.broker_world import BrokerWorld
from tests.fakes.ingest_world import IngestWorld
from tests.integration.ingest_service import attestation_service, served

pytestmark = pytest.mark.integration


@dataclass
class Installation:
    """A broker and a front door over real HTTP; identities in `home`."""

    home: Path
    world: BrokerWorld
    ingest: IngestWorld
    endpoints: Endpoints

    def run(self, *words: str) -> tuple[int, list[dict[str, Any]]]:
        file = self.home / "endpoints.json"
        file.write_bytes(self.endpoints.encode())
        result = CliRunner().invoke(main, [*words, "--json", "--home", str(self.home), "--endpoints", str(file)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]

    def told(self, *words: str) -> dict[str, Any]:
        """The last event of a command that succeeds."""
        status, told = self.run(*words)
        assert status == 0, told
        return told[-1]

    def refused(self, *words: str) -> str:
        status, told = self.run(*words)
        assert status == 1, told
        return str(told[-1]["code"])

    def party(self, name: str) -> Party:
        return Party(self.home / name, self.endpoints)

    def make(self, name: str, *, pinned: bool = True) -> Party:
        self.told("keygen", "--unsafe-simulation", name)
        if pinned:
            world = self.world
            self.party(name).pin(
                PinnedTrust(
                    endpoints=self.endpoints, trust_settings=world.trust, release=world.release, broker=world.genesis
                )
            )
            IngestService.of(self.party(name)).enrol()
            self.told("identity", "bind", "--as", name)
        return self.party(name)

    @property
    def recovery_key(self) -> str:
        return str(self.home / "owner.recovery")

    @property
    def log_size(self) -> str:
        return str(self.world.head.size)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Installation]:
    world = BrokerWorld(tmp_path / "world")
    ingest, home = IngestWorld(tmp_path / "ingest", world, quota_bytes=1 << 26), tmp_path / "home"
    home.mkdir()
    with (
        attestation_service(tmp_path / "ingest", world) as attestation,
        served(ingest.ingest.app, lifespan="off") as front,
    ):
        yield Installation(home, world, ingest, Endpoints(attestation=attestation, ingest=front, query=front))


def upload(here: Installation) -> DatasetId:
    plain, sealed = here.home / "rows.npz", here.home / "rows.sealed"
    np.savez(plain, x=np.zeros((4, 2), dtype=np.float32))
    here.told("owner", "seal", str(plain), "-o", str(sealed))
    dataset = here.told("owner", "upload", str(sealed))["dataset_id"]
    here.told("owner", "policy", dataset, "--max-jobs", "3")
    return DatasetId(dataset)


def test_stolen_and_replaced(here: Installation) -> None:
    here.make("owner")
    dataset = upload(here)
    stolen = here.log_size
    shutil.copytree(here.home / "owner", here.home / "thief")
    here.told("owner", "policy", dataset, "--max-jobs", "1000", "--as", "thief")
    assert here.told("identity", "revoke", "--recovery-key", here.recovery_key)["state"] == "revoked"
    assert here.refused("owner", "policy", dataset, "--max-jobs", "2000", "--as", "thief") == "policy.identity"
    made = here.make("mended", pinned=False)
    replaced = here.told(
        "identity", "replace", "--recovery-key", here.recovery_key, "--new", "mended", "--stolen-since", stolen
    )
    assert (replaced["successor"], replaced["void_from"]) == (made.identity.signing_key.party, int(stolen))
    assert here.world.context.dataset(dataset).policy.max_jobs == 3
    assert here.refused("owner", "policy", dataset, "--max-jobs", "9") == "policy.identity"
    assert here.refused("owner", "jobs") == "authenticity.http_signature"
    assert here.run("owner", "jobs", "--as", "mended") == (0, [])
    assert here.told("owner", "policy", dataset, "--max-jobs", "2", "--as", "mended")["policy_version"] == 3


def test_ones_own_versions_since_the_theft_are_void_too_and_the_next_follows_what_stands(here: Installation) -> None:
    here.make("owner")
    dataset = upload(here)
    stolen = here.log_size
    for jobs in ("4", "5"):
        here.told("owner", "policy", dataset, "--max-jobs", jobs)
    here.make("mended", pinned=False)
    words = ["--recovery-key", here.recovery_key, "--new", "mended", "--stolen-since", stolen]
    here.told("identity", "replace", *words)
    assert here.world.context.dataset(dataset).policy.max_jobs == 3
    assert here.told("owner", "policy", dataset, "--max-jobs", "6", "--as", "mended")["policy_version"] == 3
    assert here.world.context.dataset(dataset).policy.max_jobs == 6


def test_lost_and_replaced_the_owner_goes_on(here: Installation) -> None:
    old = here.make("owner")
    dataset = upload(here)
    roots = old.key_roots()
    here.make("mended", pinned=False)
    replaced = here.told("identity", "replace", "--recovery-key", here.recovery_key, "--new", "mended", "--lost")
    assert replaced["void_from"] is None
    signed = here.told("owner", "policy", dataset, "--max-jobs", "4", "--as", "mended")
    assert (signed["policy_version"], here.world.context.dataset(dataset).policy.max_jobs) == (3, 4)
    assert here.told("owner", "ledger", dataset, "--as", "mended")["type"] == "ledger-read"
    new = here.party("mended")
    assert new.key_roots() == roots
    assert new.object_key(roots[0]) == old.object_key(roots[0])
    here.told("owner", "delete", dataset, "--as", "mended")
    assert here.world.context.dataset(dataset).keys is None


def test_a_broker_that_never_met_the_old_identity_learns_of_it(here: Installation) -> None:
    """Data sets of a broker that is gone come to one where the same replacement is known."""
    old, new = here.make("owner", pinned=False), here.make("mended")
    here.told("identity", "replace", "--recovery-key", here.recovery_key, "--new", "mended", "--lost")
    holder = here.world.context.parties.holder(old.identity.signing_key.party)
    assert holder == new.identity.signing_key.party


def test_replacing_wants_to_be_told_whether_it_was_stolen(here: Installation) -> None:
    here.make("owner")
    here.make("mended", pinned=False)
    words = ["identity", "replace", "--recovery-key", here.recovery_key, "--new", "mended"]
    for more in ([], ["--lost", "--stolen-since", "3"]):
        result = CliRunner().invoke(main, [*words, *more, "--home", str(here.home)])
        assert result.exit_code == 2
        assert "--stolen-since" in result.output


def test_another_recovery_key_ends_nothing(here: Installation) -> None:
    here.make("owner")
    here.make("other", pinned=False)
    recovery = str(here.home / "other.recovery")
    assert here.refused("identity", "revoke", "--recovery-key", recovery) == "not_found.recovery_key"
    assert here.refused("identity", "revoke", "--recovery-key", str(here.home / "owner" / "identity.json")) == (
        "format.message"
    )


def test_whoever_comes_first_without_a_recovery_key_has_none(here: Installation) -> None:
    here.make("owner")
    (here.home / "owner" / "card.json").unlink()
    assert here.refused("identity", "bind") == "conflict.identity_card"
