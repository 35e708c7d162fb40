"""One job at the parameter server, as a pure machine that the clock drives (side: enclave).

Holds: the job's state, deltas and member ciphers.  Reads: frames and member lists.  Sends: one batch of frames a tick.

`receive` and `admit` may be called from any thread and only queue; all else happens on the clock's thread. A tick first
emits and then processes, so that nothing which came in shows in the moment of emission; work that takes longer for real
payloads than for dummies (adding deltas, encoding a state) runs on `executor`, and its result is looked at later:
  (1) frames_per_tick frames are sealed, real or dummy;
  (2) member lists: newer attempts fence older ones;
  (3) frames: opened or refused, payloads put together;
  (4) finished work: a new state opens the next round and is broadcast; the first waits until a toolchain is resolved;
  (5) a round that is due closes, if the broker has answered since the one before: its deltas go to the executor;
  (6) a member that lacks the open round's state gets it again.
In a job with a design a first state is taken from a member whose design came before it and stands the checks; every
state then goes out behind the design's digest and the losses that designs steer by.
"""

import queue
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Final

from common.crypto.digests import sha256
from common.crypto.keys import SecretKey
from common.errors import FormatError, Refusal
from common.exchange.frames import Endpoint, FrameKind, FrameLink, FrameSealer
from common.exchange.parts import Outbox, Payload
from common.exchange.payloads import Figures, StateP, decode_state, encode_state
from common.exchange.schedule import patience_ticks, question_ticks, rounds_per_answer
from common.exchange.steering import EpochLosses, Steering, unpad_design
from common.exchange.toolchain import Toolchain
from common.identifiers import Digest, JobId
from common.messages.attestation import Members
from common.messages.order import Schedule, ToolchainWish
from common.messages.policy import JobOutcome, JobReport
from common.messages.provider_report import Learned, ToldToProvider
from common.refused_calls import NONE_REFUSED
from services.paramserver.aggregation import OuterOptimiser, RoundResult
from services.paramserver.checkpoint import JobProgress
from services.paramserver.membership import LiveMember, MemberTable
from services.paramserver.schedule import RoundSchedule
from services.paramserver.toolchain import ToolchainChoice

INBOX_FRAMES = 1 << 16
"""Frames that wait for the next tick; what a host floods beyond is dropped and counted as refused."""


NO_ROUND: Final = "unavailable.rounds"
"""The code in a job's last report when no round was done, or an owner's trainers had too small a part in them, and no
member told a code: trainers came late, or died."""


@dataclass(frozen=True)
class JobContext:
    """What one launch of the parameter server knows of a job when it is admitted.

    `require_design` checks the design of a job that has one, and raises `FormatError`; None: the bundle is ordinary.
    `owner_slots`: of each owner, the slots that train on its data; of each of them one must have delivered
    `minimal_rounds`, or nothing was learned.
    """

    job_id: JobId
    order: Digest
    schedule: Schedule
    own: Endpoint
    outer_learning_rate: float
    outer_momentum: float
    require_design: Callable[[bytes], object] | None = None
    trainers: int = 1
    toolchain: ToolchainWish = "auto"
    owner_slots: tuple[frozenset[int], ...] = ()
    minimal_rounds: int = 0


@dataclass(frozen=True)
class _Advance:
    """Finished work: the state of the round that opens now, encoded for the broadcast; `result` of the closed one.

    `design`: the document that came with a first state.
    """

    state_P: StateP
    velocity_P: StateP
    encoded: bytes
    result: RoundResult | None
    design: bytes | None = None


