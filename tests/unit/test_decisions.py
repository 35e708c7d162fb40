"""A decision that code or documents cite stands in ARCHITECTURE.md, under its number."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("common", "services", "client", "deploy", "bench", "examples", "tests", "docs")
TEXTS = {
    path.relative_to(ROOT): path.read_text()
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".md"}
} | {Path(name): (ROOT / name).read_text() for name in ("README.md", "SECURITY.md", "CHANGELOG.md", "ARCHITECTURE.md")}
CITED = re.compile(r"ARCHITECTURE,\s+decisions?\s+(\d+)(?:\s+and\s+(\d+))?")
CITES_ANOTHER = re.compile(r"\bDESIGN(?:\.md|,?\s+(?:decision|section))")
HEADING = re.compile(r"^\*\*(\d+)\. ", re.MULTILINE)


def test_decisions_are_numbered_from_one_on() -> None:
    numbers = [int(number) for number in HEADING.findall(TEXTS[Path("ARCHITECTURE.md")])]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_cited_decision_is_there() -> None:
    known = set(HEADING.findall(TEXTS[Path("ARCHITECTURE.md")]))
    cited = {(str(path), number) for path, text in TEXTS.items() for found in CITED.findall(text) for number in found}
    assert len(cited) > len(known) / 2  # the pattern finds them
    assert {(path, number) for path, number in cited if number and number not in known} == set()


def test_nothing_cites_a_document_that_is_not_here() -> None:
    own = Path(__file__).relative_to(ROOT)
    assert [str(path) for path, text in TEXTS.items() if path != own and CITES_ANOTHER.search(text)] == []
