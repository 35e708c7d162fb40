"""Every module states its side, and no side imports what it must not: the docstrings are held to their word.

The contracts in pyproject.toml name whole packages; this reads what each single module says of itself.
"""

import ast
import importlib.util
import re
from pathlib import Path

import grimp
import pytest

PACKAGES = ("common", "services", "client", "deploy", "bench")
SIDES = {"host", "enclave", "sandbox", "verifier", "owner", "library"}

FORBIDDEN = {
    "host": {"enclave", "sandbox"},
    "enclave": {"host", "owner"},
    "verifier": {"host", "sandbox"},
    "sandbox": SIDES - {"sandbox"},
    "library": {"host", "enclave", "sandbox"},
}
"""What a module of one side alone must not import directly. The owner trusts his own machine: nothing is forbidden."""


def sides_of(docstring: str) -> set[str]:
    stated = re.search(r"\bsides?:([^)]*)", docstring, re.IGNORECASE)
    words = set(re.findall(r"[a-z]+", stated.group(1))) if stated else set()
    return (words | set(re.findall(r"\[([a-z]+)\]", docstring))) & SIDES


def read_sides() -> dict[str, set[str]]:
    sides = {}
    for module in sorted(graph().modules):
        spec = importlib.util.find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        sides[module] = sides_of(ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or "")
    return sides


_graphs: list[grimp.ImportGraph] = []


def graph() -> grimp.ImportGraph:
    if not _graphs:
        _graphs.append(grimp.build_graph(*PACKAGES, cache_dir=None))
    return _graphs[0]


def violations(imports: dict[str, set[str]], sides: dict[str, set[str]]) -> list[str]:
    return [
        f"{importer} ({side}) imports {module} ({', '.join(sorted(sides[module]))})"
        for importer, imported in sorted(imports.items())
        for side in sides[importer]
        for module in sorted(imported)
        if len(sides[importer]) == 1 and sides[module] and sides[module] <= FORBIDDEN.get(side, set())
    ]


def test_every_module_states_its_side() -> None:
    silent = [module for module, sides in read_sides().items() if not sides]
    assert silent == ["services"]  # it holds no code, and says: see each


def test_no_side_imports_what_it_must_not() -> None:
    imports = {module: graph().find_modules_directly_imported_by(module) for module in graph().modules}
    assert violations(imports, read_sides()) == []


@pytest.mark.parametrize(
    ("importer", "imported"),
    [("host", "enclave"), ("enclave", "host"), ("sandbox", "library"), ("library", "host"), ("verifier", "host")],
)
def test_the_check_finds_a_planted_violation(importer: str, imported: str) -> None:
    sides = {"one": {importer}, "two": {imported}}
    assert violations({"one": {"two"}}, sides) == [f"one ({importer}) imports two ({imported})"]


def test_a_side_is_read_from_the_usual_places() -> None:
    assert sides_of("A thing (side: host).") == {"host"}
    assert sides_of("A thing (side: enclave; ARCHITECTURE, decision 5).\n\nMore.") == {"enclave"}
    assert sides_of("A thing (sides: host for app, enclave for the rest).") == {"host", "enclave"}
    assert sides_of("A thing.\n\n    app  [host]  front\n    enclave  [enclave]  back") == {"host", "enclave"}
    assert sides_of("A thing that hosts nothing.") == set()
