"""The trainers of one job as the broker's signed list names them (side: enclave; ARCHITECTURE, decision 5).

A member is (slot, attempt). A newer attempt fences the older one: its frames are refused from then on, whatever the
queues still carry. A member is *waited for* in a round unless its provider's code failed, or it was heard once and then
fell silent beyond patience: its relay is gone, and rounds should not wait D ticks for it each time.
"""

from dataclasses import dataclass, field

from common.crypto.keys import SecretKey
from common.errors import AuthenticityError, FormatError, FreshnessError
from common.exchange.frames import Endpoint, FrameBody, FrameHeader, FrameLink, FrameOpener
from common.exchange.parts import Assembler
from common.exchange.payloads import STOPPED
from common.exchange.schedule import patience_ticks
from common.exchange.toolchain import Toolchain
from common.identifiers import CodeMeasurement, Digest, RoleName
from common.messages.jobs import Members
from common.messages.objects import SlotRecord
from common.messages.order import Schedule

TRAINER = RoleName("trainer")
PARAMSERVER = RoleName("paramserver")


@dataclass
class LiveMember:
    """One trainer launch. `held` is what it says it stands at, `toolchain` what it can (frames.FrameBody).

    `design`: the document that it said, of a job that has one. `graph`: what its bundle exports to, of any other; it
    comes in between, so it is put together apart. `stopped`: by its design; its deltas count for nothing. `chunks`: of
    its data, which it has asked for.
    """

    endpoint: Endpoint
    mr_enclave: CodeMeasurement
    opener: FrameOpener
    assembler: Assembler
    graph_assembler: Assembler
    heard_tick: int | None = None
    toolchain: Toolchain = Toolchain.UNRESOLVED
    held: int = 0
    code: str | None = None
    design: bytes | None = None
    graph: bytes | None = None
    stopped: bool = False
    chunks: int = 0


@dataclass
class MemberTable:
    """All trainers of one job; `own` is this launch of the parameter server.

    `newly_heard` is set when a launch speaks for the first time; who has answered it clears it. `unlisted_heard` is set
    by a frame whose clear header names a launch later than the list does: the list is old. `earlier_chunks`: read by
    launches that were superseded. `hearing_since`: the tick of the first frame after a silence of all that was too long
    for one alone to be waited for. The network was silent then, so each gets its time anew.
    """

    schedule: Schedule
    order: Digest
    job_key: SecretKey = field(repr=False)
    own: Endpoint
    own_measurement: CodeMeasurement | None = None
    live: dict[int, LiveMember] = field(default_factory=dict)
    rounds_delivered: dict[int, int] = field(default_factory=dict)
    newly_heard: bool = False
    unlisted_heard: bool = False
    earlier_chunks: int = 0
    hearing_since: int = 0
    _heard_tick: int | None = None

    def admit(self, members: Members) -> None:
        """Take the broker's newest list. Raises `FreshnessError` when it names a later launch than this one."""
        for member in members.members:
            endpoint = Endpoint(member.slot, member.attempt, member.signing_public)
            if member.role == PARAMSERVER:
                self._require_own(endpoint)
                self.own_measurement = member.mr_enclave
            elif member.role == TRAINER:
                self._admit_trainer(endpoint, member.mr_enclave)

    def _require_own(self, endpoint: Endpoint) -> None:
        if endpoint.attempt > self.own.attempt:
            raise FreshnessError("freshness.attempt", expected=endpoint.attempt, seen=self.own.attempt)

    def _admit_trainer(self, endpoint: Endpoint, measured: CodeMeasurement) -> None:
        known = self.live.get(endpoint.slot)
        if known is not None and known.endpoint.attempt >= endpoint.attempt:
            return
        link = FrameLink.uplink(self.schedule, self.order, endpoint, self.own)
        opener = FrameOpener(link, self.job_key)
        self.earlier_chunks += 0 if known is None else known.chunks
        self.live[endpoint.slot] = LiveMember(
            endpoint, measured, opener, Assembler(self.schedule), Assembler(self.schedule)
        )

    def open(self, frame: bytes, tick: int) -> tuple[LiveMember, FrameBody]:
        """Open an uplink frame for the member that it names. Raises the refusals of common/exchange/frames."""
        if len(frame) != self.schedule.frame_bytes:
            raise FormatError("format.frame", expected=f"{self.schedule.frame_bytes} bytes", seen=len(frame))
        header = FrameHeader.parse(frame)
        member = self.live.get(header.sender)
        self.unlisted_heard |= member is None or header.attempt > member.endpoint.attempt
        if member is None:
            raise AuthenticityError("authenticity.frame", expected="a frame of a listed member")
        _, body = member.opener.open(frame)
        self.newly_heard |= member.heard_tick is None
        if self._heard_tick is not None and tick - self._heard_tick > patience_ticks(self.schedule):
            self.hearing_since = tick
        self._heard_tick = tick
        member.heard_tick, member.held, member.toolchain = tick, body.held, body.toolchain
        return member, body

    def waited_for(self, tick: int) -> set[int]:
        """Slots without which an open round does not close before its deadline."""
        return {slot for slot, member in self.live.items() if member.code is None and not self._silent(member, tick)}

    def heard(self, tick: int) -> set[int]:
        """Slots that are waited for and were heard already."""
        return {slot for slot in self.waited_for(tick) if self.live[slot].heard_tick is not None}

    def toolchains(self) -> list[Toolchain]:
        """What each launch that was heard can."""
        return [member.toolchain for member in self.live.values() if member.heard_tick is not None]

    def _silent(self, member: LiveMember, tick: int) -> bool:
        if member.heard_tick is None:
            return False
        return tick - max(member.heard_tick, self.hearing_since) > patience_ticks(self.schedule)

    def codes(self) -> tuple[str, ...]:
        """Why members of the job stopped training, in the order of their slots."""
        said = [member.code or (STOPPED if member.stopped else None) for _, member in sorted(self.live.items())]
        return tuple(code for code in said if code is not None)

    @property
    def read_chunks(self) -> int:
        """Chunks of data that all of them have asked for, and launches that they took the place of."""
        return self.earlier_chunks + sum(member.chunks for member in self.live.values())

    def graphs(self) -> set[bytes]:
        """What the members' bundle exports to, as each of them says that says something."""
        return {member.graph for member in self.live.values() if member.graph is not None}

    def delivered(self) -> tuple[int, ...]:
        """Rounds that each trainer's slot delivered, in the order of the slots."""
        return tuple(self.rounds_delivered.get(slot, 0) for slot in sorted(self.live))

    def records(self) -> tuple[SlotRecord, ...]:
        """What each trainer's slot was, for the model's manifest."""
        return tuple(
            SlotRecord(role=str(TRAINER), slot=slot, attempt=member.endpoint.attempt, mr_enclave=member.mr_enclave)
            for slot, member in sorted(self.live.items())
        )
