"""Which of our files an entry module can import, found without running anything (side: host).

The sources are parsed, and every `import` in them is followed, wherever it stands (in functions, too) except under
`if TYPE_CHECKING:`. A module that is imported by a computed name is not found, hence not in the snapshot, hence not
importable in the enclave: an omission makes an enclave fail, never run unmeasured code.
"""

import ast
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from common.errors import UnavailableError

_BLOCKS: Final = ("body", "orelse", "finalbody")
"""Where statements hold statements, beside `except` and `case` clauses (ast, abstract grammar)."""

_TYPE_CHECKING: Final = frozenset({"TYPE_CHECKING", "typing.TYPE_CHECKING"})


def import_closure(entry: str, root: Path, packages: Collection[str] = ()) -> frozenset[str]:
    """Files under `root` (POSIX paths relative to it) that importing `entry` may execute.

    Only of these top-level `packages`, if any are named: an installation has other people's beside ours. Raises
    `UnavailableError` (unavailable.launcher) when the entry is not there or a file does not parse.
    """
    found: set[str] = set()
    waiting = [entry]
    seen: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        if packages and module.split(".")[0] not in packages:
            continue
        for name in _files_of(module, root):
            if name not in found:
                found.add(name)
                waiting.extend(_imports(name, root))
    if not any(name in found for name in _candidates(entry)):
        raise UnavailableError("unavailable.launcher", expected=f"module {entry}", seen="no such file")
    return frozenset(found)


def foreign_modules(names: Collection[str], root: Path, packages: Collection[str]) -> frozenset[str]:
    """Modules outside of these top-level `packages` that our files `names` import anywhere.

    Of `from a import b` both `a` and `a.b`, which need not be a module.
    """
    named = {module for name in names if name.endswith(".py") for module in _imports(name, root)}
    return frozenset(module for module in named if module and module.split(".")[0] not in packages)


def _candidates(module: str) -> tuple[str, str]:
    path = module.replace(".", "/")
    return f"{path}.py", f"{path}/__init__.py"


def _files_of(module: str, root: Path) -> Iterator[str]:
    """The module's file and the `__init__` of each package above it, those that exist in our tree."""
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        for name in _candidates(".".join(parts[:depth])):
            if (root / name).is_file():
                yield name


def _imports(name: str, root: Path) -> Iterator[str]:
    """Every module that this file names in an import; of `from a import b` both `a` and `a.b`."""
    package = name.removesuffix(".py").removesuffix("/__init__").split("/")
    if not name.endswith("__init__.py"):
        package = package[:-1]
    try:
        tree = ast.parse((root / name).read_bytes(), filename=name)
    except SyntaxError as cause:
        raise UnavailableError("unavailable.launcher", expected=f"{name} parses", seen=cause) from cause
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _executed(tree: ast.Module) -> Iterator[ast.stmt]:
    """Every statement but those that only type checkers see."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        yield node
        blocks = ["orelse"] if isinstance(node, ast.If) and ast.unparse(node.test) in _TYPE_CHECKING else _BLOCKS
        for block in blocks:
            waiting.extend(child for child in getattr(node, block, ()) if isinstance(child, ast.stmt))
        for clause in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            waiting.extend(clause.body)
