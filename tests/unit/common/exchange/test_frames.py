"""A frame: one size, one layout, and a numbered list of refusals."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.crypto.keys import SecretKey
from common.errors import AuthenticityError, FormatError, FreshnessError
from common.exchange.frames import (
    FRAME_HEADER_BYTES,
    FRAME_OVERHEAD,
    Endpoint,
    FrameBody,
    FrameClass,
    FrameHeader,
    FrameKind,
    FrameLink,
    FrameOpener,
    FrameSealer,
    parse_body,
    part_bytes,
)
from common.identifiers import Digest, PartyKey
from tests.fakes.in_memory_job import flip, make_schedule

SCHEDULE = make_schedule()
ORDER = Digest("11" * 32)
KEY = SecretKey(bytes(range(32)))
TRAINER = Endpoint(1, 2, PartyKey("22" * 32))
SERVER = Endpoint(0, 1, PartyKey("33" * 32))
UPLINK = FrameLink.uplink(SCHEDULE, ORDER, TRAINER, SERVER)
BODY = FrameBody(FrameKind.DELTA, 4, 3, 0, 1, b"payload")
VECTORS = Path(__file__).parents[3] / "vectors" / "frames" / "frames.json"


@given(st.integers(0, SCHEDULE.total_ticks - 1), st.integers(0, 1), st.binary(max_size=part_bytes(SCHEDULE)))
def test_what_is_sealed_is_opened(tick: int, index: int, payload: bytes) -> None:
    frame = FrameSealer(UPLINK, KEY).seal(tick, index, FrameBody(FrameKind.STATE, 7, 2, 1, 3, payload))
    header, body = FrameOpener(UPLINK, KEY).open(frame)
    assert len(frame) == SCHEDULE.frame_bytes
    assert header == FrameHeader(FrameClass.UPLINK, 1, 2, tick, index)
    assert (body.kind, body.held, body.round, body.part, body.parts) == (FrameKind.STATE, 7, 2, 1, 3)
    assert bytes(body.payload) == payload.ljust(part_bytes(SCHEDULE), b"\0")


def test_real_and_dummy_differ_in_nothing_that_is_clear() -> None:
    real = FrameSealer(UPLINK, KEY).seal(3, 0, BODY)
    dummy = FrameSealer(UPLINK, KEY).seal(3, 0, FrameBody(FrameKind.DUMMY, 4))
    assert len(real) == len(dummy)
    assert real[:FRAME_HEADER_BYTES] == dummy[:FRAME_HEADER_BYTES]
    assert FRAME_OVERHEAD == FRAME_HEADER_BYTES + 18 + 16


def test_a_part_that_is_too_large_is_a_fault() -> None:
    with pytest.raises(ValueError, match="larger than a frame"):
        FrameSealer(UPLINK, KEY).seal(0, 0, FrameBody(FrameKind.NOTE, 0, 0, 0, 1, bytes(part_bytes(SCHEDULE) + 1)))


def test_a_place_is_sealed_once() -> None:
    sealer = FrameSealer(UPLINK, KEY)
    sealer.seal(2, 1, BODY)
    with pytest.raises(RuntimeError, match="nonce"):
        sealer.seal(2, 0, BODY)


def test_gaps_are_allowed_replays_are_not() -> None:
    sealer, opener = FrameSealer(UPLINK, KEY), FrameOpener(UPLINK, KEY)
    first, second = sealer.seal(0, 0, BODY), sealer.seal(9, 1, BODY)
    opener.open(second)
    for late in (first, second):
        with pytest.raises(FreshnessError) as caught:
            opener.open(late)
        assert caught.value.code == "freshness.frame"


@pytest.mark.parametrize("at", [FRAME_HEADER_BYTES, 500, SCHEDULE.frame_bytes - 1])
def test_a_changed_body_is_not_authentic(at: int) -> None:
    frame = FrameSealer(UPLINK, KEY).seal(0, 0, BODY)
    opener = FrameOpener(UPLINK, KEY)
    with pytest.raises(AuthenticityError):
        opener.open(flip(frame, at))
    opener.open(frame)


@pytest.mark.parametrize("at", range(FRAME_HEADER_BYTES))
def test_a_changed_header_is_refused(at: int) -> None:
    frame = FrameSealer(UPLINK, KEY).seal(3, 0, BODY)
    with pytest.raises((AuthenticityError, FormatError, FreshnessError)):
        FrameOpener(UPLINK, KEY).open(flip(frame, at))


@pytest.mark.parametrize("size", [0, 18, SCHEDULE.frame_bytes - 1, SCHEDULE.frame_bytes + 1])
def test_another_size_is_refused(size: int) -> None:
    frame = FrameSealer(UPLINK, KEY).seal(0, 0, BODY) + b"x"
    with pytest.raises(FormatError):
        FrameOpener(UPLINK, KEY).open(frame[:size])


_NONES = [bytes([9]) + bytes(17), b"\1\3" + bytes(15) + b"\1", bytes(17) + b"\1", bytes([1]) + bytes(17)]


@pytest.mark.parametrize("plain", _NONES)
def test_an_inner_layout_that_no_sender_makes_is_refused(plain: bytes) -> None:
    with pytest.raises(FormatError):
        parse_body(plain)


def test_a_place_outside_the_schedule_is_refused() -> None:
    for tick, index in ((SCHEDULE.total_ticks, 0), (0, SCHEDULE.frames_per_tick)):
        frame = FrameSealer(UPLINK, KEY).seal(tick, index, BODY)
        with pytest.raises(FormatError):
            FrameOpener(UPLINK, KEY).open(frame)


def _vector_link(vector: dict[str, object]) -> FrameLink:
    sender = Endpoint(int(str(vector["slot"])), int(str(vector["attempt"])), PartyKey("22" * 32))
    if vector["class"] == "uplink":
        return FrameLink.uplink(SCHEDULE, ORDER, sender, SERVER)
    return FrameLink.downlink(SCHEDULE, ORDER, sender)


@pytest.mark.parametrize("vector", json.loads(VECTORS.read_text())["vectors"], ids=lambda vector: vector["name"])
def test_vectors(vector: dict[str, object]) -> None:
    frame, opener = bytes.fromhex(str(vector["frame"])), FrameOpener(_vector_link(vector), KEY)
    expected = {"format": FormatError, "authenticity": AuthenticityError, "freshness": FreshnessError}
    if vector["outcome"] == "opens":
        _, body = opener.open(frame)
        assert (body.kind.name, body.toolchain.name) == (vector["kind"], vector["toolchain"])
        assert bytes(body.payload).rstrip(b"\0").hex() == vector["payload"]
        assert FrameSealer(_vector_link(vector), KEY).seal(3, 1, body) == frame
    else:
        with pytest.raises(expected[str(vector["outcome"])]):
            opener.open(frame)