class ParameterServerJob:
    """The rounds, members and frames of one job. `refused_calls`: what its members said of them, joined.

    `progress`: where an earlier launch had got to, if it left a checkpoint.
    """

    def __init__(
        self, context: JobContext, job_key: SecretKey, executor: Executor, progress: JobProgress | None = None
    ) -> None:
        schedule = context.schedule
        self.context, self._executor = context, executor
        self.members = MemberTable(schedule, context.order, job_key, context.own)
        self.rounds = RoundSchedule(schedule)
        self.toolchain = ToolchainChoice(context.toolchain, context.trainers, schedule.warmup_ticks)
        self._sealer = FrameSealer(FrameLink.downlink(schedule, context.order, context.own), job_key)
        self._outbox = Outbox(schedule)
        self._frames: queue.Queue[bytes] = queue.Queue(INBOX_FRAMES)
        self._lists: queue.Queue[tuple[Members, int]] = queue.Queue()
        self._asked_round = 0
        self._work: Future[_Advance] | None = None
        self._delivered: dict[int, bytearray] = {}
        self._broadcast = b""
        self._broadcast_tick = 0
        self._losses = EpochLosses(schedule)
        self.design: bytes | None = None
        self.refused_calls = NONE_REFUSED
        self.state_P: StateP | None = None
        self._velocity_P: StateP | None = None
        self.loss: float | None = None
        self.real_frames = self.dummy_frames = self.refused_frames = 0
        if progress is not None:
            self._resume(progress)
        rate, momentum = context.outer_learning_rate, context.outer_momentum
        self._optimiser = OuterOptimiser(schedule.state_class, rate, momentum, self._velocity_P)

    def _resume(self, progress: JobProgress) -> None:
        self.state_P, self._velocity_P = progress.state_P, progress.velocity_P
        self.loss, self.design, self.toolchain.mode = progress.loss, progress.design, progress.toolchain
        self.refused_calls, self.members.rounds_delivered = progress.refused, dict(progress.delivered)
        self._losses.resume(progress.epochs, progress.since)
        if self.state_P is not None:
            self.rounds.resume(progress.rounds_done, progress.tick)
            self._broadcast = encode_state(self.state_P)

    def progress(self, tick: int) -> JobProgress:
        """Where the job stands after this tick. Nothing of it is changed in place later."""
        return JobProgress(
            tick=tick,
            rounds_done=self.rounds.rounds_done,
            state_P=self.state_P,
            velocity_P=self._velocity_P,
            loss=self.loss,
            epochs=self._losses.told,
            since=self._losses.since,
            delivered=dict(self.members.rounds_delivered),
            design=self.design,
            refused=self.refused_calls,
            toolchain=self.toolchain.mode,
        )

    def receive(self, frame: bytes) -> None:
        """Queue a frame as it came from the host."""
        try:
            self._frames.put_nowait(frame)
        except queue.Full:
            self.refused_frames += 1

    def admit(self, members: Members, asked_round: int) -> None:
        """Queue a member list that the broker signed; `asked_round` was open when it was asked for."""
        self._lists.put((members, asked_round))

    def wants_list(self, tick: int) -> bool:
        """Whether to ask who is a member: as often as the schedule says, and when a launch spoke that is not listed.

        So a superseded attempt is fenced in the tick after its successor's first frame. What a host sees of it hangs on
        headers that it sees anyway, and asking costs a question that is under way already at most.
        """
        unlisted, self.members.unlisted_heard = self.members.unlisted_heard, False
        return unlisted or tick % question_ticks(self.context.schedule) == 0

    def emit(self, tick: int) -> list[bytes]:
        """The frames of a tick: what was decided before it, or dummies. Always the same work."""
        held = 0 if self.state_P is None else self.rounds.rounds_done + 1
        return [
            self._sealer.seal(tick, index, self._outbox.take(held, self.toolchain.mode))
            for index in range(self.context.schedule.frames_per_tick)
        ]  # (1)

    def process(self, tick: int) -> None:
        """What follows in a tick. Raises `FreshnessError` when a later launch has replaced this one."""
        while not self._lists.empty():
            members, asked_round = self._lists.get_nowait()
            self.members.admit(members)  # (2)
            self._asked_round = max(self._asked_round, asked_round)
        for _ in range(self._frames.qsize()):
            self._open(self._frames.get_nowait(), tick)  # (3)
        self.toolchain.look(tick, self.members.toolchains())
        if self._work is not None and self._work.done() and self.toolchain.mode is not Toolchain.UNRESOLVED:
            self._advance(self._work, tick)  # (4)
        self._close_if_due(tick)  # (5)
        self._repeat_if_needed(tick)  # (6)

    def collect(self, tick: int) -> None:
        """After the last tick: wait for work that is still under way."""
        if self._work is not None:
            self._advance(self._work, tick)

    def report(
        self, sequence: int, tick: int, outcome: JobOutcome | None = None, told: ToldToProvider | None = None
    ) -> JobReport:
        """What the owners read. Frames are those that this launch sent and those that it took."""
        return JobReport(
            job_id=self.context.job_id,
            sequence=sequence,
            tick=tick,
            total_ticks=self.context.schedule.total_ticks,
            round=self.rounds.rounds_done,
            loss=self.loss,
            members_live=len(self.members.heard(tick)),
            real_frames=self.real_frames + self._outbox.real_frames,
            dummy_frames=self.dummy_frames + self._outbox.dummy_frames,
            refused_frames=self.refused_frames,
            outcome=outcome,
            codes=self._codes(outcome)[:16],
            rounds_delivered=self.members.delivered()[:16],
            told_provider=told,
            toolchain=None if self.toolchain.mode is Toolchain.UNRESOLVED else self.toolchain.mode.word,
        )

    @property
    def counts(self) -> bool:
        """Whether each owner's data had the part in it that the order demands. Without one of them a model would be the
        other owners' alone.
        """
        delivered, least = self.members.rounds_delivered, self.context.minimal_rounds
        return all(max(delivered.get(slot, 0) for slot in slots) >= least for slots in self.context.owner_slots)

    def outcome(self) -> Learned:
        """How the job ends when its schedule is over."""
        if not self.counts:
            return "failed"
        if self.rounds.all_done:
            return "finished"
        return "finished_short" if self.rounds.rounds_done else "failed"

    def _codes(self, outcome: JobOutcome | None) -> tuple[str, ...]:
        """Why members stopped; where no round was done and none of them said why, that the schedule's time was over."""
        return self.members.codes() or ((NO_ROUND,) if outcome == "failed" else ())

    def _open(self, frame: bytes, tick: int) -> None:
        try:
            member, body = self.members.open(frame, tick)
            if body.kind == FrameKind.DUMMY:
                self.dummy_frames += 1
                return
            assembler = member.graph_assembler if body.kind == FrameKind.GRAPH else member.assembler
            payload = assembler.add(body)
            self.real_frames += 1
            if payload is not None:
                self._take(member, payload)
        except Refusal:
            self.refused_frames += 1

    def _take(self, member: LiveMember, payload: Payload) -> None:
        slot = member.endpoint.slot
        if payload.kind == FrameKind.NOTE:
            figures = Figures.parse(payload.data)
            member.code = figures.code or "unavailable.enclave"
            self.refused_calls = self.refused_calls.joined(figures.refused)
        elif payload.kind == FrameKind.DESIGN and self.context.require_design is not None:
            member.design = unpad_design(payload.data)
        elif payload.kind == FrameKind.GRAPH:
            member.graph = unpad_design(payload.data)
        elif payload.kind == FrameKind.STATE and self.state_P is None and self._work is None:
            self._begin(member, payload.data)
        elif payload.kind == FrameKind.DELTA and payload.round == self.rounds.open_round:
            self._delivered.setdefault(slot, payload.data)

    def _begin(self, member: LiveMember, data: bytearray) -> None:
        """A first state, which in a job with a design counts only behind that."""
        if self.context.require_design is None or member.design is not None:
            self._work = self._executor.submit(self._adopt, data, member.design)

    def _adopt(self, data: bytearray, design: bytes | None) -> _Advance:
        if design is not None and self.context.require_design is not None:
            self.context.require_design(design)
        state_P = decode_state(data, self.context.schedule.state_class)
        return _Advance(state_P, self._optimiser.velocity_P, encode_state(state_P), None, design)

    def _aggregate(self, state_P: StateP, delivered: dict[int, bytearray]) -> _Advance:
        result = self._optimiser.close_round(state_P, delivered)
        return _Advance(result.state_P, self._optimiser.velocity_P, encode_state(result.state_P), result)

    def _advance(self, work: "Future[_Advance]", tick: int) -> None:
        self._work = None
        try:
            advance = work.result()
        except FormatError:
            self.refused_frames += 1  # not finite, or a design that is none; another member's, or a resent one, may do
            return
        if advance.result is None:
            self.design = advance.design
            self.rounds.begin(tick)
        elif not self._account(advance.result, tick):
            return
        self.state_P, self._velocity_P = advance.state_P, advance.velocity_P
        self._outbox.clear()
        if not self.rounds.all_done:
            self._broadcast = advance.encoded
            self._send_state(tick)

    def _account(self, result: RoundResult, tick: int) -> bool:
        """Book a closed round; False when no delta was valid, so that it stays open."""
        for slot in result.invalid:
            self.members.live[slot].code = "provider.output"
        if not result.contributors:
            return False
        for slot in result.contributors:
            self.members.rounds_delivered[slot] = self.members.rounds_delivered.get(slot, 0) + 1
        for slot in result.stopped:
            self.members.live[slot].stopped = True
        self.refused_calls = self.refused_calls.joined(result.refused)
        self.loss = result.loss
        self._losses.add(result.loss)
        self.rounds.close(tick)
        self._delivered.clear()  # what came for the closed round while its deltas were being added
        return True

    def _close_if_due(self, tick: int) -> None:
        if (
            self._work is None
            and self.state_P is not None
            and self.rounds.rounds_done < self._asked_round + rounds_per_answer(self.context.schedule)
            and self.rounds.should_close(tick, self.members.waited_for(tick), self._delivered.keys())
        ):
            self._work = self._executor.submit(self._aggregate, self.state_P, self._delivered)
            self._delivered = {}

    def _send_state(self, tick: int) -> None:
        if self.design is not None:
            steering = Steering(sha256(self.design), self._losses.told)
            self._outbox.put(FrameKind.STEERING, self.rounds.rounds_done, steering.encode())
        self._outbox.put(FrameKind.STATE, self.rounds.rounds_done, self._broadcast)
        self._broadcast_tick, self.members.newly_heard = tick, False

    def _repeat_if_needed(self, tick: int) -> None:
        if self.rounds.open_round is None or not self._outbox.empty:
            return
        lacking = [slot for slot in self.members.heard(tick) if self.members.live[slot].held <= self.rounds.rounds_done]
        if lacking and (
            self.members.newly_heard or tick - self._broadcast_tick >= patience_ticks(self.context.schedule)
        ):
            self._send_state(tick)
