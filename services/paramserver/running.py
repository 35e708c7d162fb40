"""One job at the parameter server, from admission to its end (side: enclave).

Holds: the launch's keys, the job.  Reads: the broker's signed answers, frames.  Sends: frames and reports on the clock,
the sealed model, one last word about the job. In this order:

  (1) attest and fetch: keys and terms for this launch; the terms name the order that the relay named;
  (2) open the bundle for its layout;
  (3) load the newest checkpoint, if the broker knows one: an earlier launch had got so far;
  (4) list members until every slot of the order is there, or JOIN_SECONDS are over: then tick 0, or the one after the
      checkpoint's;
  (5) run the clock to its end, whatever happens in the job; only the broker's word (cancelled, superseded) ends it. On
      ticks of the schedule it is asked who is a member, and, if no such question waits there, to say at once when the
      job has ended: an honest host carries that before the next tick;
  (6) ask once more whether the job still runs; seal model and manifest, whatever was learned, complete the job at the
      broker, tell the owners what it came to, and the provider what they let it know.

Every refusal on the way becomes the job's public outcome; none of them depends on data or on what provider code did.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final, Protocol

from common.bundle import BundleContents, BundleManifest
from common.door_objects import Caller, DoorObjects
from common.errors import AppraisalError, FormatError, FreshnessError, Refusal, UnavailableError, refusal_of
from common.exchange.clock import Now, Release, TickClock, run_clock, settling_seconds
from common.exchange.member_poll import MemberPoll
from common.exchange.schedule import POLL_MILLISECONDS, is_report_tick
from common.exported_graph import build_checks
from common.identifiers import Digest
from common.key_retrieval import BrokerChannel, EvidenceSource, Launch, attest_and_fetch
from common.lease import LeaseKeeper
from common.messages.enclave_events import EnclaveEvent, JobStarted, MemberAdmitted
from common.messages.jobs import AwaitEnd, ListMembers, Members
from common.messages.order import TrainingOrder
from common.messages.policy import JobReport
from common.messages.training_door import JobEnded, OpenJob, encode_checkpoint, encode_job_frame
from common.sealed_object import ObjectKind
from services.paramserver.checkpointing import Checkpointing, CheckpointStore
from services.paramserver.ending import JobEnd, JobEnding, Patience
from services.paramserver.job import ParameterServerJob
from services.paramserver.job_context import JobContext
from services.paramserver.membership import PARAMSERVER, TRAINER
from services.paramserver.reporting import ReportReaders, provider_report, seal_provider_report

JOIN_SECONDS: Final = 120.0
"""How long tick 0 waits for the order's trainers: an enclave start on a busy machine, and one more try."""

SEQUENCE_BITS: Final = 24
"""Reports of one launch, as a power of two."""

LATER_LAUNCH_POLLS: Final = 2
"""Trainers list members once a poll period, on clocks of their own."""

CLOSED: Final = "closed"
"""The state of a job that the host gave up."""


@dataclass(frozen=True)
class _Rhythm:
    """What a tick drives."""

    job: ParameterServerJob
    readers: ReportReaders
    poll: MemberPoll
    ends: MemberPoll
    checkpointing: Checkpointing


class JobDoor(Caller, Protocol):
    """The enclave's end of its door."""

    def notify(self, name: str, body: bytes) -> None:
        """Tell the relay."""
        ...

    def together(self, at: float) -> AbstractContextManager[None]:
        """Of what this thread sends meanwhile, one piece at that moment."""
        ...

    def log(self, event: EnclaveEvent) -> None:
        """An event for the host's log."""
        ...


