"""A verifier without one of its numbered checks, to see what that check alone refuses (side: library).

Steps are read from the code: its plan is a docstring, and each check carries its number in a comment. A module without
a check is compiled from its source, with the statements of that number taken out.
"""

import ast
import inspect
import io
import re
import tokenize
from functools import cache
from types import CodeType, ModuleType

_LABELS = re.compile(r"\((\w+)\)")


def planned_steps(plan: str) -> list[str]:
    """The numbers of a plan: `(1)` or `(a)` at the beginning of a line of a docstring."""
    return re.findall(r"^ *\((\w)\) ", plan, re.MULTILINE)


def checked_steps(module: ModuleType) -> set[str]:
    """The numbers that stand in comments of a module's code."""
    return set().union(*_comments(inspect.getsource(module)).values())


def without(module: ModuleType, *steps: str) -> ModuleType:
    """A module of its own, in which no check of these steps is made."""
    made = ModuleType(module.__name__)
    exec(_compiled(inspect.getsource(module), str(module.__file__), steps), made.__dict__)  # noqa: S102
    return made


@cache
def _compiled(source: str, file: str, steps: tuple[str, ...]) -> CodeType:
    tree = _Removal(_comments(source), set(steps)).visit(ast.parse(source))
    code: CodeType = compile(ast.fix_missing_locations(tree), file, "exec")
    return code


def _comments(source: str) -> dict[int, set[str]]:
    """Step numbers by line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = {token.start[0]: set(_LABELS.findall(token.string)) for token in tokens if token.type == tokenize.COMMENT}
    return {line: labels for line, labels in found.items() if labels}


class _Removal(ast.NodeTransformer):
    """Takes out what only checks: an `if` that raises, a `raise`, a call whose value nobody uses."""

    def __init__(self, labels: dict[int, set[str]], steps: set[str]) -> None:
        self._labels, self._steps = labels, steps

    def visit_If(self, node: ast.If) -> ast.AST:
        raises = isinstance(node.body[-1], ast.Raise) and not node.orelse
        return ast.Pass() if raises and self._is_off(node.lineno, node.body[0].lineno - 1) else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.Pass() if self._is_off(node.lineno, node.end_lineno or node.lineno) else node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return ast.Pass() if self._is_off(node.lineno, node.end_lineno or node.lineno) else node

    def _is_off(self, first: int, last: int) -> bool:
        return any(self._labels.get(line, set()) & self._steps for line in range(first, last + 1))
