"""Layouts of sessions, queries and answers: what is encoded comes back, and nothing else is read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.bundle import DType, TensorSpec
from common.errors import FormatError, PolicyError, UnavailableError
from common.identifiers import SessionId
from common.messages.query import (
    ANSWER_MAGIC,
    QUERY_MAGIC,
    QUESTION_HEAD,
    RECEIPT_ROOM,
    Header,
    QueryProfile,
    pad_document,
    size_class,
    unpad_document,
)
from common.messages.query_tensors import (
    DTYPES,
    decode_outcome,
    decode_question,
    encode_answer,
    encode_question,
    encode_refusal,
)

IMAGES = QueryProfile(
    input=TensorSpec(shape=(2, 3), dtype="uint8"), answer=TensorSpec(shape=(4,), dtype="float32"), max_rows=5
)


def profile_of(dtype: DType) -> QueryProfile:
    """A profile of this element type."""
    return QueryProfile(input=TensorSpec(shape=(3,), dtype=dtype), answer=IMAGES.answer, max_rows=2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_every_type_come_back(dtype: DType) -> None:
    rows = np.arange(6).reshape(2, 3).astype(dtype)
    padded = encode_question(rows, profile_of(dtype))
    back = decode_question(padded, profile_of(dtype))
    assert back.dtype == rows.dtype
    np.testing.assert_array_equal(back, rows)


@given(count=st.integers(1, 5))
def test_a_question_has_one_size(count: int) -> None:
    assert len(encode_question(np.ones((count, 2, 3), np.uint8), IMAGES)) == IMAGES.question_bytes


def test_big_endian_rows_are_sent_little_endian() -> None:
    rows = np.array([[1.5, 2.5, 3.5]], dtype=">f4")
    padded = encode_question(rows, profile_of("float32"))
    np.testing.assert_array_equal(decode_question(padded, profile_of("float32")), [[1.5, 2.5, 3.5]])


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 0), (0, 9), (0, 7), (1, 1), (1, 3), (2, 2), (3, 1), (7, 0), (7, 6), (11, 3), (19, 1), (43, 4), (80, 1)],
)
def test_a_question_of_another_layout_is_refused(at: int, value: int) -> None:
    padded = bytearray(encode_question(np.ones((5, 2, 3), np.uint8), IMAGES))
    padded[at] = value
    with pytest.raises(FormatError, match=r"format\.query"):
        decode_question(bytes(padded), IMAGES)


def test_a_truth_value_is_0_or_1() -> None:
    padded = bytearray(encode_question(np.ones((1, 3), np.bool_), profile_of("bool")))
    padded[QUESTION_HEAD + 1] = 2
    with pytest.raises(FormatError, match=r"format\.query"):
        decode_question(bytes(padded), profile_of("bool"))


@given(raw=st.binary(min_size=IMAGES.question_bytes, max_size=IMAGES.question_bytes))
def test_noise_is_refused_and_never_crashes(raw: bytes) -> None:
    with pytest.raises(FormatError, match=r"format\.query"):
        decode_question(b"\xff" + raw[1:], IMAGES)


def test_scores_come_back_with_their_labels() -> None:
    scores = np.array([[0, 3, 1, 2], [5, 4, 3, 2]], np.float32)
    answer = decode_outcome(encode_answer(scores, 17, "scores", IMAGES), IMAGES)
    np.testing.assert_array_equal(answer.scores, scores)
    np.testing.assert_array_equal(answer.labels, [1, 0])
    assert answer.answers_left == 17


def test_labels_leave_the_scores_out() -> None:
    scores = np.array([[0.25, 3, 1, 2]], np.float32)
    padded = encode_answer(scores, 0, "label", IMAGES)
    assert np.float32(0.25).tobytes() not in padded
    assert decode_outcome(padded, IMAGES).scores is None


def test_a_refusal_comes_back_as_itself() -> None:
    padded = encode_refusal(PolicyError("policy.budget", expected="at most 2 rows", seen="3 rows"), 2, IMAGES)
    with pytest.raises(PolicyError, match=r"policy\.budget") as caught:
        decode_outcome(padded, IMAGES)
    assert (caught.value.expected, caught.value.seen) == ("at most 2 rows", "3 rows")


def test_a_long_refusal_is_cut_to_the_class() -> None:
    refusal = UnavailableError("unavailable.enclave", expected="e" * 5000, seen="ü" * 5000)
    padded = encode_refusal(refusal, 0, IMAGES)
    assert len(padded) == IMAGES.outcome_bytes
    with pytest.raises(UnavailableError):
        decode_outcome(padded, IMAGES)


def test_outcomes_have_one_size() -> None:
    scores = np.ones((5, 4), np.float32)
    sizes = {
        len(encode_answer(scores[:count], 1, detail, IMAGES)) for count in (1, 5) for detail in ("label", "scores")
    }
    assert sizes | {len(encode_refusal(PolicyError("policy.grant"), 0, IMAGES))} == {IMAGES.outcome_bytes}


@pytest.mark.parametrize(("at", "value"), [(0, 4), (1, 1), (7, 0), (7, 6), (-RECEIPT_ROOM - 1, 1)])
def test_an_outcome_of_another_layout_is_refused(at: int, value: int) -> None:
    padded = bytearray(encode_answer(np.ones((5, 4), np.float32), 1, "scores", IMAGES))
    padded[at] = value
    with pytest.raises(FormatError, match=r"format\.message"):
        decode_outcome(bytes(padded), IMAGES)


@given(session=st.binary(min_size=16, max_size=16), counter=st.integers(0, (1 << 64) - 1))
def test_a_header_comes_back(session: bytes, counter: int) -> None:
    header = Header(SessionId("session_" + session.hex()), counter)
    assert Header.parse(header.encode(QUERY_MAGIC) + b"rest", QUERY_MAGIC) == header


@pytest.mark.parametrize(
    "change", [lambda raw: raw[:31], lambda raw: b"X" + raw[1:], lambda raw: raw[:4] + b"\2" + raw[5:]]
)
def test_a_foreign_header_is_refused(change: object) -> None:
    raw = Header(SessionId.new(), 1).encode(QUERY_MAGIC)
    with pytest.raises(FormatError, match=r"format\.query"):
        Header.parse(change(raw), QUERY_MAGIC)  # type: ignore[operator]
    with pytest.raises(FormatError, match=r"format\.query"):
        Header.parse(raw, ANSWER_MAGIC)


@given(document=st.binary(max_size=60))
def test_a_padded_document_comes_back(document: bytes) -> None:
    assert unpad_document(pad_document(document, 64)) == document


def test_documents_that_do_not_fit_or_are_not_padded_are_refused() -> None:
    with pytest.raises(FormatError, match=r"format\.too_large"):
        pad_document(bytes(61), 64)
    for padded in (b"\0\0\0\1ab", b"\0\0\1\0" + bytes(60), b"\xff" * 64):
        with pytest.raises(FormatError, match=r"format\.message"):
            unpad_document(padded)


@pytest.mark.parametrize(
    ("count", "size"), [(1, 1024), (1024, 1024), (1025, 2048), (1 << 20, 1 << 20), ((1 << 20) + 1, 2 << 20)]
)
def test_size_classes(count: int, size: int) -> None:
    assert size_class(count) == size


def test_the_largest_query_fits_the_door() -> None:
    largest = QueryProfile(
        input=TensorSpec(shape=(16 << 20,), dtype="uint8"), answer=TensorSpec(shape=(), dtype="float64"), max_rows=1
    )
    assert largest.query_bytes < 32 << 20
