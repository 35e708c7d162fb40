"""One slot of one job at a trainer, from admission to its end (side: enclave).

Holds: the launch's keys.  Reads: the broker's signed answers, frames, chunks.  Sends: frames and reads on the clock.

  (1) confine something harmless: a machine that can't is refused by name, before anything is asked for or read; so is
      one without a GPU where the order names one: a processor never takes its place;
  (2) attest and fetch: keys and terms for this launch; the terms name the order that the relay named;
  (3) read the bundle; of the data sets what is read before the clock (reading.py);
  (4) follow the newest launch of the parameter server in the broker's list; the provider's work begins (design code
      is asked once the data that it is told of were read);
  (5) its first authentic frame tells the tick: from there on, this enclave's own monotonic clock;
  (6) run the clock to its end; slot 0 judges int8 in its last ticks, if it is ordered; a later launch of the parameter
      server means (4) again;
  (7) stay until the broker says that the job is over, in case the parameter server must begin anew; the last word
      leaves at a `Release` after that.

All the while the lease on the keys is renewed; when it is not, the slot ends, and with it the process that held them.
Provider code may be at work then, with a deadline of its own that can be long, and a host may keep an answer that the
slot waits for: after `LAST_SECONDS` the process ends with whatever is under way.
"""

import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Final, Protocol, TypeVar

from common.crypto.keys import SecretKey
from common.door_objects import Caller, DoorObjects
from common.errors import AppraisalError, Refusal
from common.exchange.clock import Now, Release, TickClock, run_clock, settling_seconds
from common.exchange.frames import Endpoint
from common.exchange.member_poll import MemberPoll
from common.exchange.schedule import poll_ticks
from common.exchange.toolchain import Toolchain, own_toolchain, toolchain_of_gpu
from common.identifiers import RoleName
from common.key_retrieval import BrokerChannel, EvidenceSource, Launch, attest_and_fetch
from common.lease import LeaseKeeper
from common.messages.enclave_events import EnclaveEvent, MemberAdmitted
from common.messages.evidence import TrustLevel
from common.messages.jobs import ListMembers, Members
from common.messages.objects import ObjectRef
from common.messages.order import Schedule, TrainingOrder
from common.messages.training_door import StartTrainer
from common.policy_rules import require_sound_device, require_sound_pair
from common.sandbox.gpu import Gpu, require_gpu
from common.sandbox.probe import require_confinement
from common.sealed_object import ObjectKind
from services.trainer_enclave.exchange import Heard, TrainerExchange
from services.trainer_enclave.job import TrainerJob
from services.trainer_enclave.provider_work import ProviderWork, Starts
from services.trainer_enclave.reading import ChunkReads, ReadClock
from services.trainer_enclave.training import LocalTraining, TrainingParts

TRAINER: Final = RoleName("trainer")
PARAMSERVER: Final = RoleName("paramserver")

SERVER_SECONDS: Final = 300.0
"""How long a trainer waits for a parameter server, before and after its schedule."""

LOOK_SECONDS: Final = 0.2
"""How often it lists members while it waits."""

LISTEN_SECONDS: Final = 0.01
"""How often it looks for the first frame."""

PHASE_SECONDS: Final = 0.01
"""How far its clock may be behind the frame that sets it, or a tick, if that is less. It is drawn: how soon a busy
enclave came to read that frame would show in each frame of its own."""

LAST_SECONDS: Final = 5.0
"""From a lease's end: what the slot's own end takes."""

T = TypeVar("T")

_DRAW: Final = random.SystemRandom()


def require_sound(order: TrainingOrder, trust_level: str) -> None:
    """Refuse (confinement.pair) what this enclave cannot run soundly, or at all.

    An SGX enclave cannot confine native code: where the TEE does not contain the kernel, `native` is no sandbox. And a
    GPU is no part of a TEE.
    """
    level = TrustLevel(trust_level)
    require_sound_pair(order.sandbox, level)
    require_sound_device(order.device, level)


