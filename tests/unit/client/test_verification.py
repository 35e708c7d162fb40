"""What was verified at some time gives the same answer at that time, whenever it is asked again."""

import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from client.cli import main
from client.context import Endpoints, Party, PinnedTrust
from client.verification import verify_evidence
from common.errors import Refusal
from tests.fakes.broker_world import BrokerWorld

NOWHERE = "http://127.0.0.1:9"
YEAR = 365 * 86_400


@pytest.fixture
def party(tmp_path: Path) -> Party:
    world = BrokerWorld(tmp_path / "world")
    party = Party.create(tmp_path / "owner", "owner", unsafe_simulation=True)
    party.pin(
        PinnedTrust(
            endpoints=Endpoints(attestation=NOWHERE, ingest=NOWHERE, query=NOWHERE),
            trust_settings=world.trust, release=world.release, broker=world.genesis,
        )
    )  # fmt: skip
    (tmp_path / "quote.json").write_bytes(world.runtime("trainer").evidence(bytes(64)).encode())
    return party


def test_a_stored_verification_is_made_again(party: Party, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, then = tmp_path / "quote.json", int(time.time())
    told = list(verify_evidence(party, stored, "trainer"))
    monkeypatch.setattr(time, "time", lambda: then + YEAR)
    with pytest.raises(Refusal, match=r"freshness\.collateral"):
        list(verify_evidence(party, stored, "trainer"))
    assert list(verify_evidence(party, stored, "trainer", then)) == told


def test_what_was_refused_then_is_refused_again(party: Party, tmp_path: Path) -> None:
    stored, then = tmp_path / "quote.json", int(time.time())
    for role, at, code in (("broker", then, "measurement"), ("trainer", then - YEAR, r"freshness\.collateral")):
        with pytest.raises(Refusal, match=code):
            list(verify_evidence(party, stored, role, at))


def test_the_command_takes_the_time_of_a_stored_quote_alone(party: Party, tmp_path: Path) -> None:
    def quote(*words: str) -> Result:
        return CliRunner().invoke(main, ["verify", "quote", *words, "--home", str(tmp_path), "--as", "owner"])

    stored, then = str(tmp_path / "quote.json"), int(time.time())
    told = quote(stored, "--role", "trainer", "--at", str(then))
    assert told.exit_code == 0
    assert f"current at {then}" in " ".join(told.output.split())
    assert "freshness.collateral" in quote(stored, "--role", "trainer", "--at", str(then - YEAR)).output
    assert [quote("--at", str(then)).exit_code, quote(stored, "-o", stored).exit_code] == [2, 2]
