"""A write at a moment: not before, whole or told how much, and no other Python runs right before it."""

import bisect
import os
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from common.exchange.clock import SWITCH_SECONDS, first
from common.punctual import GRIP_SECONDS, write_at

MOST, TRIES, ENOUGH = 500, 20, 12
INSTANT = 0.00003


@pytest.fixture
def moments() -> Iterator[list[float]]:
    """When another thread ran Python, which it does all the time."""
    found, over, before = list[float](), threading.Event(), sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)

    def spin() -> None:
        while not over.is_set():
            found.append(time.monotonic())

    thread = threading.Thread(target=spin)
    thread.start()
    yield found
    over.set()
    thread.join()
    sys.setswitchinterval(before)


def test_nothing_else_runs_in_the_instant_before_it(moments: list[float]) -> None:
    """Tries in which the other thread had no processor shortly before do not count."""
    reader, writer = os.pipe()
    tried, alone = 0, 0
    for number in range(MOST):
        at = time.monotonic() + 0.005
        with first():
            assert write_at(writer, b"%d." % number, at) >= 2
        assert time.monotonic() >= at
        before, held, after = (bisect.bisect_left(moments, at - one) for one in (0.001, INSTANT, 0.0))
        if before < bisect.bisect_left(moments, at - 2 * GRIP_SECONDS):
            tried, alone = tried + 1, alone + (held == after)
        if tried == TRIES:
            break
    assert tried == TRIES
    assert alone >= ENOUGH
    assert os.read(reader, 4000) == b"".join(b"%d." % one for one in range(number + 1))
    os.close(reader)
    os.close(writer)


def test_a_moment_that_is_over_is_now() -> None:
    reader, writer = os.pipe()
    began = time.monotonic()
    assert write_at(writer, b"late", began - 1) == 4
    assert time.monotonic() - began < 1
    assert os.read(reader, 10) == b"late"
    os.close(reader)
    assert write_at(writer, b"nobody", began) == 0
    os.close(writer)
