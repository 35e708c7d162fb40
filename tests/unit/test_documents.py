"""Documents name files that are there, and commands that the command line has."""

import re
from pathlib import Path

import click
import pytest

from client.cli import main
from client.measuring import CODE_ROOT
from common.enclave.import_closure import import_closure
from common.enclave.roles import ROLES

DOCUMENTS = sorted([*CODE_ROOT.glob("*.md"), *(CODE_ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_refers_to_is_there(path: Path) -> None:
    text = path.read_text()
    named = set(re.findall(r"`((?:tests|common|services|client|bench|deploy|examples)/[\w/.]+\.py)`", text))
    linked = {link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link}
    missing = [one for one in named if not (CODE_ROOT / one).exists()]
    missing += [one for one in linked if one and not (path.parent / one).exists()]
    assert missing == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_of_a_document_is_one(path: Path) -> None:
    for words in re.findall(r"`(?:\./)?cloister ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)*)", path.read_text()):
        command: click.Command | None = main
        context = click.Context(main)
        for word in words.split():
            if not isinstance(command, click.Group):
                break
            assert word in (*command.list_commands(context), "test", "bench"), f"{path.name}: cloister {words}"
            if word in ("test", "bench"):
                break
            command = command.get_command(context, word)


def test_the_review_says_how_much_code_is_trusted() -> None:
    """To a few percent: a number that was true once is no answer."""
    text = " ".join((CODE_ROOT / "docs" / "security-review.md").read_text().split())
    told = re.search(r"About (\S+) lines .* the broker, (\S+) in a trainer, (\S+) in .*?, (\S+) in a query", text)
    assert told is not None
    for role, number in zip(("broker", "trainer", "paramserver", "query"), told.groups(), strict=True):
        names = import_closure(ROLES[role].entry, CODE_ROOT) | import_closure("common.enclave.boot", CODE_ROOT)
        sandboxed = (CODE_ROOT / "common" / "sandboxed").glob("*.py") if ROLES[role].needs_sandbox else ()
        files = {CODE_ROOT / name for name in names} | set(sandboxed)
        lines = sum(len(path.read_text().splitlines()) for path in files)
        assert lines == pytest.approx(int(number.replace(",", "")), rel=0.05), role
