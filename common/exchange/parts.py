"""Payloads cut into frames and put together again; a dummy where there is nothing to say (side: library).

Single-threaded: the loop that runs the clock owns an `Outbox` and its `Assembler`s.
"""

from collections import deque
from dataclasses import dataclass

from common.errors import FormatError
from common.exchange.frames import FrameBody, FrameKind, part_bytes
from common.exchange.payloads import Buffer
from common.exchange.schedule import part_count, payload_bytes
from common.exchange.toolchain import Toolchain
from common.messages.order import Schedule


class Outbox:
    """What one member has to say. `take` gives the next frame's body, whatever the box holds."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._waiting: deque[FrameBody] = deque()
        self._aside: deque[FrameBody] = deque()
        self._nothing = memoryview(bytes(part_bytes(schedule)))
        self.real_frames = self.dummy_frames = 0

    @property
    def empty(self) -> bool:
        """Whether nothing waits but what goes in place of dummies."""
        return not self._waiting

    @property
    def aside_empty(self) -> bool:
        """Whether nothing goes in place of dummies."""
        return not self._aside

    def put(self, kind: FrameKind, round_number: int, payload: Buffer) -> None:
        """Cut `payload` into parts; they leave in order after what waits already. It is not copied."""
        self._waiting.extend(self._cut(kind, round_number, payload))

    def put_aside(self, kind: FrameKind, payload: Buffer) -> None:
        """The same for what has time: its parts leave only in place of dummies. `clear` does not forget them."""
        self._aside.extend(self._cut(kind, 0, payload))

    def _cut(self, kind: FrameKind, round_number: int, payload: Buffer) -> list[FrameBody]:
        size, parts, view = part_bytes(self._schedule), part_count(kind, self._schedule), memoryview(payload)
        if len(payload) != payload_bytes(kind, self._schedule):
            raise ValueError(f"a {kind.name} payload of another size")
        return [
            FrameBody(kind, 0, round_number, part, parts, view[part * size : (part + 1) * size])
            for part in range(parts)
        ]

    def clear(self) -> None:
        """Forget what has not left yet: something newer takes its place."""
        self._waiting.clear()

    def take(self, held: int, toolchain: Toolchain = Toolchain.UNRESOLVED) -> FrameBody:
        """The next part, or a dummy of the same size; `held` and `toolchain` are what its sender stands at."""
        waiting = self._waiting or self._aside
        if not waiting:
            self.dummy_frames += 1
            return FrameBody(FrameKind.DUMMY, held, payload=self._nothing, toolchain=toolchain)
        self.real_frames += 1
        body = waiting.popleft()
        return FrameBody(body.kind, held, body.round, body.part, body.parts, body.payload, toolchain)


@dataclass(frozen=True)
class Payload:
    """A payload that has arrived whole."""

    kind: FrameKind
    round: int
    data: bytearray


class Assembler:
    """Puts the payloads of one sender together; a part of another payload discards an unfinished one."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._payload: Payload | None = None
        self._missing: set[int] = set()

    def add(self, body: FrameBody) -> Payload | None:
        """Take a frame's part; the payload when it was the last one missing. Raises `FormatError`."""
        if body.kind == FrameKind.DUMMY:
            return None
        if body.parts != part_count(body.kind, self._schedule):
            raise FormatError("format.frame", expected=f"the parts of a {body.kind.name}", seen=body.parts)
        payload = self._payload
        if payload is None or (payload.kind, payload.round) != (body.kind, body.round):
            payload = Payload(body.kind, body.round, bytearray(payload_bytes(body.kind, self._schedule)))
            self._payload, self._missing = payload, set(range(body.parts))
        start = body.part * part_bytes(self._schedule)
        room = memoryview(payload.data)[start : start + part_bytes(self._schedule)]
        room[:] = body.payload[: len(room)]
        self._missing.discard(body.part)
        if self._missing:
            return None
        self._payload = None
        return payload