class JobRun:
    """One job of this enclave. `frame` may be called from any thread, `run` from the job's own."""

    def __init__(self, door: JobDoor, runtime: EvidenceSource, opened: OpenJob, now: Now = time.monotonic) -> None:
        self._door, self._runtime, self._opened, self._now = door, runtime, opened, now
        self._order = TrainingOrder.decode(opened.order.payload)
        self._schedule = self._order.schedule
        self._channel, self._waiting_channel = (
            BrokerChannel(lambda raw: door.call("broker.ask", raw), self._order.broker) for _ in range(2)
        )
        self._joined, self._over = threading.Event(), threading.Event()
        self._state = "running"
        self._lease_code: str | None = None
        self._asked_round = 0
        self._reports_ahead: tuple[int, list[bytes]] = -1, []
        self._sequence = 0  # attempt and number: a later launch's reports come after an earlier one's
        self._job: ParameterServerJob | None = None

    def frame(self, frame: bytes) -> None:
        """A frame from the host; before the job has keys it is dropped."""
        if self._job is not None:
            self._job.receive(frame)

    def run(self) -> JobEnded:
        """The whole job. Raises `PeerClosedError` alone: the relay is gone and the enclave with it."""
        try:
            launch = self._admit()
            end = self._conduct(launch)
        except FreshnessError as refusal:
            superseded = refusal.code == "freshness.attempt"
            return self._ended("superseded" if superseded else "failed", refusal.code)
        except Refusal as refusal:
            return self._ended("failed", refusal.code)
        except TimeoutError:
            return self._ended("failed", "unavailable.enclave")
        return self._ended(end.outcome, end.code, end)

    def _ended(self, outcome: str, code: str | None, end: JobEnd | None = None) -> JobEnded:
        """The last word; the broker has recorded the end if there is a `JobEnd`."""
        fields = {"job_id": self._opened.job_id, "outcome": outcome, "completed": end is not None, "code": code}
        return JobEnded.model_validate(fields if end is None else fields | {
            "model_id": end.model_id, "manifest": end.manifest,
            "provider": end.provider, "provider_report": end.provider_report})  # fmt: skip

    def close(self) -> None:
        """The host gives the job up: end without a model. What it gains by that, it gains by killing us too."""
        self._state = CLOSED
        self._joined.set()
        self._over.set()

    def _admit(self) -> Launch:
        launch = attest_and_fetch(self._runtime, self._channel, PARAMSERVER, self._opened.job_id, 0)  # (1)
        if launch.terms.order.digest != self._opened.order.digest:
            raise AppraisalError("appraisal.binding", expected=self._opened.order.digest)
        self._door.log(MemberAdmitted(role="paramserver", job_id=self._opened.job_id, attempt=launch.attempt))
        return launch

    def _layout(self, launch: Launch) -> BundleManifest | None:
        """The bundle's manifest; None for a bundle that is none, or of another kind than was ordered.

        That must not end the job before its schedule does.
        """
        payload = DoorObjects(self._door).load(launch.terms.bundle.object, launch.keys["bundle"], ObjectKind.BUNDLE)
        try:
            manifest = BundleContents.parse(payload).manifest
        except FormatError:
            return None
        return manifest if manifest.kind == launch.order.sandbox else None

    def _conduct(self, launch: Launch) -> JobEnd:
        lease = LeaseKeeper.begin(launch, self._runtime, self._channel, self._end_lease)
        try:
            return self._conduct_leased(launch)
        finally:
            lease.stop()

    def _end_lease(self, code: str) -> None:
        """Nothing of this launch's keys is used any more. A job that is over is no lease's end."""
        if code != "conflict.job_state":
            self._lease_code = code
            self.close()

    def _conduct_leased(self, launch: Launch) -> JobEnd:
        layout = self._layout(launch)  # (2)
        build_checks()
        self._sequence = (launch.attempt - 1) << SEQUENCE_BITS
        context = JobContext.of(launch, self._opened.job_id, layout)
        readers = ReportReaders.of(self._opened.order.digest, self._order.trainers, launch.terms.datasets)
        poll = MemberPoll(self._list, self._take_members)
        ends = MemberPoll(self._await_end, self._require_running)
        patience, objects = Patience(self._now, self._over.wait), DoorObjects(self._door)
        store = CheckpointStore(launch, self._channel, objects)
        progress = patience.persist(store.newest)  # (3)
        with ThreadPoolExecutor(1, "aggregation") as executor, ThreadPoolExecutor(1, "checkpoint") as keeper:
            self._job = job = ParameterServerJob(context, launch.keys["job"], executor, progress)
            rhythm = _Rhythm(job, readers, poll, ends, Checkpointing(store, keeper, self._tell_kept))
            if launch.terms.checkpoint is not None:
                self._tell_kept(launch.terms.checkpoint.object.root)
            poll.start()
            ends.start()
            try:
                self._await_members(poll, launch.attempt)  # (4)
                clock = TickClock.at_tick(self._schedule, -1 if progress is None else progress.tick, self._now())
                run_clock(
                    clock, self._now, self._over.wait, lambda tick: self._tick(rhythm, tick, clock.leaving(tick))
                )  # (5)
            finally:
                poll.stop()
                ends.stop()
        job.collect(self._schedule.total_ticks)
        release = Release(clock.end, self._now, self._over.wait)
        release()
        ending = JobEnding(launch, self._channel, objects, patience, release)
        end = self._finish(ending, job, layout)  # (6)
        learned = job.outcome()
        report = provider_report(launch, end.outcome, learned, job.refused_calls)
        outcome = learned if end.outcome == "finished" else end.outcome
        last = job.report(self._next_sequence(), self._schedule.total_ticks, outcome, report.told, end.int8)
        for sealed in self._seal_report(readers, last):
            self._door.notify("report", sealed)
        return replace(end, provider=report.provider, provider_report=seal_provider_report(launch, report))

    def _finish(self, ending: JobEnding, job: ParameterServerJob, layout: BundleManifest | None) -> JobEnd:
        if self._state == "running":  # so a host that holds the clock, or keeps the lists, gets no model of it
            self._require_running(ending.patience.persist(self._list))
        if self._lease_code is not None:
            raise refusal_of(self._lease_code)
        if self._state == "cancelled":
            return ending.cancelled()
        if self._state != "running":
            raise UnavailableError("unavailable.enclave", expected="a running job", seen=self._state)
        return ending.end(job, layout)

    def _list(self) -> Members:
        self._asked_round = 0 if self._job is None else self._job.rounds.closed
        return self._channel.ask(ListMembers(job_id=self._opened.job_id), Members)

    def _await_end(self) -> Members:
        return self._waiting_channel.ask(AwaitEnd(job_id=self._opened.job_id), Members)

    def _take_members(self, members: Members) -> None:
        if self._job is not None:
            self._job.admit(members, self._asked_round)
        if sum(member.role == TRAINER for member in members.members) >= self._order.trainers:
            self._joined.set()
        self._require_running(members)

    def _require_running(self, members: Members) -> None:
        """Take the broker's word that the job is over."""
        if members.state != "running":
            self._state = members.state
            self._joined.set()
            self._over.set()

    def _await_members(self, poll: MemberPoll, attempt: int) -> None:
        """Wait for the slots; a later launch also waits until trainers that follow an earlier one have listed it."""
        give_up, poll_seconds = self._now() + JOIN_SECONDS, POLL_MILLISECONDS / 1000
        while self._now() < give_up and not self._joined.wait(poll_seconds):
            poll.due()
        if attempt > 1:
            followed = self._now() + LATER_LAUNCH_POLLS * poll_seconds
            while (left := followed - self._now()) > 0 and not self._over.wait(left):
                pass
        self._door.log(JobStarted(job_id=self._opened.job_id, ticks=self._schedule.total_ticks))

    def _tell_kept(self, root: Digest) -> None:
        """The host can delete the job's checkpoint of before."""
        self._door.notify("checkpoint", encode_checkpoint(self._opened.job_id, root))

    def _tick(self, rhythm: _Rhythm, tick: int, at: float) -> bool:
        """One tick. All that leaves on it leaves before anything that came in is looked at."""
        job = rhythm.job
        with self._door.together(at):
            for frame in job.emit(tick):
                self._door.notify("frame", encode_job_frame(self._opened.job_id, frame))
            for report in self._reports_of(rhythm, tick):
                self._door.notify("report", report)
        if job.wants_list(tick):
            rhythm.poll.due()
            rhythm.ends.due()
        if self._schedule.has_checkpoint(tick):
            rhythm.checkpointing.begin(job.progress(tick))
        self._over.wait(settling_seconds(self._schedule))
        job.process(tick)
        if job.has_heard_unlisted():
            rhythm.poll.due()
        self._reports_ahead = tick + 1, self._reports_of(rhythm, tick + 1)
        return True

    def _reports_of(self, rhythm: _Rhythm, tick: int) -> list[bytes]:
        """Those that are due, sealed now unless they were before."""
        ready_for, sealed = self._reports_ahead
        if ready_for == tick:
            return sealed
        due = is_report_tick(tick, self._schedule)
        return self._seal_report(rhythm.readers, rhythm.job.report(self._next_sequence(), tick)) if due else []

    def _next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def _seal_report(self, readers: ReportReaders, report: JobReport) -> list[bytes]:
        return [one.encode() for one in readers.seal(self._opened.job_id, report)]
