"""Which directory names the stack that a command speaks to (side: owner).

The embedded stack's is `.cloister`. `cloister --context NAME` means `.cloister-NAME` instead, of a stack that something
else runs: in it lie `endpoints.json` and `release/`, what the operator publishes.
"""

import re
from pathlib import Path
from typing import Final

import click

CONTEXT: Final = "--context"
EMBEDDED: Final = Path(".cloister")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


def context_name() -> str | None:
    """What `--context` says. Raises `click.BadParameter` for what is no name."""
    current = click.get_current_context(silent=True)
    name: str | None = None if current is None else current.find_root().params.get("context")
    if name is not None and _NAME.fullmatch(name) is None:
        raise click.BadParameter("lower-case letters, digits and hyphens", param_hint=CONTEXT)
    return name


def state_directory() -> Path:
    """The directory of the stack that was named, or the embedded one's."""
    name = context_name()
    return EMBEDDED if name is None else EMBEDDED.with_name(f"{EMBEDDED.name}-{name}")


def require_embedded() -> None:
    """Raises `click.UsageError` where another stack was named: who runs that one starts, stops and deletes it."""
    if context_name() is not None:
        raise click.UsageError("this command is for the embedded stack, not for one that something else runs")
