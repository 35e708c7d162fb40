"""Several queries in one body, and what became of each: read back exactly, and nothing else is read."""

import pytest

from common.errors import FormatError, FreshnessError, Refusal, UnavailableError
from common.messages.query_batch import (
    MAX_BATCH,
    MAX_BATCH_BYTES,
    decode_answers,
    encode_answers,
    most_queries,
    split_queries,
)
from services.query_enclave.sessions import ANSWERS_KEPT


def test_queries_are_split_by_their_one_size() -> None:
    assert split_queries(b"aabbcc", 2) == [b"aa", b"bb", b"cc"]


@pytest.mark.parametrize("body", [b"", b"aab", bytes(2 * MAX_BATCH + 2)])
def test_no_query_a_part_of_one_and_too_many_are_refused(body: bytes) -> None:
    with pytest.raises(FormatError, match=r"format\.query"):
        split_queries(body, 2)


def test_a_batch_is_bounded_by_number_by_bytes_and_by_what_a_session_remembers() -> None:
    assert most_queries(1) == MAX_BATCH <= ANSWERS_KEPT
    assert most_queries(MAX_BATCH_BYTES // 2) == 2
    assert most_queries(MAX_BATCH_BYTES + 1) == 1


def test_what_became_of_each_is_read_back() -> None:
    full, over = UnavailableError("unavailable.full"), FreshnessError("freshness.session")
    said: list[bytes | Refusal] = [b"sealed", full, b"", over]
    read = decode_answers(encode_answers(said), 4)
    assert [one if isinstance(one, bytes) else (type(one), one.code) for one in read] == [
        one if isinstance(one, bytes) else (type(one), one.code) for one in said
    ]


WHOLE = encode_answers([b"sealed", UnavailableError("unavailable.full")])


CUT = WHOLE[:-1], WHOLE[:3], WHOLE + b"\x02", b"\x02ok\xff\xff\xff\xff"


@pytest.mark.parametrize("raw", [b"", *CUT, WHOLE + WHOLE, b"\x04full\0\0\0\x01x"])
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(FormatError, match=r"format\.message"):
        decode_answers(raw, 2)
