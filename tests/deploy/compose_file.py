"""docker-compose.yml as Compose reads it: anchors, merges and variables resolved, nothing else."""

import re
from pathlib import Path
from typing import Any, Final

import yaml

from client.measuring import CODE_ROOT

FILE: Final = CODE_ROOT / "docker-compose.yml"
_VARIABLE = re.compile(r"\$\{([A-Z_]+)(?:(:[-?])((?:[^${}]|\$\{[^{}]*\})*))?\}")


def read_compose(environment: dict[str, str], path: Path = FILE) -> dict[str, Any]:
    """The document. Raises `KeyError` for a variable that must be set and is not."""
    text = path.read_text()
    for _ in range(3):  # a default may have variables
        text = _VARIABLE.sub(lambda found: _value(found, environment), text)
    document: dict[str, Any] = yaml.load(text, Loader=yaml.SafeLoader)  # noqa: TID251 - our own file
    return document


def _value(found: re.Match[str], environment: dict[str, str]) -> str:
    name, operator, rest = found.groups()
    if environment.get(name):
        return environment[name]
    if operator == ":?":
        raise KeyError(name)
    return rest or ""