def clock_behind(schedule: Schedule, heard: Heard) -> TickClock:
    """The clock of a trainer that heard this frame of the parameter server first."""
    phase = _DRAW.uniform(0.0, min(PHASE_SECONDS, schedule.tick_seconds))
    return TickClock.at_tick(schedule, heard.tick, heard.at + phase)


class TrainerDoor(Caller, Protocol):
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


class TrainerRun:
    """One slot. `frame` may be called from any thread, `run` from one that lives as long as the enclave."""

    def __init__(
        self,
        door: TrainerDoor,
        runtime: EvidenceSource,
        start: StartTrainer,
        *,
        confine: Callable[[], None] = require_confinement,
        starts: Starts | None = None,
        now: Now = time.monotonic,
        able: Callable[[], Toolchain] = own_toolchain,
        gpu: Callable[[], Gpu] = require_gpu,
        end_process: Callable[[], None] = lambda: os._exit(0),
    ) -> None:
        self._confine, self._starts, self._end_process = confine, starts or Starts(), end_process
        self._able, self._gpu = able, gpu
        self._door, self._runtime, self._start, self._now = door, runtime, start, now
        self._order = TrainingOrder.decode(start.order.payload)
        self._schedule = self._order.schedule
        self._channel = BrokerChannel(lambda raw: door.call("broker.ask", raw), self._order.broker)
        self._poll = MemberPoll(self._list, self._take_members)
        self._over, self._ended = threading.Event(), threading.Event()
        self._over_since = now()
        self._server: Endpoint | None = None
        self._own_attempt = 0
        self._superseded = False
        self._exchange: TrainerExchange | None = None
        self._lease_code: str | None = None

    def frame(self, frame: bytes) -> None:
        """A frame from the host; before there are keys it is dropped."""
        if self._exchange is not None:
            self._exchange.receive(frame)

    def run(self) -> str | None:
        """The whole life of the slot; the public code of what ended it early, if anything did.

        Raises `PeerClosedError` alone: the relay is gone, and the enclave with it.
        """
        try:
            self._confine()  # (1)
            able = self._able() if self._order.device == "cpu" else toolchain_of_gpu(self._gpu().capability)
            launch = self._admit()  # (2)
            lease = LeaseKeeper.begin(launch, self._runtime, self._channel, self._end_lease)
            try:
                self._work(launch, able)
            finally:
                lease.stop()
                self._ended.set()
        except Refusal as refusal:
            return refusal.code
        except TimeoutError:
            return "unavailable.enclave"
        if self._lease_code is not None:
            return self._lease_code
        if self._superseded:
            return "freshness.attempt"
        return None if self._over.is_set() else "unavailable.enclave"  # no parameter server came, or it never ended

    def _work(self, launch: Launch, able: Toolchain) -> None:
        objects = DoorObjects(self._door)
        bundle = objects.load(launch.terms.bundle.object, launch.keys["bundle"], ObjectKind.BUNDLE)  # (3)
        reads = ChunkReads(self._data(launch), objects, launch.keys["seed"], launch.order, self._start.slot)
        self._train(launch, ProviderWork(launch, bundle, reads, self._starts), reads, able)
        self._poll.stop()
        Release(self._over_since, self._now, self._ended.wait)()  # a sandbox that is dead already ends sooner

    def _admit(self) -> Launch:
        start = self._start
        launch = attest_and_fetch(self._runtime, self._channel, TRAINER, start.job_id, start.slot)
        if launch.terms.order.digest != start.order.digest:
            raise AppraisalError("appraisal.binding", expected=start.order.digest)
        require_sound(launch.order, launch.terms.trust_level)
        self._own_attempt = launch.attempt
        self._door.log(MemberAdmitted(role="trainer", job_id=start.job_id, slot=start.slot, attempt=launch.attempt))
        return launch

    def _end_lease(self, code: str) -> None:
        """Nothing of this launch's keys is used any more: its process ends. A job that is over is no lease's end."""
        self._lease_code = None if code == "conflict.job_state" else code
        self._end()
        if not self._ended.wait(LAST_SECONDS):
            self._end_process()

    def _data(self, launch: Launch) -> list[tuple[ObjectRef, SecretKey]]:
        return [
            (part, launch.keys[f"data/{data.dataset_id}"])
            for data in launch.terms.datasets
            for part in data.manifest.parts
        ]

    def _train(self, launch: Launch, work: ProviderWork, reads: ChunkReads, able: Toolchain) -> None:
        own = Endpoint(self._start.slot, launch.attempt, launch.signing_key.party)
        digest, steered = self._start.order.digest, work.design is not None
        self._exchange = TrainerExchange(
            self._schedule, digest, launch.keys["job"], own, steered=steered, able=able, now=self._now
        )
        parts = TrainingParts(
            work.start_sandbox, work.rows_of_round, work.design, able, work.weight, lambda: reads.asked
        )
        training = LocalTraining(self._schedule, parts)
        read_clock = ReadClock(reads, self._schedule.reads_per_tick)
        read_clock.start()
        self._poll.start()
        with ThreadPoolExecutor(1, thread_name_prefix="provider") as executor:
            prepared = executor.submit(training.prepare)  # torch and compilers take their time; the first server asks
            if work.graph is not None:
                begin = work.graph.begin
                prepared.add_done_callback(lambda _: begin())  # (4b)
            job = TrainerJob(self._schedule, self._exchange, training, executor, work.graph, work.quantising)
            while self._await_server(job) and (clock := self._await_tick(job)):  # (4), (7), (5)
                run_clock(
                    clock,
                    self._now,
                    self._over.wait,
                    lambda tick: self._tick(job, reads, read_clock, tick, clock.leaving(tick)),
                )
            if work.graph is not None:
                work.graph.stop()
            executor.submit(training.close)
            executor.submit(work.close)

    def _list(self) -> Members:
        return self._channel.ask(ListMembers(job_id=self._start.job_id), Members)

    def _take_members(self, members: Members) -> None:
        for member in members.members:
            if member.role == PARAMSERVER:
                self._server = Endpoint(member.slot, member.attempt, member.signing_public)
            elif (member.role, member.slot) == (TRAINER, self._start.slot) and member.attempt > self._own_attempt:
                self._superseded = True
        if self._superseded or members.state != "running":
            self._end()

    def _end(self) -> None:
        """The slot is over; the first time counts."""
        if not self._over.is_set():
            self._over_since = self._now()
            self._over.set()

    def _await_server(self, job: TrainerJob) -> bool | None:
        """Follow a later server launch when one is listed; None when the job is over, or none comes."""
        return self._look_for(lambda: True if self._server is not None and job.follow(self._server) else None)

    def _await_tick(self, job: TrainerJob) -> TickClock | None:
        """The clock from the server's first frame on; None when the job is over, or none came."""

        def first_frame() -> TickClock | None:
            if self._server is not None:
                job.follow(self._server)  # a later one may come before the first has spoken
            heard = job.exchange.listen()
            return None if heard is None else clock_behind(self._schedule, heard)

        return self._look_for(first_frame)

    def _look_for(self, look: Callable[[], T | None]) -> T | None:
        """What `look` finds, listing members once in a while; None when the job is over or SERVER_SECONDS are."""
        give_up, next_poll = self._now() + SERVER_SECONDS, self._now()
        while self._now() < give_up and not self._over.is_set():
            found = look()
            if found is not None:
                return found
            if self._now() >= next_poll:
                self._poll.due()
                next_poll = self._now() + LOOK_SECONDS
            self._over.wait(LISTEN_SECONDS)
        return None

    def _tick(self, job: TrainerJob, reads: ChunkReads, read_clock: ReadClock, tick: int, at: float) -> bool:
        """One tick; False when a later server launch is listed. All that leaves on it leaves first."""
        with self._door.together(at):
            for frame in job.emit(tick):
                self._door.notify("frame", frame)
            read_clock.tick(tick)
        if tick % poll_ticks(self._schedule) == 0:
            self._poll.due()
        self._over.wait(settling_seconds(self._schedule))
        if reads.failure is not None:
            job.give_up(reads.failure)
        job.process(tick, reads.ready)
        return self._server == job.exchange.paramserver
