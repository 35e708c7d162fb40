"""The layout of a frame, and one direction of frames between two launches (side: library).

    clear header, 19 bytes   magic "CLF" 01 | class 1 | sender's slot 2 | attempt 4 | tick 4 | index in tick 4
    body                     AES-256-GCM of: kind 1 | toolchain 1 | held 4 | round 4 | part 4 | parts 4 | payload,
                             zero-padded; tag 16

All numbers big-endian; a frame is exactly the order's `frame_bytes` long. What the frame says, or that it says nothing,
is inside the body. `held` is what its sender stands at: a trainer names the newest state that it holds (0 none, r + 1
the state of round r), a parameter server the open round in the same way. `toolchain` is the best mode that a trainer
can, and the one that a parameter server has resolved. Key: the job key through the sender's own
SendingCipher, whose context names the launches on both ends; nonce: the frame's place in the schedule; associated data:
header and order digest. A receiver refuses, in this order:
  (1) another size (format.frame);
  (2) another magic, version or class, a place outside the schedule (format.frame);
  (3) another sender (authenticity.frame), or an earlier attempt of it (freshness.attempt);
  (4) a place that is not above the last one taken from that sender: replay, reorder (freshness.frame);
  (5) a body that is not authentic: changed, of another job, order or launch (authenticity.frame);
  (6) an inner layout that no sender of ours makes (format.frame).
Dropping and delaying are not detected here: they cost time, never correctness.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self

from common.crypto.aead import TAG_BYTES, SendingCipher
from common.crypto.digests import transcript
from common.crypto.keys import SecretKey
from common.crypto.labels import FRAME
from common.errors import AuthenticityError, FormatError, FreshnessError
from common.exchange.toolchain import Toolchain
from common.identifiers import Digest, PartyKey
from common.messages.order import Schedule

_MAGIC: Final = b"CLF\x01"
_HEADER: Final = struct.Struct(">4sBHIII")
_INNER: Final = struct.Struct(">BBIIII")

FRAME_HEADER_BYTES: Final = _HEADER.size
FRAME_OVERHEAD: Final = _HEADER.size + _INNER.size + TAG_BYTES


def part_bytes(schedule: Schedule) -> int:
    """Payload bytes that one frame carries."""
    return schedule.frame_bytes - FRAME_OVERHEAD


class FrameClass(IntEnum):
    """Which way a frame goes."""

    UPLINK = 1
    DOWNLINK = 2


class FrameKind(IntEnum):
    """What a frame says; known to the members alone."""

    DUMMY = 0
    STATE = 1
    DELTA = 2
    NOTE = 3
    DESIGN = 4
    STEERING = 5
    GRAPH = 6
    FINAL = 7
    QUANTISED = 8


@dataclass(frozen=True)
class FrameHeader:
    """What the host may see of a frame."""

    frame_class: FrameClass
    sender: int
    attempt: int
    tick: int
    index: int

    def encode(self) -> bytes:
        """The 19 bytes."""
        return _HEADER.pack(_MAGIC, self.frame_class, self.sender, self.attempt, self.tick, self.index)

    @classmethod
    def parse(cls, frame: bytes) -> Self:
        """Check (2) as far as it needs no schedule."""
        if len(frame) < _HEADER.size:
            raise FormatError("format.frame", expected="a whole frame", seen=f"{len(frame)} bytes")
        magic, kind, sender, attempt, tick, index = _HEADER.unpack_from(frame)
        if magic != _MAGIC or kind not in (FrameClass.UPLINK, FrameClass.DOWNLINK):
            raise FormatError("format.frame", expected="magic, version and class of a frame")
        return cls(FrameClass(kind), sender, attempt, tick, index)


@dataclass(frozen=True)
class FrameBody:
    """What a frame says. `payload` is one part of a payload of `parts` parts; a dummy has 0 of 0 and no payload."""

    kind: FrameKind
    held: int
    round: int = 0
    part: int = 0
    parts: int = 0
    payload: bytes | memoryview = b""
    toolchain: Toolchain = Toolchain.UNRESOLVED


@dataclass(frozen=True)
class Endpoint:
    """One launch of a job: slot, attempt, launch key (which the broker's signed member list ties to its quote)."""

    slot: int
    attempt: int
    launch: PartyKey

    def context(self) -> bytes:
        """All of it, for key derivation."""
        return transcript(b"", self.slot.to_bytes(8, "big"), self.attempt.to_bytes(8, "big"), self.launch.raw())


@dataclass(frozen=True)
class FrameLink:
    """One direction of frames of one job. `receiver` is None for the downlink, which all trainers read."""

    schedule: Schedule
    order: Digest
    frame_class: FrameClass
    sender: Endpoint
    receiver: Endpoint | None

    @classmethod
    def uplink(cls, schedule: Schedule, order: Digest, trainer: Endpoint, paramserver: Endpoint) -> Self:
        """From a trainer to one launch of the parameter server: a restarted server means fresh keys."""
        return cls(schedule, order, FrameClass.UPLINK, trainer, paramserver)

    @classmethod
    def downlink(cls, schedule: Schedule, order: Digest, paramserver: Endpoint) -> Self:
        """From a launch of the parameter server to all trainers."""
        return cls(schedule, order, FrameClass.DOWNLINK, paramserver, None)

    def cipher(self, job_key: SecretKey) -> SendingCipher:
        """The cipher of this direction."""
        ends = (self.sender.context(), self.receiver.context() if self.receiver else b"")
        return SendingCipher(job_key, FRAME, bytes([self.frame_class]), self.order.raw(), *ends)

    def associated(self, header: bytes) -> bytes:
        """Associated data of the frame with this header."""
        return transcript(FRAME, header, self.order.raw())


class FrameSealer:
    """Seals the frames of one direction; places must grow, or `RuntimeError` (a nonce would repeat)."""

    def __init__(self, link: FrameLink, job_key: SecretKey) -> None:
        self._link, self._cipher = link, link.cipher(job_key)

    def seal(self, tick: int, index: int, body: FrameBody) -> bytes:
        """One frame. The work is the same whatever `body` says: one buffer of one size is filled and sealed."""
        link = self._link
        plain = bytearray(_INNER.size + part_bytes(link.schedule))
        _INNER.pack_into(plain, 0, body.kind, body.toolchain, body.held, body.round, body.part, body.parts)
        plain[_INNER.size : _INNER.size + len(body.payload)] = body.payload
        if len(plain) != _INNER.size + part_bytes(link.schedule):
            raise ValueError("a part is larger than a frame carries")
        header = FrameHeader(link.frame_class, link.sender.slot, link.sender.attempt, tick, index).encode()
        place = tick * link.schedule.frames_per_tick + index
        return header + self._cipher.seal(place, bytes(plain), link.associated(header))


class FrameOpener:
    """Opens the frames of one sender, in order, each at most once."""

    def __init__(self, link: FrameLink, job_key: SecretKey) -> None:
        self._link, self._cipher = link, link.cipher(job_key)
        self._last_place = -1

    def open(self, frame: bytes) -> tuple[FrameHeader, FrameBody]:
        """Checks (1) to (6) of the module; a refused frame changes nothing."""
        link = self._link
        if len(frame) != link.schedule.frame_bytes:
            raise FormatError("format.frame", expected=f"{link.schedule.frame_bytes} bytes", seen=len(frame))  # (1)
        header = FrameHeader.parse(frame)
        self._require_place(header)  # (2)
        self._require_sender(header)  # (3)
        place = header.tick * link.schedule.frames_per_tick + header.index
        if place <= self._last_place:
            raise FreshnessError("freshness.frame", expected=f"a place above {self._last_place}", seen=place)  # (4)
        associated = link.associated(frame[:FRAME_HEADER_BYTES])
        body = parse_body(self._cipher.open(place, frame[FRAME_HEADER_BYTES:], associated))  # (5), (6)
        self._last_place = place
        return header, body

    def _require_place(self, header: FrameHeader) -> None:
        schedule = self._link.schedule
        if header.frame_class != self._link.frame_class:
            raise FormatError("format.frame", expected=self._link.frame_class.name, seen=header.frame_class.name)
        if header.index >= schedule.frames_per_tick or header.tick >= schedule.total_ticks:
            raise FormatError("format.frame", expected="a place inside the schedule")

    def _require_sender(self, header: FrameHeader) -> None:
        sender = self._link.sender
        if header.sender == sender.slot and header.attempt < sender.attempt:
            raise FreshnessError("freshness.attempt", expected=sender.attempt, seen=header.attempt)
        if (header.sender, header.attempt) != (sender.slot, sender.attempt):
            raise AuthenticityError("authenticity.frame", expected=f"slot {sender.slot}", seen=header.sender)


def parse_body(plain: bytes) -> FrameBody:
    """The inner layout. Raises `FormatError` (6)."""
    if len(plain) < _INNER.size:
        raise FormatError("format.frame", expected=f"at least {_INNER.size} bytes inside", seen=len(plain))
    kind, mode, held, number, part, parts = _INNER.unpack_from(plain)
    if kind not in tuple(FrameKind) or mode not in tuple(Toolchain):
        raise FormatError("format.frame", expected="a known kind and toolchain")
    if kind == FrameKind.DUMMY:
        if (number, part, parts) != (0, 0, 0):
            raise FormatError("format.frame", expected="a dummy without a part")
        return FrameBody(FrameKind.DUMMY, held, toolchain=Toolchain(mode))
    if part >= parts:
        raise FormatError("format.frame", expected=f"a part below {parts}", seen=part)
    payload = memoryview(plain)[_INNER.size :]
    return FrameBody(FrameKind(kind), held, number, part, parts, payload, Toolchain(mode))
