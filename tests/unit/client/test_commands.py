"""The command line renders events and refusals, for people and for programs, and refuses malformed identifiers."""

import json
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from client.cli import main
from common.refusals import REFUSALS

COMMANDS = [
    "keygen",
    "measure",
    "provider pack",
    "provider publish",
    "provider init",
    "provider check",
    "provider versions",
    "provider report",
    "provider retire",
    "provider pin",
    "doctor",
    "owner pin",
    "owner seal",
    "owner upload",
    "owner policy",
    "owner ledger",
    "policy check",
    "policy explain",
    "policy diff",
    "policy try",
    "policy approve",
    "owner train",
    "owner watch",
    "owner jobs",
    "owner cancel",
    "owner grant",
    "owner revoke",
    "owner delete",
    "user pin",
    "user query",
    "release draft",
    "release sign",
    "release show",
    "release files",
    "release draft-revocation",
    "release keep-inventory",
    "release revoke",
    "verify quote",
    "verify snp",
    "verify object",
    "verify model",
    "audit fetch",
    "audit verify",
    "audit show",
    "identity bind",
    "identity revoke",
    "identity replace",
    "enrolment withdraw",
    "enrolment admit",
    "up",
    "status",
    "down",
    "clean",
    "demo",
    "explain",
    "compose prepare",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_public_command_is_there_and_takes_json(command: str) -> None:
    result = CliRunner().invoke(main, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "--json" in result.output


def test_a_context_names_another_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pin = ["owner", "pin", "--home", str(tmp_path), "--json"]
    for context, directory in (([], ".cloister"), (["--context", "compose"], ".cloister-compose")):
        told = json.loads(CliRunner().invoke(main, [*context, *pin]).stdout)
        assert told["code"] == "not_found.endpoints"
        assert f"{directory}/release" in json.dumps(told)
    for wrong in ("../compose", "", "Compose", "a/b"):
        assert CliRunner().invoke(main, ["--context", wrong, *pin]).exit_code == 2, wrong


@pytest.mark.parametrize("command", ["up", "down", "clean", "status"])
def test_a_stack_that_something_else_runs_is_left_alone(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["--context", "compose", command])
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_keygen_tells_programs_what_it_made(tmp_path: Path) -> None:
    arguments = ["keygen", "ann", "--unsafe-simulation", "--home", str(tmp_path), "--json"]
    result = CliRunner().invoke(main, arguments)
    told = json.loads(result.stdout)
    assert (told["type"], told["name"], told["unsafe_simulation"]) == ("identity-made", "ann", True)
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1
    assert json.loads(again.stdout)["code"] == "conflict.identity"


def test_keygen_writes_the_recovery_key_apart_and_says_where(tmp_path: Path) -> None:
    def keygen(*words: str) -> tuple[int, dict[str, object]]:
        result = CliRunner().invoke(main, ["keygen", *words, "--home", str(tmp_path / "home"), "--json"])
        return result.exit_code, json.loads(result.stdout)

    beside, elsewhere = tmp_path / "home" / "ann.recovery", tmp_path / "stick" / "bob"
    assert keygen("ann")[1]["recovery_key"] == str(beside)
    assert beside.stat().st_mode & 0o777 == 0o600
    assert keygen("bob", "--recovery-key", str(elsewhere))[1]["recovery_key"] == str(elsewhere)
    assert keygen("carl", "--no-recovery-key")[1]["recovery_key"] is None
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["ann", "ann.recovery", "bob", "carl"]
    (tmp_path / "home" / "dora.recovery").write_text("another's")
    status, told = keygen("dora")
    assert (status, told["code"]) == (1, "conflict.identity")
    assert not (tmp_path / "home" / "dora").exists()
    shown = CliRunner().invoke(main, ["keygen", "emil", "--home", str(tmp_path / "home")]).output
    assert "offline" in shown


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


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("user query rows.npy --grant none.json", "not_found.grant"),
        ("user query none.npy --grant rows.npy", "not_found.file"),
        ("owner seal none.npz", "not_found.file"),
        ("owner upload none.sealed", "not_found.file"),
        (f"owner policy data_{'0' * 32} --file none.json", "not_found.file"),
        ("owner pin --trust-settings none.json", "not_found.file"),
        ("measure --trust-settings none.json", "not_found.file"),
        ("provider pack none", "not_found.file"),
        ("provider publish none.bundle", "not_found.file"),
        ("verify quote none.json", "not_found.file"),
        ("verify object none.sealed", "not_found.file"),
        ("verify object rows.npy", "not_found.file"),
        ("witness run --settings none.json", "not_found.file"),
    ],
)
def test_a_file_that_is_not_there_is_refused_like_other_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, code: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.npy").touch()
    result = CliRunner().invoke(main, [*words.split(), "--home", str(tmp_path), "--json"])
    assert result.exit_code == 1, result.output
    told = json.loads(result.stdout)
    assert (told["type"], told["code"], told["mender"]) == ("refused", code, "sender")
    assert told["mend"]
    assert "none" in told["seen"] or "rows.npy" in told["seen"]


