"""Frames that are sealed before their tick: the same ones, each said once, under a place of their own."""

import pytest

from common.crypto.digests import sha256
from common.crypto.keys import SecretKey
from common.crypto.signing import SigningKey
from common.exchange.ahead import FramesAhead
from common.exchange.frames import Endpoint, FrameBody, FrameKind, FrameLink, FrameOpener, FrameSealer
from common.exchange.parts import Outbox
from common.exchange.payloads import Figures
from common.exchange.toolchain import Toolchain
from tests.fakes.in_memory_job import make_schedule

SCHEDULE = make_schedule()
NOTE = Figures(None, 1, 2).encode()
ORDER = sha256(b"order")


class Sealing:
    """An outbox, the frames of it, and who opens them."""

    def __init__(self) -> None:
        key = SecretKey.generate()
        link = FrameLink.downlink(SCHEDULE, ORDER, Endpoint(0, 1, SigningKey.generate().party))
        self.outbox, self.opener, self.sealed = Outbox(SCHEDULE), FrameOpener(link, key), 0
        sealer = FrameSealer(link, key)
        self.ahead = FramesAhead(SCHEDULE, sealer, self.outbox)
        seal = sealer.seal

        def counted(tick: int, index: int, body: FrameBody) -> bytes:
            self.sealed += 1
            return seal(tick, index, body)

        sealer.seal = counted  # type: ignore[method-assign]

    def prepare(self, tick: int) -> None:
        self.ahead.prepare(tick, 0, Toolchain.FP32)

    def take(self, tick: int) -> list[tuple[int, FrameKind, int]]:
        opened = [self.opener.open(frame) for frame in self.ahead.take(tick, 0, Toolchain.FP32)]
        return [(header.tick, body.kind, body.round) for header, body in opened]


@pytest.fixture
def sealing() -> Sealing:
    return Sealing()


def dummies(tick: int, count: int = SCHEDULE.frames_per_tick) -> list[tuple[int, FrameKind, int]]:
    return [(tick, FrameKind.DUMMY, 0)] * count


def test_at_the_tick_nothing_is_sealed(sealing: Sealing) -> None:
    sealing.outbox.put(FrameKind.NOTE, 3, NOTE)
    sealing.prepare(4)
    before = sealing.sealed
    assert sealing.take(4) == [(4, FrameKind.NOTE, 3), *dummies(4, SCHEDULE.frames_per_tick - 1)]
    assert sealing.sealed == before == SCHEDULE.frames_per_tick


def test_a_first_tick_is_sealed_when_it_comes(sealing: Sealing) -> None:
    sealing.outbox.put(FrameKind.NOTE, 1, NOTE)
    assert sealing.take(0)[0] == (0, FrameKind.NOTE, 1)
    assert sealing.take(1) == dummies(1)


def test_what_was_meant_for_a_tick_that_is_left_out_is_said_in_the_next(sealing: Sealing) -> None:
    sealing.outbox.put(FrameKind.NOTE, 2, NOTE)
    sealing.prepare(5)
    sealing.outbox.put(FrameKind.NOTE, 9, NOTE)
    assert sealing.take(8)[0] == (8, FrameKind.NOTE, 2)
    assert sealing.take(9)[0] == (9, FrameKind.NOTE, 9)


def test_what_is_prepared_twice_is_taken_from_the_outbox_once(sealing: Sealing) -> None:
    for number in range(2 * SCHEDULE.frames_per_tick):
        sealing.outbox.put(FrameKind.NOTE, number, NOTE)
    sealing.prepare(1)
    sealing.prepare(1)
    assert [one[2] for one in sealing.take(1) + sealing.take(2)] == list(range(2 * SCHEDULE.frames_per_tick))


def test_nothing_is_prepared_for_a_tick_that_the_schedule_has_not(sealing: Sealing) -> None:
    sealing.prepare(SCHEDULE.total_ticks)
    assert sealing.sealed == sealing.outbox.dummy_frames == 0
