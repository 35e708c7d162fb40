"""Tests of the whole stack come last, in two pieces; what judges times comes behind them; all others by files."""

from types import SimpleNamespace
from typing import Any

from tests.side_by_side import BySuite, pytest_collection_modifyitems

FILES = (
    "e2e/kills/test_kill.py", "e2e/test_whole.py", "e2e/test_more.py", "e2e/test_interrupted_demo.py",
    "unit/test_unit.py", "integration/test_direct_stack.py", "integration/test_integration.py",
    "security/test_security.py", "security/sandbox/test_sandbox.py", "security/sandbox/test_leak_meter.py",
)  # fmt: skip


def test_files_come_in_the_order_of_their_suites_and_the_pieces_behind_them() -> None:
    items: list[Any] = [SimpleNamespace(nodeid=f"tests/{name}::test_{n}") for name in FILES for n in range(2)]
    pytest_collection_modifyitems(items)
    pieces, scheduling = dict[str, list[str]](), BySuite.__new__(BySuite)
    for item in items:  # as LoadScopeScheduling makes its queue
        names = pieces.setdefault(scheduling._split_scope(item.nodeid), [])
        names.append(item.nodeid.removeprefix("tests/").partition("::")[0])
    assert [list(dict.fromkeys(names)) for names in pieces.values()] == [
        ["security/sandbox/test_sandbox.py"],
        ["security/test_security.py"],
        ["integration/test_integration.py"],
        ["unit/test_unit.py"],
        ["e2e/test_whole.py", "e2e/test_more.py", "security/sandbox/test_leak_meter.py"],
        ["e2e/kills/test_kill.py", "e2e/test_interrupted_demo.py", "integration/test_direct_stack.py"],
    ]
