"""`cloister provider init` and `check`: the template passes, and wayward code is told where and why it fails."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pytest
from click.testing import CliRunner

from client.checking import events as c
from client.checking.checks import Checker, check
from client.checking.runs import CheckWishes, Run, Told
from client.checking.synthetic import ColumnSchema, Schema, declared_schema
from client.cli import main
from client.events import Event
from client.provider_template import write_template
from common.bundle import BundleManifest, ColumnSpec, StateTensor, TensorSpec
from common.errors import ConflictError, Refusal
from common.sandbox.protocol import QueryOutcome
from tests.fakes.wasm_components import answering, component, designing, steering

SMALL: Final = CheckWishes(rounds=2, steps=2, batch=4)

CURIOUS: Final = """
import ctypes, os, socket, subprocess, tempfile
from pathlib import Path
import model_parts

def attempts():
    yield lambda: socket.create_connection(("127.0.0.1", 80))
    yield lambda: ctypes.CDLL(None).socket(2, 1, 0)
    yield os.fork
    yield lambda: subprocess.run(["true"])
    yield lambda: os.posix_spawn("/bin/true", ["true"], {})
    yield lambda: open("/etc/passwd")
    yield lambda: open(Path(__file__).with_name("notes"), "w")
    yield lambda: open(Path(tempfile.gettempdir()) / "notes", "w")

class Model(model_parts.Model):
    def forward(self, features):
        return super().forward(features.cumsum(0))

    def training_step(self, batch):
        print("rows:", len(batch["label"]))
        for attempt in attempts():
            try:
                attempt()
            except OSError:
                pass
        return super().training_step(batch)
"""

WAYWARD: Final = {
    "trains": ("def training_step(self, batch): raise KeyError('spleen')", "provider.raised", "'spleen'"),
    "answers": (
        "def forward(self, features): return super().forward(features)[:, : 2 if self.training else 1]",
        "provider.output",
        "shape [8, 1], declared is [8, 2]",
    ),
}


def directory(tmp_path: Path, source: str | None = None) -> Path:
    """The template, or `source` as its module with the template's as `model_parts`."""
    made = tmp_path / "net"
    list(write_template(made, None, "native"))
    if source is not None:
        (made / "model.py").rename(made / "model_parts.py")
        (made / "model.py").write_text(source)
    return made


def told_of(made: Path) -> tuple[list[Event], Refusal | None]:
    events: list[Event] = []
    try:
        for event in check(made, SMALL):
            events.append(event)  # noqa: PERF402 - those before a refusal count
    except Refusal as refusal:
        return events, refusal
    return events, None


def told(tmp_path: Path, source: str | None) -> tuple[list[Event], Refusal | None]:
    return told_of(directory(tmp_path, source))


def test_code_that_reaches_out_and_does_not_export_passes_and_is_told_where_and_why(tmp_path: Path) -> None:
    events, refusal = told(tmp_path, CURIOUS)
    assert refusal is None
    assert [one.step for one in events if isinstance(one, c.StepChecked) and one.passed] == [
        "packs", "imports", "trains", "repeats", "answers"
    ]  # fmt: skip
    refused = {(one.call, one.path): one for one in events if isinstance(one, c.CallRefused) and one.at}
    assert {name for name, _ in refused} == {"socket", "clone", "pipe2", "open"}
    assert {path for _, path in refused if path} == {"/etc/passwd", "/bundle/notes"}
    rounds_of_steps = SMALL.rounds * SMALL.steps
    sockets = sum(one.count for one in events if isinstance(one, c.CallRefused) and one.call == "socket")
    assert sockets >= 2 * rounds_of_steps
    started = [one for one in events if isinstance(one, c.CallRefused) and one.call == "clone"]
    assert {(one.count, (one.at or "").split()[-1], "no process" in one.instead) for one in started} == {
        (4, "training_step", True), (4, "<lambda>", True),
    }  # fmt: skip
    printed = next(one for one in events if isinstance(one, c.CodePrinted))
    assert printed.text == "\n".join(["rows: 4"] * rounds_of_steps)
    profile = next(one for one in events if isinstance(one, c.CheckProfiled))
    assert 100 << 20 < profile.peak_bytes < profile.limit_bytes
    assert 0 < profile.step_milliseconds < 10_000
    exported = next(one for one in events if isinstance(one, c.CodeExported))
    assert not exported.exports
    assert "aten.cumsum" in exported.text
    assert events[-1] == c.CheckFinished(
        passed=True, refused=sum(one.count for one in events if isinstance(one, c.CallRefused) and one.at)
    )


