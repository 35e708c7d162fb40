"""A trainer's end of the exchange, as a pure machine that the clock drives (side: enclave).

Holds: the job key's ciphers, the newest state as it came.  Reads: frames.  Sends: one batch of frames a tick.

A trainer follows the newest launch of the parameter server that the broker names; a later one means fresh ciphers, a
fresh clock and the first round again. What it has to say is said until the server's frames show that it moved on:
queues that restart lose frames. Any thread may call `receive`; the rest belongs to the clock's thread.
"""

import queue
import time
from dataclasses import dataclass
from typing import Final

from common.crypto.keys import SecretKey
from common.errors import FormatError, Refusal
from common.exchange.ahead import FramesAhead
from common.exchange.clock import Now
from common.exchange.frames import Endpoint, FrameBody, FrameKind, FrameLink, FrameOpener, FrameSealer
from common.exchange.parts import Assembler, Outbox, Payload
from common.exchange.payloads import Buffer
from common.exchange.schedule import patience_ticks
from common.exchange.steering import Steering
from common.exchange.toolchain import Toolchain
from common.identifiers import Digest
from common.messages.order import Schedule

INBOX_FRAMES = 1 << 14
"""Frames that wait for the next tick; what a host floods beyond is dropped and counted as refused."""


@dataclass(frozen=True)
class Heard:
    """An authentic frame of the parameter server: its tick, and when it came (monotonic seconds)."""

    tick: int
    at: float


ASIDE_TIMES: Final = 3
"""How often what is offered is said to one launch of the parameter server, which does not confirm it: queues lose
frames."""


@dataclass(frozen=True)
class Saying:
    """One payload for the parameter server: the initial state (round 0), a round's delta, or a note of the end.

    `design`: the DESIGN payload that an initial state needs before it, in a job that has one.
    """

    kind: FrameKind
    round: int
    payload: Buffer
    design: bytes | None = None


@dataclass
class _Offer:
    """A payload that has time, and how often and when it was said to the launch that is followed."""

    payload: bytes
    times: int = 0
    tick: int = -1


@dataclass(frozen=True)
class RoundState:
    """The state that a round starts from, as float32 bytes, and the toolchain of the job.

    `steering` came with it, in a job with a design.
    """

    round: int
    data: bytearray
    steering: Steering | None = None
    toolchain: Toolchain = Toolchain.FP32


