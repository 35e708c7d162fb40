"""All that a host keeps of one job, as it came (side: host)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.leak_world import Leaves
from common.door import Kind
from common.exchange.frames import FrameHeader
from common.identifiers import JobId
from common.messages.broker_exchange import BrokerRequest
from common.messages.order import Schedule


@dataclass(frozen=True)
class Heard:
    """One message of an enclave: nanoseconds of the monotonic clock, kind, name, body without the name."""

    at: int
    kind: Kind
    name: str
    body: bytes

    @classmethod
    def of(cls, at: int, kind: int, body: bytes) -> "Heard":
        """As it came through the door."""
        if kind in (Kind.REQUEST, Kind.NOTICE):
            end = 1 + body[0]
            return cls(at, Kind(kind), body[1:end].decode("ascii"), body[end:])
        return cls(at, Kind(kind), "", body)


@dataclass(frozen=True)
class Asked:
    """One question to the broker: its bytes, and how long the answer was."""

    request: bytes
    answer_bytes: int

    @property
    def kind(self) -> str:
        """What is asked."""
        return str(BrokerRequest.decode(self.request).body.type)


@dataclass(frozen=True)
class Raw:
    """All that a host kept of one job."""

    job_id: JobId
    schedule: Schedule
    leaves: Leaves
    began: int
    trainer: Sequence[Heard]
    server: Sequence[Heard]
    asked: dict[str, list[Asked]]
    usage: dict[str, dict[str, float]]
    sandbox_cpu: Sequence[float]


Frames = dict[int, list[tuple[int, int, int]]]
"""Of each tick: (nanoseconds, index, bytes) of its frames, in the order in which they came."""


def frames_of(heard: Iterable[Heard], skip: int = 0) -> Frames:
    """Frames among notices; `skip` bytes stand before each."""
    found: Frames = {}
    for one in heard:
        if one.kind is Kind.NOTICE and one.name == "frame":
            header = FrameHeader.parse(one.body[skip:])
            found.setdefault(header.tick, []).append((one.at, header.index, len(one.body) - skip))
    return found
