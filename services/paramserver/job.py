"""One job at the parameter server, as a pure machine that the clock drives (side: enclave).

Holds: the job's state, deltas and member ciphers.  Reads: frames and member lists.  Sends: one batch of frames a tick.

`receive` and `admit` may be called from any thread and only queue; all else happens on the clock's thread. A tick first
emits and then processes, so that nothing which came in shows in the moment of emission; work that takes longer for real
payloads than for dummies (adding deltas, encoding a state) runs on `executor`, and its result is looked at later:
  (1) frames_per_tick frames leave, real or dummy;
  (2) member lists: newer attempts fence older ones;
  (3) frames: opened or refused, payloads put together;
  (4) finished work: a new state opens the next round and is broadcast; the first waits until a toolchain is resolved;
  (5) a round that is due closes, if the broker has answered since the one before: its deltas go to the executor;
  (6) a member that lacks the open round's state gets it again;
  (7) the frames of the next tick are sealed.
When the ordered rounds are done, others follow in the same way until the schedule ends: over parameters that are
dropped, in frames that are counted as dummies.
In the quantising ticks, if the order has any, no round closes (5): the final state goes out as such, to be judged in
int8 by slot 0, whose findings are kept unread.
In a job with a design a first state is taken from a member whose design came before it and stands the checks; every
state then goes out behind the design's digest and the losses that designs steer by.
"""

import queue
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Final

from common.crypto.digests import sha256
from common.crypto.keys import SecretKey
from common.errors import FormatError, Refusal
from common.exchange.ahead import FramesAhead
from common.exchange.frames import FrameKind, FrameLink, FrameSealer
from common.exchange.parts import Outbox, Payload
from common.exchange.payloads import Buffer, Figures, StateP, decode_state, encode_state
from common.exchange.schedule import QUANTISING_SLOT, patience_ticks, question_ticks, rounds_per_answer
from common.exchange.steering import EpochLosses, Steering, rounds_per_epoch, unpad_design
from common.exchange.toolchain import Toolchain
from common.messages.jobs import Members
from common.messages.policy import Int8Told, JobOutcome, JobReport
from common.messages.provider_report import Learned, ToldToProvider
from common.refused_calls import NONE_REFUSED
from services.paramserver.aggregation import OuterOptimiser, RoundResult
from services.paramserver.checkpoint import JobProgress
from services.paramserver.epochs import Epochs
from services.paramserver.job_context import JobContext
from services.paramserver.membership import LiveMember, MemberTable
from services.paramserver.schedule import RoundSchedule
from services.paramserver.toolchain import ToolchainChoice

INBOX_FRAMES = 1 << 16
"""Frames that wait for the next tick; what a host floods beyond is dropped and counted as refused."""


NO_ROUND: Final = "unavailable.rounds"
"""The code in a job's last report when no round was done, or an owner's trainers had too small a part in them, and no
member told a code: trainers came late, or died."""


@dataclass(frozen=True)
class _Advance:
    """Finished work: the state of the round that opens now, encoded for the broadcast; `result` of the closed one.

    `design`: the document that came with a first state. `delivered`: the deltas of the closed round, by slot.
    """

    state_P: StateP
    velocity_P: StateP
    encoded: Buffer
    result: RoundResult | None
    design: bytes | None = None
    delivered: Mapping[int, bytearray] = field(default_factory=dict)


