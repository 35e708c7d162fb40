"""The stored vectors are what their generator makes, and docs/formats.md names every label, handler and route."""

import re
from pathlib import Path

import pytest

from common.crypto import labels
from common.messages import query
from tests.vectors.generate import deterministic_files
from tests.vectors.vector_file import VECTORS

FORMATS = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
KEYS = (Path(__file__).parents[2] / "docs" / "keys.md").read_text()
LABELS = {name: value for name, value in vars(labels).items() if isinstance(value, bytes)}


@pytest.mark.parametrize(("path", "content"), list(deterministic_files()), ids=lambda value: str(value)[:40])
def test_files_are_what_the_generator_makes(path: str, content: bytes) -> None:
    assert (VECTORS / path).read_bytes() == content


def test_labels_are_all_different_and_of_this_version() -> None:
    assert len(set(LABELS.values())) == len(LABELS)
    assert all(re.fullmatch(rb"cloister/v1/[a-z/-]+", value) for value in LABELS.values())


def test_every_label_stands_in_the_document_and_no_other() -> None:
    section = FORMATS.split("## 2. Labels", 1)[1].split("\n## ", 1)[0]
    table = "\n".join(line for line in section.splitlines() if line.startswith("|"))
    named = set(re.findall(r"`([a-z][a-z/-]*)`", table))
    assert named == {value.decode().removeprefix("cloister/v1/") for value in LABELS.values()}


def test_sizes_of_sessions_are_those_of_the_document() -> None:
    for size in (query.SESSION_OPEN_BYTES, query.SESSION_REPLY_BYTES, query.WRAPPED_SESSION_BYTES):
        assert f"{size}" in FORMATS


def test_links_lead_somewhere() -> None:
    for text in (FORMATS, KEYS):
        for target in re.findall(r"\]\(([^)#]+)", text):
            assert (Path(__file__).parents[2] / "docs" / target).exists(), target
