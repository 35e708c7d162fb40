"""No shipped module can answer a query that was not sealed: the plain twin of bench/serve_twin stays in bench/.

Threat model: whoever runs the machines chooses settings, commands and arguments. None of them may lead to an enclave
that reads questions in the clear, nor to a sandbox that answers with an engine of their choice: that, too, is for
bench/ alone, in builds that measure otherwise (bench/serve_builds).
"""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.serve_twin_parts import PlainCipher
from common.errors import AuthenticityError
from common.messages.query import HEADER_BYTES
from common.messages.query_tensors import encode_question
from common.sandboxed.engine_report import EngineKind
from tests.fakes.query_world import PROFILE, QueryWorld, rows_of

ROOT = Path(__file__).parents[2]
SHIPPED = ("common", "services", "client", "deploy", "examples")
CIPHER_METHODS = {"open_query", "seal_answer"}


def trees() -> Iterator[tuple[str, ast.Module]]:
    for folder in SHIPPED:
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield str(file.relative_to(ROOT)), ast.parse(file.read_text())


def imports_of_bench(tree: ast.Module) -> list[str]:
    """Also those inside functions, and by name."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += [node.value] if node.value.startswith("bench.") else []
    return [name for name in found if name.split(".")[0] == "bench"]


def ciphers_of(tree: ast.Module) -> list[str]:
    """Classes that could stand for a session's cipher."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return [
        one.name
        for one in classes
        if {part.name for part in one.body if isinstance(part, ast.FunctionDef)} & CIPHER_METHODS
    ]


def calls_of(tree: ast.Module, name: str) -> int:
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return sum(isinstance(one, ast.Name) and one.id == name for one in calls)


def test_nothing_that_is_shipped_imports_bench() -> None:
    assert {file: names for file, tree in trees() if (names := imports_of_bench(tree))} == {}
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert sorted(packaged) == sorted(f"{folder}*" for folder in SHIPPED)


def test_one_class_seals_and_one_place_makes_what_answers() -> None:
    found = list(trees())
    assert [(file, name) for file, tree in found for name in ciphers_of(tree)] == [
        ("common/query_sealing.py", "SessionCipher")
    ]
    for name, places in {
        "Answering": ["services/query_enclave/enclave.py"],
        "SessionTable": ["services/query_enclave/enclave.py"],
        "SessionCipher": ["services/query_enclave/sessions.py", "client/query_channel.py"],
    }.items():
        made = [file for file, tree in found if calls_of(tree, name) and "sandboxed" not in file]
        assert made == places, name


def test_one_module_chooses_an_engine_and_nothing_outside_tells_it_which() -> None:
    """OpenVINO's engines are made where they are compared, or calibrated; what a sandbox reads names none of them."""
    found = list(trees())
    made = {file for file, tree in found if calls_of(tree, "OpenVinoEngine")}
    assert made == {"common/sandboxed/engine_choice.py", "common/sandboxed/quantising.py"}
    assert [file for file, tree in found if calls_of(tree, "choose_engine")] == ["common/sandboxed/query_process.py"]
    names = {kind.name for kind in EngineKind} | {"EngineKind"}
    named = {file for file, tree in found for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in names}
    assert {file for file in named if not file.startswith("common/sandboxed/")} == set()
    for file, tree in found:
        if file.startswith("common/sandboxed/"):
            assert "environ" not in {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}, file


@pytest.mark.parametrize(
    "planted",
    [
        "import bench.serve_twin",
        "def f():\n    from bench import serve_twin_parts",
        "import importlib\nimportlib.import_module('bench.serve_twin_parts')",
    ],
)
def test_the_search_finds_a_planted_import(planted: str) -> None:
    assert imports_of_bench(ast.parse(planted))


def test_the_search_finds_a_planted_cipher() -> None:
    assert ciphers_of(ast.parse("class Fast:\n    def open_query(self, query): return query")) == ["Fast"]


def test_a_question_in_the_clear_is_refused_under_a_live_session(tmp_path: Path) -> None:
    """As the twin's user sends it, with the header of a session that the enclave knows."""
    world = QueryWorld(tmp_path)
    launch = world.launch()
    session = world.session(launch)
    session.ask(rows_of(1))
    sealed = launch.sent[-1][1]
    clear = sealed[:HEADER_BYTES] + encode_question(rows_of(1), PROFILE)
    clear = clear.ljust(len(sealed), b"\0")
    assert PlainCipher(PROFILE).open_query(clear) == encode_question(rows_of(1), PROFILE)
    with pytest.raises(AuthenticityError, match=r"authenticity\.query"):
        launch.answering.answer(clear)
    assert launch.model.calls == 1
