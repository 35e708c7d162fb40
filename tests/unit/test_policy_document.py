"""docs/policy.md: every example is a policy, and every field of the format has an example and a line."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client.policy_document import DOCUMENTS
from client.policy_file import parse_policy
from client.policy_words import Assumed, sentences
from client.yaml_marks import read_yaml
from common.leakage import FAILURES, RELEASE_TICKS, AnswerSize, answer_bits
from common.messages.answer_bounds import AnswerBounds
from common.refusals import REFUSALS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "policy.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def fields_of(kind: Any, section: str = "") -> Iterator[str]:
    """Paths of all fields, with dots; entries of lists are no fields."""
    for name, field in kind.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            yield from fields_of(field.annotation, f"{section}{name}.")
        else:
            yield f"{section}{name}"


def paths_in(value: Any, section: str = "") -> Iterator[str]:
    """Paths of all fields in an example."""
    for name, inner in value.items():
        yield f"{section}{name}"
        if isinstance(inner, dict):
            yield from paths_in(inner, f"{section}{name}.")


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_policy(example: str) -> None:
    assert list(sentences(parse_policy(example), Assumed(classes=10, ticks=100)))


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_every_field_has_an_example(kind: str) -> None:
    examples = [value for value in (read_yaml(one).value for one in EXAMPLES) if isinstance(value, dict)]
    shown = {path for one in examples for path in paths_in(one) if one["policy"] == kind}
    elsewhere = ("where.tcb.",) if kind == "bundle" else ()
    assert {path for path in fields_of(DOCUMENTS[kind]) if not path.startswith(elsewhere)} - shown == set()


def test_every_field_has_a_line() -> None:
    table = [line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| `")]
    named = set(re.findall(r"`([a-z_.]+)`", " ".join(table)))
    for path in fields_of(DOCUMENTS["data"]):
        assert path in named or path.rsplit(".", 1)[-1] in named, path


def test_every_code_is_a_refusal() -> None:
    codes = set(re.findall(r"`((?:policy|appraisal|format|provider)\.[a-z_]+)`", TEXT))
    assert codes <= REFUSALS.keys()
    assert "policy.bits" in codes


def test_the_numbers_of_bits_are_those_of_the_code() -> None:
    assert f"⌈log₂(C + {FAILURES})⌉ + {RELEASE_TICKS.bit_length() - 1}" in TEXT
    size, three = AnswerSize(10, 40), AnswerBounds(top=3, decimals=2)
    assert f"= {answer_bits(size, 'label')}." in TEXT
    cut, whole = answer_bits(size, "scores", three), answer_bits(size, "scores")
    assert f"confidences to two decimals cost {cut}, all its scores {whole}." in " ".join(TEXT.split())


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
