"""A policy file in, terms out, or every problem with its line and column (side: owner)."""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Final, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from client.policy_document import DOCUMENTS, BundleTermsDocument, DataPolicyDocument
from client.policy_terms import PolicyTerms, ProviderTerms
from client.yaml_marks import Mark, Marked, Path, YamlError, read_yaml
from common.errors import FormatError
from common.messages.base import Message

_SHOWN: Final = 60
_PATTERNS: Final = {
    "^[0-9a-f]{64}$": "64 lower-case hexadecimal digits",
    "^([0-9a-f]{64}|[0-9a-f]{96})$": "64 lower-case hexadecimal digits (SGX) or 96 (TDX)",
    "^[0-9a-f]{96}$": "96 lower-case hexadecimal digits",
    "^[0-9a-f]{12}$": "12 lower-case hexadecimal digits",
    "^[0-9a-f]{32}$": "32 lower-case hexadecimal digits",
    "^[A-Za-z_][A-Za-z0-9_]{0,63}$": "a name of letters, digits and underscores",
    r"^INTEL-(SA|DOC)-\d{5}$": "an advisory as INTEL-SA-00615",
}

_TYPES: Final = {
    "missing": "this field",
    "tuple_type": "a list",
    "model_type": "fields",
    "string_type": "a text",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "bool_parsing": "yes or no",
    "bool_type": "yes or no",
}
"""What is expected, by pydantic's type of an error."""


@dataclass(frozen=True, order=True)
class Problem:
    """What is wrong in one place. `field` is the path with dots."""

    mark: Mark
    field: str
    expected: str
    seen: str

    def __str__(self) -> str:
        return f"line {self.mark.line}, column {self.mark.column}: {self.field or 'the file'}: {self.expected}"


class PolicyFileError(FormatError):
    """A file that is no policy; `problems` in the order in which they stand; `path`, where it is known."""

    def __init__(self, problems: list[Problem], path: FilePath | None = None) -> None:
        self.problems = sorted(problems)
        first, place = self.problems[0], "" if path is None else f"{path}: "
        super().__init__("format.policy", expected=place + "; ".join(map(str, self.problems[:8])), seen=first.seen)


def read_policy_file(path: FilePath) -> PolicyTerms | ProviderTerms:
    """The terms that a file states. Raises `PolicyFileError` (format.policy)."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        problem = Problem(Mark(1, 1), "", "a readable text in UTF-8", type(cause).__name__)
        raise PolicyFileError([problem], path) from cause
    try:
        return parse_policy(text)
    except PolicyFileError as error:
        raise PolicyFileError(error.problems, path) from error


def parse_policy(text: str) -> PolicyTerms | ProviderTerms:
    """The terms that a text states. Raises `PolicyFileError` (format.policy)."""
    try:
        marked = read_yaml(text)
    except YamlError as error:
        raise PolicyFileError([Problem(error.mark, "", error.expected, error.seen)]) from error
    kind = _kind_of(marked)
    try:
        return kind.model_validate(marked.value, strict=False).terms
    except ValidationError as cause:
        details = cause.errors(include_url=False)
        raise PolicyFileError([_problem(one, marked, kind) for one in details if not _is_echo(one)]) from cause


def _kind_of(marked: Marked) -> type[DataPolicyDocument] | type[BundleTermsDocument]:
    kinds = " or ".join(f"`policy: {name}`" for name in DOCUMENTS)
    if not isinstance(marked.value, dict):
        raise PolicyFileError([Problem(Mark(1, 1), "", f"fields, {kinds} first", "no mapping")])
    kind = marked.value.get("policy")
    if not isinstance(kind, str) or kind not in DOCUMENTS:
        raise PolicyFileError([Problem(marked.nearest(("policy",)), "policy", kinds, _seen(kind))])
    return DOCUMENTS[kind]


def _problem(error: ErrorDetails, marked: Marked, document: type[Message]) -> Problem:
    path: Path = tuple(error["loc"])
    known = _fields_at(document, path[:-1])
    if error["type"] == "extra_forbidden":
        return Problem(marked.keys[path], _dotted(path), _known_field(str(path[-1]), known), "an unknown field")
    while path not in marked.values and error["type"] != "missing":
        path = path[:-1]  # what pydantic names behind the value is no place in the file
    return Problem(marked.nearest(path), _dotted(path), _expected(error), _seen(error["input"]))


def _is_echo(error: ErrorDetails) -> bool:
    """pydantic does not count entries that are wrong themselves, and calls a list of such too short, besides."""
    if error["type"] != "too_short":
        return False
    least: int = error["ctx"]["min_length"]
    return len(error["input"]) >= least


def _expected(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in {"too_short", "too_long"}:
        return (
            f"{context['min_length']} or more items"
            if kind == "too_short"
            else f"at most {context['max_length']} items"
        )
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], f"a text matching {context['pattern']}")
    if kind in {"literal_error", "enum"}:
        return str(context["expected"])
    return _TYPES.get(kind) or re.sub(r"^(Input should be |Value error, )", "", error["msg"])


def _known_field(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    meant = f"{close[0]}? or " if close else ""
    return f"{meant}one of {', '.join(known)}"


def _fields_at(document: type[Message], path: Path) -> list[str]:
    """Names of the fields of the section at `path`."""
    kind: Any = document
    for step in path:
        annotation = kind.model_fields[step].annotation if isinstance(step, str) else kind
        kind = next((one for one in (annotation, *get_args(annotation)) if hasattr(one, "model_fields")), kind)
    return list(kind.model_fields)


def _dotted(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _seen(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "fields"
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