class TrainerExchange:
    """One trainer launch of one job. `steered`: a design decides, and no state is taken without its steering. `final`:
    the state that the model will have, in an order that asks for int8.

    `able`: the best toolchain here.
    """

    def __init__(
        self,
        schedule: Schedule,
        order: Digest,
        job_key: SecretKey,
        own: Endpoint,
        *,
        steered: bool = False,
        able: Toolchain = Toolchain.FP32,
        now: Now = time.monotonic,
    ) -> None:
        self._now = now
        self._schedule, self._order, self._job_key, self.own, self._steered = schedule, order, job_key, own, steered
        self._able = able
        self._frames: queue.Queue[tuple[bytes, float]] = queue.Queue(INBOX_FRAMES)
        self._offers: dict[FrameKind, _Offer] = {}
        self.paramserver: Endpoint | None = None
        self.refused_frames = 0
        self._begin()

    def follow(self, paramserver: Endpoint) -> bool:
        """Follow this launch if it is later than the one followed so far; whether it is."""
        if self.paramserver is not None and paramserver.attempt <= self.paramserver.attempt:
            return False
        self.paramserver = paramserver
        up = FrameLink.uplink(self._schedule, self._order, self.own, paramserver)
        down = FrameLink.downlink(self._schedule, self._order, paramserver)
        self._opener = FrameOpener(down, self._job_key)
        self._begin()
        self._next_frames = FramesAhead(self._schedule, FrameSealer(up, self._job_key), self._outbox)
        return True

    def _begin(self) -> None:
        self._outbox, self._assembler = Outbox(self._schedule), Assembler(self._schedule)
        self._saying: Saying | None = None
        self._said_tick = 0
        self._offers = {kind: _Offer(offer.payload) for kind, offer in self._offers.items()}
        self._steering: tuple[int, Steering] | None = None
        self.state: RoundState | None = None
        self.final: RoundState | None = None
        self.server_stands = 0

    def receive(self, frame: bytes) -> None:
        """Queue a frame as it came from the host."""
        try:
            self._frames.put_nowait((frame, self._now()))
        except queue.Full:
            self.refused_frames += 1

    def listen(self) -> Heard | None:
        """Take what has come in; the last authentic frame of it, or None."""
        heard = None
        for _ in range(self._frames.qsize() if self.paramserver else 0):
            frame, at = self._frames.get_nowait()
            try:
                header, body = self._opener.open(frame)
                heard = Heard(header.tick, at)
                self._take(body)
            except Refusal:
                self.refused_frames += 1
        return heard

    def say(self, saying: Saying) -> None:
        """Send this from the next tick on, instead of whatever was being said, until it has had its effect."""
        self._saying, self._said_tick = saying, -1
        self._outbox.clear()

    @property
    def has_effect(self) -> bool:
        """Whether what was said last has had its effect, or came too late for it."""
        return self._saying is None or not self._is_wanted(self._saying)

    def offer(self, kind: FrameKind, payload: bytes) -> None:
        """Say this GRAPH or QUANTISED payload too, wherever there is nothing else to say."""
        self._offers[kind] = _Offer(payload)

    def emit(self, tick: int) -> list[bytes]:
        """The frames of a tick, real or dummy, which `process` has sealed in the tick before."""
        return self._next_frames.take(tick, self._held, self._able)

    def process(self, tick: int) -> None:
        """What follows in a tick: take what came, say what is to be said, repeat what seems lost; then the next frames
        are sealed.
        """
        self.listen()
        saying = self._saying
        if saying is not None and self._outbox.empty and self._is_wanted(saying) and self._is_time(tick):
            if saying.design is not None:
                self._outbox.put(FrameKind.DESIGN, saying.round, saying.design)
            self._outbox.put(saying.kind, saying.round, saying.payload)
            self._said_tick = tick
        self._repeat_offers(tick)
        self._next_frames.prepare(tick + 1, self._held, self._able)

    @property
    def _held(self) -> int:
        return 0 if self.state is None else self.state.round + 1

    def _repeat_offers(self, tick: int) -> None:
        for kind, offer in self._offers.items():
            again = offer.tick < 0 or tick - offer.tick >= patience_ticks(self._schedule)
            if again and self._outbox.aside_empty and offer.times < ASIDE_TIMES:
                self._outbox.put_aside(kind, offer.payload)
                offer.times, offer.tick = offer.times + 1, tick

    def _is_time(self, tick: int) -> bool:
        return self._said_tick < 0 or tick - self._said_tick >= patience_ticks(self._schedule)

    def _is_wanted(self, saying: Saying) -> bool:
        """Whether the server has not moved past it: it stands at 0 before it has a state, at r + 1 in round r."""
        match saying.kind:
            case FrameKind.STATE:
                return self.server_stands == 0
            case FrameKind.DELTA:
                return self.server_stands == saying.round + 1
            case _:
                return True

    def _take(self, body: FrameBody) -> None:
        self.server_stands = body.held
        payload = self._assembler.add(body)
        if payload is None:
            return
        if payload.kind == FrameKind.STEERING:
            self._steering = (payload.round, Steering.parse(payload.data))
        elif payload.kind == FrameKind.STATE:
            self._take_state(payload, body.toolchain)
        elif payload.kind == FrameKind.FINAL and self.final is None:
            self.final = RoundState(payload.round, payload.data)

    def _take_state(self, payload: Payload, toolchain: Toolchain) -> None:
        """A state whose steering was lost is not held, so it comes again. Raises `FormatError` for one of no mode."""
        if toolchain is Toolchain.UNRESOLVED:
            raise FormatError("format.frame", expected="a state of a job whose toolchain is resolved")
        number, steering = self._steering or (-1, None)
        if not self._steered:
            self.state = RoundState(payload.round, payload.data, None, toolchain)
        elif number == payload.round:
            self.state = RoundState(payload.round, payload.data, steering, toolchain)
