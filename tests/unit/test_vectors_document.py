"""The stored vectors are what their generator makes, and docs/formats.md names every label, handler and route."""

import ast
import re
from pathlib import Path

import pytest

from common.crypto import labels
from common.exchange.payloads import OUTCOME_CODES
from common.messages import query
from services.ingest.order_queue import ORDERS
from tests.vectors.generate import deterministic_files
from tests.vectors.message_tables import CLASSES, marked_names, with_tables
from tests.vectors.vector_file import VECTORS

ROOT = Path(__file__).parents[2]
FORMATS = (ROOT / "docs" / "formats.md").read_text()
KEYS = (ROOT / "docs" / "keys.md").read_text()
RELEASES = (ROOT / "docs" / "releases.md").read_text()
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
    for text in (FORMATS, KEYS, RELEASES):
        for target in re.findall(r"\]\(([^)#]+)", text):
            assert (ROOT / "docs" / target).exists(), target


def test_tests_that_a_document_names_are_there() -> None:
    for name in re.findall(r"`(tests/[a-z_/]+\.py)`", RELEASES):
        assert (ROOT / name).is_file(), name


def test_tables_of_messages_are_those_of_the_classes() -> None:
    """Otherwise: `python -m tests.vectors.message_tables`."""
    assert with_tables(FORMATS) == FORMATS
    assert set(CLASSES) - {"BundleDescription"} == set(marked_names(FORMATS))


def test_codes_of_figures_stand_in_the_document_in_order() -> None:
    listed = FORMATS.split("Codes: 0 none", 1)[1].split("`held`", 1)[0]
    assert re.findall(r"`([a-z_.]+)`", listed) == list(OUTCOME_CODES[1:])


def test_every_door_handler_and_route_stands_in_the_document() -> None:
    """Names are read from the sources of services: the document lists what they offer."""
    sources = "\n".join(path.read_text() for path in (ROOT / "services").rglob("*.py"))
    names = set(
        re.findall(r'"((?:state|broker|object)\.[a-z]+|open_job|close_job|job_ended|ended|place|proof)":', sources)
    )
    assert names
    assert {name for name in names if f"`{name}`" not in FORMATS} == set()
    prefixes = set(re.findall(r'prefix="(/v1/[a-z]+)"', sources)) | set(re.findall(r'"(/v1/[a-z]+)"\)', sources))
    assert prefixes
    assert {prefix for prefix in prefixes if prefix not in FORMATS} == set()


def test_programs_in_the_document_are_programs() -> None:
    """The submitter is run in tests/integration/test_ingest_queues.py; this sees to it that it stays ten lines."""
    submitter, maker = re.findall(r"```python\n(.*?)```", FORMATS, re.DOTALL)
    ast.parse(maker)
    ast.parse(submitter)
    assert len(submitter.splitlines()) == 10
    assert f'"{ORDERS}"' in submitter
