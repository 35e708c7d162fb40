"""States, deltas with error feedback, figures, and payloads cut into parts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from common.errors import FormatError
from common.exchange.frames import FrameBody, FrameKind, part_bytes
from common.exchange.parts import Assembler, Outbox
from common.exchange.payloads import (
    FIGURES_BYTES,
    OUTCOME_CODES,
    DeltaEncoder,
    Figures,
    decode_delta,
    decode_state,
    encode_state,
    from_bf16,
    pad_state,
    to_bf16,
)
from common.exchange.schedule import part_count, payload_bytes
from common.refusals import REFUSALS
from tests.fakes.in_memory_job import make_schedule

SCHEDULE = make_schedule()
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(npst.arrays(np.float32, 16, elements=FINITE))
def test_bf16_is_the_nearest_of_its_neighbours(values: np.ndarray) -> None:
    halves = to_bf16(values)
    rounded = from_bf16(halves)
    assert np.isfinite(rounded).all()
    for step in (-1, 1):
        neighbour = from_bf16((halves.astype(np.int32) + step).astype(np.uint16))
        near = np.isfinite(neighbour)
        error, other = (np.abs(x.astype(np.float64) - values) for x in (rounded, neighbour))
        assert (error[near] <= other[near]).all()


def test_ties_go_to_even_and_overflow_saturates() -> None:
    ties = np.array([0x3F808000, 0x3F818000, 0x7F7FFFFF, 0xFF7FFFFF], np.uint32).view(np.float32)
    assert to_bf16(ties).tolist() == [0x3F80, 0x3F82, 0x7F7F, 0xFF7F]


def test_error_feedback_loses_nothing_in_the_long_run() -> None:
    encoder, delta_P = DeltaEncoder(4), np.array([1.001, -0.3333, 1e-6, 0.0], np.float32)
    total_P = np.zeros(4, np.float64)
    for _ in range(200):
        total_P += decode_delta(encoder.encode(delta_P, Figures(None, 0, 1)), 4)[0]
    assert np.allclose(total_P, 200.0 * delta_P, rtol=1e-4, atol=1e-9)
    plain_P = 200.0 * from_bf16(to_bf16(delta_P)).astype(np.float64)
    assert abs(plain_P[0] - 200.2) > 0.1  # without feedback the same deltas drift


def test_extreme_deltas_stay_finite() -> None:
    encoder = DeltaEncoder(3)
    for _ in range(4):
        delta_P, _ = decode_delta(encoder.encode(np.array([3e38, -3e38, np.inf], np.float32), Figures(0.5, 1, 1)), 3)
        assert np.isfinite(delta_P).all()


@given(FINITE, st.integers(0, 2**32 - 1), st.integers(0, 2**63), st.sampled_from(OUTCOME_CODES))
def test_figures_round_trip(loss: float, steps: int, rows: int, code: str | None) -> None:
    figures = Figures.parse(Figures(loss, steps, rows, code).encode())
    assert (figures.steps, figures.rows, figures.code) == (steps, rows, code)
    assert figures.loss == loss or abs(loss) >= 3e38


@pytest.mark.parametrize("loss", [None, math.nan, math.inf, -math.inf, 1e300])
def test_what_is_no_loss_travels_as_none(loss: float | None) -> None:
    assert Figures.parse(Figures(loss, 1, 1).encode()).loss is None


def test_codes_are_public_refusals_and_foreign_ones_are_translated() -> None:
    assert REFUSALS.keys() >= set(OUTCOME_CODES[1:])
    assert Figures.parse(Figures(None, 0, 0, "policy.budget").encode()).code == "unavailable.enclave"
    assert Figures.parse(Figures(None, 0, 0, "confinement.gpu").encode()).code == "confinement.failed"


def test_chunks_that_were_asked_for_are_told() -> None:
    assert Figures.parse(Figures(None, 0, 0, chunks=1 << 20).encode()).chunks == 1 << 20


@pytest.mark.parametrize("raw", [b"", bytes(FIGURES_BYTES - 1), bytes(FIGURES_BYTES - 6) + b"\xff\xff" + bytes(4)])
def test_malformed_figures_are_refused(raw: bytes) -> None:
    with pytest.raises(FormatError):
        Figures.parse(raw)


def test_states_are_padded_checked_and_round_trip() -> None:
    padded_P = pad_state(np.array([1, 2], np.float32), 4)
    assert decode_state(encode_state(padded_P), 4).tolist() == [1, 2, 0, 0]
    for payload in (bytes(15), np.array([1, 2, 3, np.nan], np.float32).tobytes()):
        with pytest.raises(FormatError):
            decode_state(payload, 4)
    with pytest.raises(FormatError):
        pad_state(np.zeros(5, np.float32), 4)
    with pytest.raises(FormatError):
        decode_delta(bytes(8), 4)


@given(st.sampled_from([FrameKind.STATE, FrameKind.DELTA, FrameKind.NOTE]), st.randoms())
def test_parts_in_any_order_make_the_payload(kind: FrameKind, shuffle: "st.random.Random") -> None:  # type: ignore[name-defined]
    payload = bytes(shuffle.randrange(256) for _ in range(payload_bytes(kind, SCHEDULE)))
    outbox, assembler = Outbox(SCHEDULE), Assembler(SCHEDULE)
    outbox.put(kind, 3, payload)
    bodies = [outbox.take(1) for _ in range(part_count(kind, SCHEDULE))]
    assert outbox.empty
    assert outbox.take(1) == FrameBody(FrameKind.DUMMY, 1, payload=bytes(part_bytes(SCHEDULE)))
    shuffle.shuffle(bodies)
    arrived = [assembler.add(body) for body in (bodies[0], *bodies)]
    if len(bodies) > 1:
        assert arrived[:-1] == [None] * len(bodies)
    assert arrived[-1] is not None
    assert (arrived[-1].kind, arrived[-1].round, bytes(arrived[-1].data)) == (kind, 3, payload)
    assert (outbox.real_frames, outbox.dummy_frames) == (len(bodies), 1)


def test_a_newer_payload_discards_an_unfinished_one() -> None:
    outbox, assembler = Outbox(SCHEDULE), Assembler(SCHEDULE)
    for number, fill in ((0, b"a"), (1, b"b")):
        outbox.put(FrameKind.STATE, number, fill * payload_bytes(FrameKind.STATE, SCHEDULE))
    count = part_count(FrameKind.STATE, SCHEDULE)
    bodies = [outbox.take(0) for _ in range(2 * count)]
    for body in (bodies[0], *bodies[count:-1]):
        assert assembler.add(body) is None
    payload = assembler.add(bodies[-1])
    assert payload is not None
    assert set(payload.data) == {ord("b")}


def test_a_foreign_number_of_parts_is_refused() -> None:
    with pytest.raises(FormatError):
        Assembler(SCHEDULE).add(FrameBody(FrameKind.STATE, 0, 0, 0, 99, b"x"))
    with pytest.raises(ValueError, match="another size"):
        Outbox(SCHEDULE).put(FrameKind.STATE, 0, b"short")
