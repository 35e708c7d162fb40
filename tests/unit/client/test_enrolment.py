"""The operator withdraws an enrolment where its registry lies, and the running service refuses the next request."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from client.cli import main
from tests.fakes.broker_world import BrokerWorld, Party
from tests.fakes.ingest_world import IngestWorld


@pytest.fixture
def world(tmp_path: Path) -> IngestWorld:
    return IngestWorld(tmp_path, BrokerWorld(tmp_path / "broker"), open_enrolment=False)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """As the ingest service reads them: with more in them than this needs."""
    file = tmp_path / "settings" / "ingest.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"database_url": f"sqlite:///{tmp_path}/registry.sqlite", "listen_port": 0}))
    file.chmod(0o600)
    return file


def run(command: str, party: Party, *words: str) -> tuple[int, dict[str, object]]:
    result = CliRunner().invoke(main, ["enrolment", command, party.party, *words, "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_admitted_withdrawn_and_admitted_again(world: IngestWorld, settings: Path) -> None:
    party, state = Party(), str(settings.parent.parent)
    client = world.client(party, enrolled=False)
    assert client.enrol().json()["code"] == "quota.identities"
    assert run("admit", party, "--state", state, "--quota-bytes", "4000")[0] == 0
    assert client.enrol().json()["quota_bytes"] == 4000
    status, told = run("withdraw", party, "--settings", str(settings))
    assert (status, told["state"]) == (0, "withdrawn")
    assert client.get("/v1/jobs").json()["code"] == "authenticity.http_signature"
    assert client.enrol().json()["code"] == "quota.identities"
    assert run("admit", party, "--settings", str(settings))[0] == 0
    assert client.get("/v1/jobs").status_code == 200
    assert client.enrol().json()["quota_bytes"] == 4000


def test_what_is_not_there_is_refused(world: IngestWorld, settings: Path, tmp_path: Path) -> None:
    assert world.http is not None
    status, told = run("withdraw", Party(), "--settings", str(settings))
    assert (status, told["code"]) == (1, "not_found.enrolment")
    status, told = run("withdraw", Party(), "--state", str(tmp_path / "nowhere"))
    assert (status, told["code"]) == (1, "not_found.file")


def test_settings_that_others_may_read_are_not_used(settings: Path) -> None:
    settings.chmod(0o644)
    status, told = run("withdraw", Party(), "--settings", str(settings))
    assert (status, told["code"]) == (1, "format.message")
