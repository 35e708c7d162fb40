"""Every event of a check, and of versions, is told to a person in words."""

from io import StringIO

from rich.console import Console

from client import events as e
from client.checking import events as c
from client.rendering import Terminal
from common.identifiers import BundleId


def shown(*events: e.Event) -> str:
    out = StringIO()
    terminal = Terminal(Console(file=out, width=200, highlight=False))
    for event in events:
        terminal.show(event)
    return out.getvalue()


def test_a_check_in_words() -> None:
    text = shown(
        c.TemplateWritten(directory="net", name="net", kind="native", files=("provider.toml", "model.py")),
        c.StepChecked(step="packs", passed=True, text="net 0.1"),
        c.StepChecked(step="trains", passed=False, text="KeyError: 'spleen'", code="provider.raised", mend="do this"),
        c.CodeRaised(step="trains", error="KeyError", text="Traceback\n  File x", instead="that"),
        c.CallRefused(step="trains", call="socket", count=3, at="model.py:7 in f", instead="no network"),
        c.CallRefused(step="trains", call="open", count=1, at="model.py:8 in f", path="/etc/passwd", instead="none"),
        c.CallRefused(step="trains", call="mbind", count=1, at=None, instead="leave it"),
        c.CodePrinted(step="trains", text="hello\nworld"),
        c.CheckProfiled(
            peak_bytes=300 << 20, limit_bytes=3 << 30, batch=32, step_milliseconds=1.5, query_rows=8,
            query_milliseconds=80.0,
        ),
        c.CheckFinished(passed=False, refused=4),
    )  # fmt: skip
    for words in (
        "cloister provider check net", "ok packs: net 0.1", "FAILED trains: KeyError: 'spleen' (provider.raised)",
        "do this", "raised Traceback", "that", "socket, 3 times, model.py:7 in f", "open /etc/passwd, 1 times",
        "mbind, 1 times, by a library", "printed hello", "in a job this goes nowhere", "300 MiB at most, of 3,072 MiB",
        "1.5 ms for 32 rows", "80 ms for 8 rows", "it would not run in a job",
    ):  # fmt: skip
        assert words in text, words
    assert "event" not in text


def test_versions_in_words() -> None:
    name = BundleId("bundle_" + "0" * 32)
    fields = {"bundle_id": name, "root": None, "published": 0, "jobs": 3, "finished": 2}
    known = e.VersionListed.model_validate(fields | {"name": "net", "bundle_version": "1.0", "state": "in force"})
    other = e.VersionListed.model_validate(fields | {"name": None, "bundle_version": None, "state": "retired"})
    text = shown(known, other)
    assert f"in force {name}  net 1.0  published 1970-01-01  3 jobs, 2 of them over" in text
    assert f"retired {name}  (published elsewhere)" in text
