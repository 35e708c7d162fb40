"""YAML is read as texts with places, and what a policy has no use for is refused."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.yaml_marks import Mark, YamlError, read_yaml


def test_values_are_texts_and_know_where_they_stand() -> None:
    marked = read_yaml("a: [1, yes, ~]\nb:\n  on: 2027-01-01\n  c: 0123456789\n")
    assert marked.value == {"a": ["1", "yes", None], "b": {"on": "2027-01-01", "c": "0123456789"}}
    assert marked.keys["b", "on"] == Mark(3, 3)
    assert marked.values["a", 1] == Mark(1, 8)
    assert marked.nearest(("b", "missing", 3)) == marked.values["b",]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: &x 1\nb: *x", Mark(1, 4)),
        ("a: 1\na: 2", Mark(2, 1)),
        ("a: !!python/object/apply:os.system [x]", Mark(1, 4)),
        ("a: !mine 1", Mark(1, 4)),
        ("{a: 1", Mark(1, 6)),
        ("a: 1\n---\nb: 2", Mark(2, 1)),
        ("? [a]\n: b", Mark(1, 3)),
        ("a:\n\t- b", Mark(2, 1)),
        ("", Mark(1, 1)),
        ("a: \x00", Mark(1, 1)),
        ("[" * 20 + "]" * 20, Mark(1, 18)),
        ("[" * 5000 + "]" * 5000, Mark(1, 18)),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_refused(text: str, place: Mark) -> None:
    with pytest.raises(YamlError) as refused:
        read_yaml(text)
    assert refused.value.mark == place


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(YamlError):
        read_yaml(text)
