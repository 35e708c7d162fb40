"""The command line renders events and refusals, for people and for programs, and refuses malformed identifiers."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from client.cli import main
from common.refusals import REFUSALS

COMMANDS = [
    "keygen",
    "measure",
    "provider pack",
    "provider publish",
    "provider pin",
    "owner pin",
    "owner seal",
    "owner upload",
    "owner policy",
    "owner train",
    "owner watch",
    "owner jobs",
    "owner cancel",
    "owner grant",
    "owner delete",
    "user pin",
    "user query",
    "verify quote",
    "verify object",
    "verify model",
    "up",
    "status",
    "down",
    "clean",
    "demo",
    "explain",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_public_command_is_there_and_takes_json(command: str) -> None:
    result = CliRunner().invoke(main, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "--json" in result.output


def test_keygen_tells_programs_what_it_made(tmp_path: Path) -> None:
    arguments = ["keygen", "ann", "--unsafe-simulation", "--home", str(tmp_path), "--json"]
    result = CliRunner().invoke(main, arguments)
    told = json.loads(result.stdout)
    assert (told["type"], told["name"], told["unsafe_simulation"]) == ("identity-made", "ann", True)
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1
    assert json.loads(again.stdout)["code"] == "conflict.identity"


def test_keygen_says_unsafe_in_words(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["keygen", "ann", "--unsafe-simulation", "--home", str(tmp_path)])
    assert "UNSAFE" in result.output
    assert "UNSAFE" not in CliRunner().invoke(main, ["keygen", "bob", "--home", str(tmp_path)]).output


def test_a_refusal_names_code_mender_and_mend(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["owner", "jobs", "--home", str(tmp_path), "--state", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert "not_found.identity" in result.stderr
    assert "cloister keygen" in result.stderr


def test_a_malformed_identifier_is_a_usage_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["owner", "watch", "job_1", "--home", str(tmp_path)])
    assert result.exit_code == 2
    assert "job_[0-9a-f]{32}" in result.stderr


def test_every_code_is_explained() -> None:
    for code, (mender, mend) in REFUSALS.items():
        told = [json.loads(line) for line in CliRunner().invoke(main, ["explain", code, "--json"]).stdout.splitlines()]
        assert {"type": "explained", "code": code, "mender": mender, "mend": mend} in told
    assert CliRunner().invoke(main, ["explain", "nonsense"]).exit_code == 2
