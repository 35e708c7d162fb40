"""A checkpoint's bytes: one length, and back again."""

import math
import struct

import numpy as np
import pytest

from common.errors import FormatError
from common.exchange.steering import MAX_EPOCHS, pad_design
from common.exchange.toolchain import Toolchain
from common.messages.order import Schedule
from common.refused_calls import RefusedCalls
from services.paramserver.checkpoint import JobProgress, checkpoint_bytes, decode_progress, encode_progress
from tests.fakes.in_memory_job import make_schedule

TRAINERS = 3
SCHEDULE: Schedule = make_schedule(rounds=600)
"""Three rounds an epoch."""

STATE_P = np.arange(SCHEDULE.state_class, dtype=np.float32)
PROGRESS = JobProgress(
    tick=77, rounds_done=31, state_P=STATE_P, velocity_P=-STATE_P, loss=0.25, epochs=(2.0, None, 1e-9),
    since=(None, 0.5), delivered={0: 31, 2: 29}, design=b"{}", refused=RefusedCalls.of_number(5),
    toolchain=Toolchain.BF16,
)  # fmt: skip


def test_what_was_kept_comes_back() -> None:
    again = decode_progress(encode_progress(PROGRESS, SCHEDULE, TRAINERS), SCHEDULE, TRAINERS)
    for name in ("tick", "rounds_done", "loss", "epochs", "since", "delivered", "design", "refused", "toolchain"):
        assert getattr(again, name) == getattr(PROGRESS, name), name
    assert again.state_P is not None
    assert again.velocity_P is not None
    np.testing.assert_array_equal(again.state_P, STATE_P)
    np.testing.assert_array_equal(again.velocity_P, -STATE_P)


def test_before_there_is_a_state_it_is_as_long() -> None:
    early = encode_progress(JobProgress(tick=4), SCHEDULE, TRAINERS)
    assert len(early) == len(encode_progress(PROGRESS, SCHEDULE, TRAINERS)) == checkpoint_bytes(SCHEDULE, TRAINERS)
    assert decode_progress(early, SCHEDULE, TRAINERS) == JobProgress(tick=4)


def test_the_layout_is_as_documented() -> None:
    """Put together here from docs/formats.md, section 8, without the code under test."""
    nan = struct.pack("<d", math.nan)
    losses = struct.pack("<d", 2.0) + nan + struct.pack("<d", 1e-9) + bytes(8 * (MAX_EPOCHS - 3))
    since = nan + struct.pack("<d", 0.5) + bytes(8)
    head = b"CLCP\x01" + b"\x01\x02\0" + struct.pack("<IIdHHII", 77, 31, 0.25, 5, 0, 3, 2)
    rounds = struct.pack("<III", 31, 0, 29)
    whole = head + losses + since + rounds + pad_design(b"{}") + STATE_P.tobytes() + (-STATE_P).tobytes()
    assert encode_progress(PROGRESS, SCHEDULE, TRAINERS) == whole


@pytest.mark.parametrize("at", [0, 4, 5, 6])
def test_another_version_is_refused(at: int) -> None:
    raw = bytearray(encode_progress(PROGRESS, SCHEDULE, TRAINERS))
    raw[at] ^= 0x42
    with pytest.raises(FormatError, match=r"format\.checkpoint"):
        decode_progress(bytes(raw), SCHEDULE, TRAINERS)


@pytest.mark.parametrize("trainers", [TRAINERS - 1, TRAINERS + 1])
def test_another_orders_length_is_refused(trainers: int) -> None:
    with pytest.raises(FormatError, match=r"format\.checkpoint"):
        decode_progress(encode_progress(PROGRESS, SCHEDULE, TRAINERS), SCHEDULE, trainers)
