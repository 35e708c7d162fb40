"""Golden JSON: every message of version 1 decodes and encodes to the same bytes, and spoilt ones are refused."""

from collections.abc import Iterator
from typing import Any

import pytest

from common.errors import Refusal
from common.messages.base import Message
from tests.vectors.make_messages import FAMILIES, golden_messages
from tests.vectors.message_tables import CLASSES
from tests.vectors.vector_file import read_vectors

GOLDEN = [vector for family in FAMILIES for vector in read_vectors(f"messages/{family}.json")]
REFUSED = read_vectors("messages/refused.json")


@pytest.mark.parametrize("vector", GOLDEN, ids=[vector["name"] for vector in GOLDEN])
def test_golden(vector: dict[str, Any]) -> None:
    raw = vector["encoded"].encode()
    assert CLASSES[vector["message"]].decode(raw).encode() == raw


@pytest.mark.parametrize("vector", REFUSED, ids=[vector["name"] for vector in REFUSED])
def test_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match=vector["outcome"]):
        CLASSES[vector["message"]].decode(vector["encoded"].encode())


def _classes_in(value: object) -> Iterator[type]:
    if isinstance(value, Message):
        yield type(value)
        for name in type(value).model_fields:
            yield from _classes_in(getattr(value, name))
    elif isinstance(value, tuple):
        for one in value:
            yield from _classes_in(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _classes_in(one)


def test_every_message_has_a_golden_one() -> None:
    """A new message, or a new version of one, wants a vector: add a sample in tests/vectors/sample_*.py."""
    shown = {kind for _, message in golden_messages() for kind in _classes_in(message)}
    bases = {"BundleDescription"}  # a base class alone
    assert {name for name, kind in CLASSES.items() if kind not in shown} - bases == set()