def test_a_grant_of_another_directory_is_not_revoked(tmp_path: Path) -> None:
    arguments = ["owner", "revoke", "grant_" + "0" * 32, "--home", str(tmp_path), "--json"]
    told = json.loads(CliRunner().invoke(main, arguments).stdout)
    assert (told["type"], told["code"]) == ("refused", "not_found.grant")


def test_every_code_is_explained() -> None:
    for code, (mender, mend) in REFUSALS.items():
        told = [json.loads(line) for line in CliRunner().invoke(main, ["explain", code, "--json"]).stdout.splitlines()]
        assert {"type": "explained", "code": code, "mender": mender, "mend": mend} in told
    assert CliRunner().invoke(main, ["explain", "nonsense"]).exit_code == 2


def test_mends_name_commands_that_are_there() -> None:
    """And to all but senders always one, unless there is nothing that a command could do."""
    for code, (mender, mend) in REFUSALS.items():
        named = re.findall(r"`cloister ([^`]+)`", mend)
        for words in named:
            _require_command(words.split(), code)
        if mender == "operator":  # whose machine has commands of its own
            assert "`" in mend or mend.startswith("nothing"), f"{code}: {mend}"
        elif mender != "sender" and code not in WITHOUT_A_COMMAND:
            assert named, f"{code}: {mend}"


WITHOUT_A_COMMAND = {
    "unavailable.rate", "unavailable.component_builder", "provider.not_repeatable", "provider.stopped",
}  # fmt: skip


def _require_command(words: list[str], code: str) -> None:
    command: click.Command | None = main
    while words and isinstance(command, click.Group):
        command = command.get_command(click.Context(command), words.pop(0))
    assert command is not None, code
    assert not isinstance(command, click.Group), code
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    for word in words:
        assert not word.startswith("-") or word in known, f"{code}: {word}"


@pytest.mark.parametrize("name", ["a/../b", "..", "", ".hidden", "x" * 65])
def test_a_name_that_is_no_directory_name_is_refused(tmp_path: Path, name: str) -> None:
    result = CliRunner().invoke(main, ["keygen", name, "--home", str(tmp_path / "home")])
    assert result.exit_code == 1
    assert "format.identifier" in result.output
    assert list(tmp_path.iterdir()) == []


def test_options_out_of_bounds_are_refused_and_not_a_traceback(tmp_path: Path) -> None:
    arguments = ["--home", str(tmp_path), "--state", str(tmp_path)]
    runner = CliRunner()
    assert runner.invoke(main, ["keygen", "owner", *arguments]).exit_code == 0
    made = runner.invoke(main, ["owner", "policy", "data_" + "0" * 32, "--max-jobs", "-1", *arguments])
    assert (made.exit_code, type(made.exception)) in [(1, SystemExit), (2, SystemExit)]
    unpinned = runner.invoke(main, ["owner", "pin", "--from-checkout", *arguments])
    assert unpinned.exit_code == 1
    assert "not_found.endpoints" in unpinned.output
