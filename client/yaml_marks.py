"""YAML as texts that remember where they stand (side: owner).

PyYAML composes a graph of nodes; no object is ever constructed from it, and what a scalar means is decided by whoever
reads the field, so that `yes`, 1e10 or a key of digits alone are the texts that somebody wrote. Refused: anchors and
aliases (a small file could stand for a large one), tags of applications, several documents, a key that comes twice.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import yaml

MAX_CHARS: Final = 1 << 20
MAX_DEPTH: Final = 16
_PREFIX: Final = "tag:yaml.org,2002:"
_SCALARS: Final = frozenset({"str", "int", "float", "bool", "null", "timestamp", "merge", "value"})

Plain = dict[str, "Plain"] | list["Plain"] | str | None
Path = tuple[str | int, ...]
"""Keys and indices from the root down."""


@dataclass(frozen=True, order=True)
class Mark:
    """A place in a file; lines and columns count from 1."""

    line: int
    column: int


class YamlError(Exception):
    """Something that this reader does not take, and where."""

    def __init__(self, mark: Mark, expected: str, seen: str) -> None:
        super().__init__(expected, seen)
        self.mark, self.expected, self.seen = mark, expected, seen


@dataclass(frozen=True)
class Marked:
    """A document. `keys` are the places of mapping keys, `values` of all values, by path."""

    value: Plain
    keys: dict[Path, Mark] = field(default_factory=dict)
    values: dict[Path, Mark] = field(default_factory=dict)

    def nearest(self, path: Path) -> Mark:
        """The place of a value, or of the closest thing around it that is there."""
        while path not in self.values:
            path = path[:-1]
        return self.values[path]


def read_yaml(text: str) -> Marked:
    """The one document of a text. Raises `YamlError`."""
    if len(text) > MAX_CHARS:
        raise YamlError(Mark(1, 1), f"at most {MAX_CHARS} characters", f"{len(text)}")
    try:
        _require_events(yaml.parse(text, Loader=yaml.SafeLoader))
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as cause:
        raise YamlError(_mark(cause.problem_mark), "YAML", cause.problem or "something else") from cause
    except (yaml.YAMLError, RecursionError) as cause:
        raise YamlError(Mark(1, 1), "YAML of a few levels", str(cause).splitlines()[0]) from cause
    if node is None:
        raise YamlError(Mark(1, 1), "a policy", "an empty file")
    keys, values = dict[Path, Mark](), dict[Path, Mark]()
    return Marked(_plain(node, (), keys, values), keys, values)


def _require_events(events: Iterable[yaml.Event]) -> None:
    """As they come, so that a deep text is left at its first level too many."""
    depth = 0
    for event in events:
        _require_plain(event)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH + 1:
            raise YamlError(_mark(event.start_mark), f"at most {MAX_DEPTH} levels", "more")


def _require_plain(event: yaml.Event) -> None:
    mark = _mark(event.start_mark)
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        raise YamlError(mark, "no anchors and aliases", "one")
    tag = getattr(event, "tag", None)
    if tag is not None:
        raise YamlError(mark, "no tags", str(tag))


def _plain(node: yaml.Node, path: Path, keys: dict[Path, Mark], values: dict[Path, Mark]) -> Plain:
    values[path] = mark = _mark(node.start_mark)
    if len(path) > MAX_DEPTH:
        raise YamlError(mark, f"at most {MAX_DEPTH} levels", "more")
    if isinstance(node, yaml.MappingNode):
        made: dict[str, Plain] = {}
        for key, value in node.value:
            name = _name(key)
            if name in made:
                raise YamlError(_mark(key.start_mark), "each key once", name)
            keys[*path, name] = _mark(key.start_mark)
            made[name] = _plain(value, (*path, name), keys, values)
        return made
    if isinstance(node, yaml.SequenceNode):
        return [_plain(one, (*path, at), keys, values) for at, one in enumerate(node.value)]
    return None if node.tag == f"{_PREFIX}null" else str(node.value)


def _name(key: yaml.Node) -> str:
    if not isinstance(key, yaml.ScalarNode) or key.tag.removeprefix(_PREFIX) not in _SCALARS:
        raise YamlError(_mark(key.start_mark), "a name", "something else as a key")
    return str(key.value)


def _mark(mark: yaml.Mark | None) -> Mark:
    return Mark(1, 1) if mark is None else Mark(mark.line + 1, mark.column + 1)