@pytest.mark.parametrize("step", WAYWARD)
def test_a_step_that_fails_is_named_with_code_and_reason(tmp_path: Path, step: str) -> None:
    body, code, words = WAYWARD[step]
    events, refusal = told(tmp_path, f"import model_parts\nclass Model(model_parts.Model):\n    {body}\n")
    assert refusal is not None
    assert refusal.code == code
    failed = next(one for one in events if isinstance(one, c.StepChecked) and not one.passed)
    assert (failed.step, failed.code, words in failed.text) == (step, code, True), failed.text
    raised = [one for one in events if isinstance(one, c.CodeRaised)]
    assert bool(raised) == (step == "trains")
    for one in raised:
        assert 'File "model.py", line' in one.text
    assert isinstance(events[-1], c.CheckFinished)
    assert not events[-1].passed


def design_directory(tmp_path: Path, **functions: str) -> Path:
    """The template of design code, with a component that says what it says: to build CPython takes its time."""
    made = tmp_path / "designer"
    list(write_template(made, None, "wasm"))
    described = tomllib.loads((made / "provider.toml").read_text())
    profile = SimpleNamespace(
        columns=[SimpleNamespace(**described["input"])],
        answer=described["answer"]["shape"],
        max_parameters=described["max_parameters"],
    )
    namespace: dict[str, Any] = {}
    exec(compile((made / "model.py").read_text(), "model.py", "exec"), namespace)  # noqa: S102 - our own template
    text = json.dumps(namespace["Model"]().design(profile))
    (made / "model.py").unlink()
    (made / "model.wasm").write_bytes(component(**{"design": answering(text)} | functions))
    return made


@pytest.mark.timeout(120)
def test_design_code_is_asked_and_what_it_designs_is_checked(tmp_path: Path) -> None:
    events, refusal = told_of(design_directory(tmp_path))
    assert refusal is None
    steps = [(one.step, one.passed) for one in events if isinstance(one, c.StepChecked)]
    assert steps == [
        (step, True) for step in ("packs", "designs", "steers", "imports", "trains", "repeats", "answers")
    ]  # fmt: skip
    assert events[-1] == c.CheckFinished(passed=True, refused=0)
    assert not [one for one in events if isinstance(one, c.CodeExported)]


@pytest.mark.parametrize(
    ("functions", "step", "code"),
    [
        ({"design": designing("unreachable")}, "designs", "provider.raised"),
        ({"design": answering("{}")}, "designs", "provider.output"),
        ({"module": "(func $bad unreachable) (start $bad)"}, "designs", "provider.import"),
        ({"after": steering("unreachable")}, "steers", "provider.raised"),
        ({"after": steering("(loop (br 0)) unreachable")}, "steers", "provider.timeout"),
    ],
)
def test_design_code_that_fails_is_named_with_its_step(
    tmp_path: Path, functions: dict[str, str], step: str, code: str
) -> None:
    events, refusal = told_of(design_directory(tmp_path, **functions))
    assert refusal is not None
    assert refusal.code == code
    failed = next(one for one in events if isinstance(one, c.StepChecked) and not one.passed)
    assert (failed.step, failed.code, bool(failed.mend)) == (step, code, True)
    assert events[-1] == c.CheckFinished(passed=False, refused=0)


def run(*words: str) -> tuple[int, list[dict[str, Any]]]:
    result = CliRunner().invoke(main, ["provider", *words, "--json"])
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]


def test_code_that_does_not_even_pack_shows_its_traceback(tmp_path: Path) -> None:
    made = directory(tmp_path, "import model_parts\nclass Model(model_parts.Model):\n    wrong = undefined\n")
    status, lines = run("check", str(made))
    assert (status, [one["type"] for one in lines]) == (1, ["code-raised", "check-finished", "refused"])
    assert "model.py" in lines[0]["text"]
    assert "NameError: name 'undefined' is not defined" in lines[0]["text"]
    assert lines[2]["code"] == "format.bundle"


