"""Promise: no bytes that somebody else made crash a parser, or are read where they should be refused.

Every parser of `tests/parsers` gets arbitrary bytes and spoilt copies of valid ones. It refuses them with the errors
that its callers expect, or reads what encodes to the same again; and it does so in bounded time. The draws are the same
in each run, unless CLOISTER_FUZZ_EXAMPLES asks for more of them. `./cloister bench fuzz` looks further.
"""

import os
import time
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import Refusal
from tests.parsers.parser import SECONDS, Finding
from tests.parsers.spoilt import spoilt
from tests.parsers.table import PARSERS, Parser
from tests.vectors.each_vector import each_vector

EXAMPLES: Final = int(os.environ.get("CLOISTER_FUZZ_EXAMPLES", "60"))
BOUNDED: Final = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES == 60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
EACH: Final = pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS.keys())


def _loops(raw: bytes) -> None:
    end = time.process_time() + SECONDS + 0.1
    while raw == b"slow" and time.process_time() < end:
        pass


@pytest.mark.parametrize(
    ("read", "raw", "words"),
    [
        (lambda raw: raw[4], b"abc", "IndexError"),
        (lambda raw: raw.rstrip(b"\0"), b"abc\0", "reads 616263 as well"),
        (_loops, b"slow", "takes"),
    ],
)
def test_the_judge_finds_what_is_wrong(read: Any, raw: bytes, words: str) -> None:
    with pytest.raises(Finding, match=words):
        Parser("wrong", read, ()).judge(raw)


def test_the_judge_finds_what_comes_back_as_another() -> None:
    with pytest.raises(Finding, match="reads otherwise"):
        Parser("wrong", lambda raw: raw + b" ", (), canonical=False).judge(b"abc")


@EACH
def test_seeds_are_judged_right(parser: Parser) -> None:
    for seed in parser.seeds:
        parser.judge(seed)


@EACH
def test_a_seed_is_read(parser: Parser) -> None:
    """Otherwise the fuzzers never get behind the first check."""
    for seed in parser.seeds:
        try:
            parser.read(seed)
        except parser.refusals:
            continue
        return
    raise AssertionError(f"{parser.name} reads none of its seeds")


@each_vector("fuzzing/findings.json")
def test_what_was_found_is_refused(vector: dict[str, Any]) -> None:
    parser = PARSERS[vector["parser"]]
    with pytest.raises(Refusal, match=vector["outcome"]):
        parser.read(bytes.fromhex(vector["input"]))


@EACH
def test_arbitrary_bytes(parser: Parser) -> None:
    BOUNDED(given(st.binary(max_size=2000))(parser.judge))()


@EACH
def test_spoilt_bytes(parser: Parser) -> None:
    BOUNDED(given(spoilt(parser.seeds))(parser.judge))()