class ParameterServerJob:
    """The rounds, members and frames of one job. `refused_calls`: what its members said of them, joined. `quantised`:
    the QUANTISED payload of slot 0, unread.

    `state_P`: after the ordered rounds that are done. `progress`: where an earlier launch had got to, if it left a
    checkpoint.
    """

    def __init__(
        self, context: JobContext, job_key: SecretKey, executor: Executor, progress: JobProgress | None = None
    ) -> None:
        schedule = context.schedule
        self.context, self._executor = context, executor
        self.members = MemberTable(schedule, context.order, job_key, context.own)
        self.rounds = RoundSchedule(schedule, context.minimal_trainers)
        self.toolchain = ToolchainChoice(context.toolchain, context.trainers, schedule.warmup_ticks)
        sealer = FrameSealer(FrameLink.downlink(schedule, context.order, context.own), job_key)
        self._outbox = Outbox(schedule)
        self._next_frames = FramesAhead(schedule, sealer, self._outbox)
        self._frames: queue.Queue[bytes] = queue.Queue(INBOX_FRAMES)
        self._lists: queue.Queue[tuple[Members, int]] = queue.Queue()
        self._asked_round = 0
        self._work: Future[_Advance] | None = None
        self._delivered: dict[int, bytearray] = {}
        self._broadcast: Buffer = b""
        self._broadcast_tick = 0
        self._final: Buffer | None = None
        self.quantised: bytearray | None = None
        self._losses, self._epochs = EpochLosses(schedule), Epochs(schedule, owners=len(context.owner_parts))
        self.design: bytes | None = None
        self.refused_calls = NONE_REFUSED
        self.state_P: StateP | None = None
        self._open_P: StateP | None = None
        self._velocity_P: StateP | None = None
        self.loss: float | None = None
        self.refused_frames = self._real_frames = self._dummy_frames = 0
        self._useful_frames: int | None = None
        if progress is not None:
            self._resume(progress)
        rate, momentum = context.outer_learning_rate, context.outer_momentum
        self._optimiser = OuterOptimiser(schedule.state_class, rate, momentum, self._velocity_P)
        self._optimiser.average(context.buffers if self.design is None else self._buffers_of(self.design))

    def _resume(self, progress: JobProgress) -> None:
        self.state_P, self._velocity_P = progress.state_P, progress.velocity_P
        self._open_P = self.state_P
        self.loss, self.design, self.toolchain.mode = progress.loss, progress.design, progress.toolchain
        self.refused_calls, self.members.rounds_delivered = progress.refused, dict(progress.delivered)
        self._losses.resume(progress.epochs, progress.since)
        if self.state_P is not None:
            self.rounds.resume(progress.rounds_done, progress.tick)
            self._useful_frames = 0 if self.rounds.all_done else None
            self._broadcast = encode_state(self.state_P)

    def progress(self, tick: int) -> JobProgress:
        """Where the job stands at this tick, before what has come in since the last one. Nothing of it is changed in
        place later.
        """
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
        """Whether to ask at this tick who is a member, as often as the schedule says."""
        return tick % question_ticks(self.context.schedule) == 0

    def has_heard_unlisted(self) -> bool:
        """Whether to ask because a launch spoke that is not listed; told once.

        So a superseded attempt is fenced in the tick after its successor's first frame. What a host sees of it hangs on
        headers that it sees anyway, and asking costs a question that is under way already at most.
        """
        unlisted, self.members.unlisted_heard = self.members.unlisted_heard, False
        return unlisted

    def emit(self, tick: int) -> list[bytes]:
        """The frames of a tick: what was decided before it, or dummies."""
        return self._next_frames.take(tick, self._held, self.toolchain.mode)  # (1)

    @property
    def _held(self) -> int:
        return 0 if self.state_P is None else self.rounds.closed + 1

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
        if tick < self.context.schedule.learning_ticks:
            self._close_if_due(tick)  # (5)
            self._repeat_if_needed(tick)  # (6)
        elif self._work is None and self.quantised is None:
            self._send_final(tick)
        self._next_frames.prepare(tick + 1, self._held, self.toolchain.mode)  # (7)

    def collect(self, tick: int) -> None:
        """After the last tick: wait for work that is still under way."""
        if self._work is not None:
            self._advance(self._work, tick)

    def report(
        self,
        sequence: int,
        tick: int,
        outcome: JobOutcome | None = None,
        told: ToldToProvider | None = None,
        int8: Int8Told | None = None,
    ) -> JobReport:
        """What the owners read. Frames are those that this launch sent and those that it took."""
        real_frames, dummy_frames = self._counted_frames
        return JobReport(
            job_id=self.context.job_id,
            sequence=sequence,
            tick=tick,
            total_ticks=self.context.schedule.total_ticks,
            round=self.rounds.rounds_done,
            loss=self.loss,
            epochs=self._epochs.done,
            epoch_loss=self._epochs.loss,
            read_chunks=self.members.read_chunks if len(self.context.owner_parts) <= 1 else 0,
            members_live=len(self.members.heard(tick)),
            members_needed=self.context.minimal_trainers,
            real_frames=real_frames,
            dummy_frames=dummy_frames,
            refused_frames=self.refused_frames,
            outcome=outcome,
            codes=self._codes(outcome),
            rounds_delivered=self.members.delivered(),
            told_provider=told,
            toolchain=None if self.toolchain.mode is Toolchain.UNRESOLVED else self.toolchain.mode.word,
            int8=int8,
        )

    @property
    def counts(self) -> bool:
        """Whether each owner's data had the part in it that the order demands. Without one of them a model would be the
        other owners' alone.
        """
        delivered = self.members.rounds_delivered
        return all(
            max((delivered.get(slot, 0) for slot in part.slots), default=0) >= part.minimal_rounds
            for part in self.context.owner_parts
        )

    def outcome(self) -> Learned:
        """How the job ends when its schedule is over."""
        if not self.counts:
            return "failed"
        if self.rounds.all_done:
            return "finished"
        return "finished_short" if self.rounds.rounds_done else "failed"

    @property
    def _counted_frames(self) -> tuple[int, int]:
        """Real and dummy ones; from the last ordered round on, none is real."""
        real, dummy = self._real_frames + self._outbox.real_frames, self._dummy_frames + self._outbox.dummy_frames
        useful = real if self._useful_frames is None else self._useful_frames
        return useful, dummy + real - useful

    def _codes(self, outcome: JobOutcome | None) -> tuple[str, ...]:
        """Why members stopped; where no round was done and none of them said why, that the schedule's time was over."""
        return self.members.codes() or ((NO_ROUND,) if outcome == "failed" else ())

    def _open(self, frame: bytes, tick: int) -> None:
        try:
            member, body = self.members.open(frame, tick)
            if body.kind == FrameKind.DUMMY:
                self._dummy_frames += 1
                return
            aside = body.kind in (FrameKind.GRAPH, FrameKind.QUANTISED)
            assembler = member.graph_assembler if aside else member.assembler
            payload = assembler.add(body)
            self._real_frames += 1
            if payload is not None:
                self._take(member, payload)
        except Refusal:
            self.refused_frames += 1

    def _take(self, member: LiveMember, payload: Payload) -> None:
        slot = member.endpoint.slot
        if payload.kind == FrameKind.NOTE:
            if payload.round >= self.context.schedule.rounds:
                return  # of a round that counts for nothing
            figures = Figures.parse(payload.data)
            member.code = figures.code or "unavailable.enclave"
            self.refused_calls = self.refused_calls.joined(figures.refused)
        elif payload.kind == FrameKind.DESIGN and self.context.require_design is not None:
            member.design = unpad_design(payload.data)
        elif payload.kind == FrameKind.GRAPH:
            member.graph = unpad_design(payload.data)
        elif payload.kind == FrameKind.QUANTISED and slot == QUANTISING_SLOT:
            self.quantised = payload.data
        elif payload.kind == FrameKind.STATE and self.state_P is None and self._work is None:
            self._begin(member, payload.data)
        elif payload.kind == FrameKind.DELTA and payload.round == self.rounds.open_round:
            self._delivered.setdefault(slot, payload.data)

    def _begin(self, member: LiveMember, data: bytearray) -> None:
        """A first state, which in a job with a design counts only behind that."""
        if self.context.require_design is None or member.design is not None:
            self._work = self._executor.submit(self._adopt, data, member.design)

    def _adopt(self, data: bytearray, design: bytes | None) -> _Advance:
        if design is not None:
            self._optimiser.average(self._buffers_of(design))
        state_P = decode_state(data, self.context.schedule.state_class)
        return _Advance(state_P, self._optimiser.velocity_P, encode_state(state_P), None, design)

    def _buffers_of(self, design: bytes) -> tuple[slice, ...]:
        return () if self.context.require_design is None else self.context.require_design(design).manifest.buffers

    def _aggregate(self, state_P: StateP, delivered: dict[int, bytearray]) -> _Advance:
        result = self._optimiser.close_round(state_P, delivered, self.context.minimal_trainers)
        encoded = encode_state(result.state_P)
        return _Advance(result.state_P, self._optimiser.velocity_P, encoded, result, delivered=delivered)

    def _advance(self, work: "Future[_Advance]", tick: int) -> None:
        self._work = None
        try:
            advance = work.result()
        except FormatError:
            self.refused_frames += 1  # not finite, or a design that is none; another member's, or a resent one, may do
            return
        counts = not self.rounds.all_done
        if advance.result is None:
            self.design = advance.design
            self.rounds.begin(tick)
        elif not self._close(advance.result, advance.delivered, tick):
            return
        self._outbox.clear()
        self._open_P, self._broadcast = advance.state_P, advance.encoded
        if counts:
            self.state_P, self._velocity_P = advance.state_P, advance.velocity_P
        if self.rounds.all_done and self._useful_frames is None:
            self._useful_frames = self._counted_frames[0]
        self._send_state(tick)

    def _close(self, result: RoundResult, delivered: Mapping[int, bytearray], tick: int) -> bool:
        """Book a closed round; False when too few deltas were valid, so that it stays open, with those."""
        if not self.rounds.all_done:
            self._account(result)
        if not result.contributors:
            valid = {slot: payload for slot, payload in delivered.items() if slot not in result.invalid}
            self._delivered = valid | self._delivered
            return False
        for slot, chunks in result.chunks.items():
            self.members.live[slot].chunks = chunks
        self.rounds.close(tick)
        self._delivered.clear()  # what came for the closed round while its deltas were being added
        return True

    def _account(self, result: RoundResult) -> None:
        for slot in result.invalid:
            self.members.live[slot].code = "provider.output"
        if not result.contributors:
            return
        for slot in result.contributors:
            self.members.rounds_delivered[slot] = self.members.rounds_delivered.get(slot, 0) + 1
        for slot in result.stopped:
            self.members.live[slot].stopped = True
        self.refused_calls = self.refused_calls.joined(result.refused)
        self.loss = result.loss
        self._losses.add(result.loss)
        self._epochs.add(result.loss, result.rows, self.members.rounds_delivered)

    def _close_if_due(self, tick: int) -> None:
        if (
            self._work is None
            and self._open_P is not None
            and self.rounds.closed < self._asked_round + rounds_per_answer(self.context.schedule)
            and self.rounds.should_close(
                tick, self.members.waited_for(tick), self._delivered.keys(), self.members.hearing_since
            )
        ):
            self._work = self._executor.submit(self._aggregate, self._open_P, self._delivered)
            self._delivered = {}

    def _send_state(self, tick: int) -> None:
        if self.design is not None:
            asked_for = (self.context.schedule.rounds - 1) // rounds_per_epoch(self.context.schedule)
            steering = Steering(sha256(self.design), self._losses.told[:asked_for])  # none of the last ordered round
            self._outbox.put(FrameKind.STEERING, self.rounds.closed, steering.encode())
        self._outbox.put(FrameKind.STATE, self.rounds.closed, self._broadcast)
        self._broadcast_tick, self.members.newly_heard = tick, False

    def _repeat_if_needed(self, tick: int) -> None:
        if self.rounds.open_round is None or not self._outbox.empty:
            return
        lacking = [slot for slot in self.members.heard(tick) if self.members.live[slot].held <= self.rounds.closed]
        if lacking and (
            self.members.newly_heard or tick - self._broadcast_tick >= patience_ticks(self.context.schedule)
        ):
            self._send_state(tick)

    def _send_final(self, tick: int) -> None:
        """Say the final state, again and again until slot 0 has said what it found of it."""
        if self.state_P is None or (self._final is not None and not self._is_time_again(tick)):
            return
        if self._final is None:
            self._final = encode_state(self.state_P)
            self._outbox.clear()
        self._outbox.put(FrameKind.FINAL, self.rounds.closed, self._final)
        self._broadcast_tick = tick

    def _is_time_again(self, tick: int) -> bool:
        return self._outbox.empty and tick - self._broadcast_tick >= patience_ticks(self.context.schedule)