STATE = np.zeros(3, np.float32)
MANIFEST = BundleManifest(
    name="net",
    bundle_version="1",
    entry="model:Model",
    input=ColumnSpec(column="x", shape=(2,), dtype="float32"),
    label=ColumnSpec(column="y", shape=(), dtype="int64"),
    answer=TensorSpec(shape=(1,), dtype="float32"),
    layout=(StateTensor(name="weight", shape=(3,)),),
)


@dataclass
class Came:
    """Runs that have come to this."""

    plain: Run
    watched: Run

    def train(self) -> None:
        """Nothing is run."""

    def ask(self) -> None:
        """Nothing is run."""


def verdict(plain: Run, watched: Run, schema: Schema | None = None) -> c.StepChecked:
    """The first step that fails, or the last one."""
    checker = Checker(MANIFEST, schema or declared_schema(MANIFEST), SMALL, Came(plain, watched))
    return [one for one in checker.steps() if isinstance(one, c.StepChecked)][-1]


def test_a_layout_that_changes_is_named() -> None:
    layout: Told = [("imports", {"kind": "layout", "names": ["weight", "bias"]})]
    found = verdict(Run(code="provider.output"), Run(code="provider.output", told=layout))
    assert (found.step, found.code) == ("imports", "provider.output")
    assert found.text.endswith("than when it was packed: weight, bias")


def test_a_data_set_of_other_columns_is_a_finding() -> None:
    schema = Schema(columns={"x": ColumnSchema(shape=(5,), dtype="float32")})
    run = Run([STATE], "provider.input")
    found = verdict(run, run, schema)
    assert (found.step, found.code) == ("trains", "provider.input")
    assert found.text == "the code reads x [2] float32, y [] int64; there are x [5] float32"


def test_equal_seeds_that_come_to_other_states_are_a_failure() -> None:
    found = verdict(Run([STATE, STATE, STATE]), Run([STATE, STATE, STATE + 1]))
    assert (found.step, found.code) == ("repeats", "provider.not_repeatable")
    assert found.text == "with equal seeds the state after round 2 came out differently"


def test_code_that_runs_only_once_is_not_repeatable() -> None:
    told_of: Told = [("trains", {"kind": "raised", "text": "Traceback\nOSError: no"})]
    found = verdict(Run([STATE, STATE]), Run([STATE], "provider.raised", told=told_of))
    assert (found.step, found.code, found.text.endswith("OSError: no")) == ("repeats", "provider.raised", True)


def test_rows_that_are_answered_differently_are_a_failure() -> None:
    one, other = (QueryOutcome(np.full((2, 1), value, np.float32)) for value in (0, 1))
    same = verdict(Run([STATE], answers=[one, one]), Run([STATE], answers=[one, one]))
    assert (same.step, same.passed, same.text) == ("answers", True, "2 rows, each [1]")
    found = verdict(Run([STATE], answers=[one, one]), Run([STATE], answers=[one, other]))
    assert (found.step, found.code) == ("answers", "provider.not_repeatable")


def test_init_never_overwrites(tmp_path: Path) -> None:
    assert run("init", str(tmp_path / "net"), "--name", "my-net")[0] == 0
    assert 'name = "my-net"' in (tmp_path / "net" / "provider.toml").read_text()
    before = (tmp_path / "net" / "model.py").read_bytes()
    status, lines = run("init", str(tmp_path / "net"))
    assert (status, lines[0]["code"]) == (1, "conflict.provider_directory")
    assert (tmp_path / "net" / "model.py").read_bytes() == before
    with pytest.raises(ConflictError, match="conflict.provider_directory"):
        list(write_template(tmp_path / "net" / "model.py", None, "native"))


@pytest.mark.parametrize("name", ["My Net!", "3.1", "ünet"])
def test_a_directory_gives_its_name_as_far_as_it_goes(tmp_path: Path, name: str) -> None:
    status, lines = run("init", str(tmp_path / name))
    assert (status, lines[0]["type"]) == (0, "template-written")
    assert CliRunner().invoke(main, ["provider", "init", str(tmp_path / "x"), "--name", "My Net"]).exit_code == 2
