"""A training job's surroundings in one process: everything but process boundary, sandbox and broker is the real code.

`SmallBroker` answers as the key broker does, with real signatures and wrapped keys, and lets everybody in: what the
real one refuses is its own tests' business. Frames travel from door to door; the sandbox is `LeastSquares`, but for a
bundle of design code: that runs in the real one, and its design in the other.
"""

import contextlib
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.bundle import DESCRIPTION_FILE, BundleContents, BundleManifest, ColumnSpec, StateTensor, TensorSpec
from common.crypto.digests import sha256, sha256_raw
from common.crypto.keys import KeyRing, SecretKey
from common.crypto.merkle import MerkleTree
from common.crypto.signing import SigningKey
from common.crypto.wrapping import WrappingKey, wrap, wrap_ring
from common.dataset_payload import encode_pieces
from common.dataset_units import UNIT_CHUNKS
from common.enclave.simulated_platform import SimulatedPlatform
from common.errors import NotFoundError, PeerClosedError, UnavailableError
from common.exchange.clock import Now
from common.exchange.frames import FrameHeader
from common.identifiers import BundleId, ChallengeId, DatasetId, Digest, JobId, ModelId, MrEnclave
from common.key_binding import key_grant_info, report_info
from common.messages.admission import Admission, Admit, Challenge, IssueChallenge, Leased, RenewLease
from common.messages.broker_exchange import BrokerReply, BrokerRequest, ReplyBody
from common.messages.checkpoint import Checkpoint, CheckpointKept, KeepCheckpoint
from common.messages.enclave_events import EnclaveEvent
from common.messages.evidence import Evidence
from common.messages.jobs import AwaitEnd, Completed, CompleteJob, ListMembers, Member, Members
from common.messages.launch_terms import DatasetTerms, LaunchTerms
from common.messages.log_heads import LogHead
from common.messages.objects import BundlePublication, DatasetManifest, ObjectRef
from common.messages.order import AnswerTerms, DeviceName, Schedule, ToolchainWish, TrainingOrder
from common.messages.policy import JobReport, RefusalReport
from common.messages.refusal_detail import Refused
from common.messages.signed import Signed, sign
from common.messages.training_door import (
    JobEnded,
    OpenJob,
    SealedReport,
    StartTrainer,
    parse_checkpoint,
    parse_job_frame,
)
from common.sandbox.protocol import Rows
from common.sandboxed.quantised_layout import Finding, Findings
from common.sealed_object import ObjectKind, SealedObject, seal_object
from services.attestation.key_broker import AWAIT_SECONDS
from services.paramserver.running import JobRun
from services.trainer_enclave.provider_work import Starts
from services.trainer_enclave.running import TrainerRun
from tests.fakes.answering import AnswersAtOnce
from tests.fakes.in_memory_job import FEATURES, LeastSquares, rows_for
from tests.fakes.unhurried_time import UNHURRIED


@dataclass
class FixedExport:
    """An export sandbox whose child writes this."""

    written: bytes | None

    def run(self, deadline_seconds: float) -> bytes | None:
        """It."""
        assert deadline_seconds > 0
        return self.written

    def stop(self) -> None:
        """Nothing to end."""


@dataclass
class FixedFindings:
    """A sandbox that says this of int8. `asked`: state, rows, how many of them calibrate."""

    findings: Findings
    asked: list[tuple[NDArray[np.float32], Rows, int]] = field(default_factory=list)

    def run(self, state_P: NDArray[np.float32], rows: Rows, calibrating: int, seconds: float) -> Findings:
        """It."""
        assert seconds > 0
        self.asked.append((state_P.copy(), rows, calibrating))
        return self.findings


MEASUREMENT = MrEnclave("7c" * 32)


def small_bundle() -> BundleContents:
    """The bundle of a linear model; its code is never run here."""
    manifest = BundleManifest(
        name="linear", bundle_version="1", entry="linear:Linear", query_rows=4,
        input=ColumnSpec(column="x", shape=(FEATURES,), dtype="float32"),
        label=ColumnSpec(column="y", shape=(), dtype="float32"), answer=TensorSpec(shape=(), dtype="float32"),
        layout=(StateTensor(name="weight", shape=(FEATURES - 2,)), StateTensor(name="more", shape=(2, 1))),
    )  # fmt: skip
    return BundleContents(manifest=manifest, files={DESCRIPTION_FILE: b"", "linear.py": b"raise SystemExit"})


def prove_header(leaves: Sequence[bytes]) -> bytes:
    """What a store says of the header of an object with these leaves."""
    tree = MerkleTree()
    for number, leaf in enumerate(leaves):
        tree.append(sha256_raw(leaf) if number else leaf)
    return b"".join(tree.inclusion(0, len(leaves)))


class Store:
    """Committed leaves by root."""

    def __init__(self) -> None:
        self.leaves: dict[tuple[Digest, int], bytes] = {}
        self.proofs: dict[Digest, bytes] = {}
        self.committed: list[Digest] = []

    def add(self, sealed: SealedObject) -> ObjectRef:
        """Put an object in."""
        for number, leaf in enumerate(sealed.leaves()):
            self.leaves[sealed.root, number] = leaf
        self.proofs[sealed.root] = prove_header(list(sealed.leaves()))
        return ObjectRef(root=sealed.root, chunk_count=sealed.chunk_count)

    def handle(self, name: str, body: bytes) -> bytes:
        """`object.*` of a relay."""
        root, number = Digest.of(body[:32]), int.from_bytes(body[32:36], "big")
        if name == "object.read":
            if (root, number) not in self.leaves:
                raise NotFoundError("not_found.object")
            return self.leaves[root, number]
        if name == "object.proof":
            return self.proofs[root]
        if name == "object.write":
            self.leaves[root, number] = body[36:]
        else:
            self.committed.append(root)
        return b""


@dataclass
class TrainingWorld:
    """One order, its data, its parties, its host."""

    directory: Path
    schedule: Schedule
    trainers: int = 2
    owners: int = 1
    """Data set number i is owner i % owners', and so is slot i."""
    minimal_rounds: tuple[int, ...] = ()
    minimal_trainers: int = 1
    columns: tuple[dict[str, Any], ...] = ()
    bundle: BundleContents = field(default_factory=small_bundle)
    store: Store = field(default_factory=Store)
    reports: list[SealedReport] = field(default_factory=list)
    frames: list[tuple[str, int]] = field(default_factory=list)
    ticks: list[int] = field(default_factory=list)
    """Of the parameter server's frames."""
    state: str = "running"
    outages: int = 0
    exported: bytes | None = None
    """What the bundle's export writes, in every trainer."""
    answers: AnswerTerms = field(default_factory=AnswerTerms)
    quantiser: FixedFindings = field(default_factory=lambda: FixedFindings(Findings(Finding.FAILED)))
    """What judges int8, where `answers` ask for it."""
    device: DeviceName = "cpu"
    toolchain: ToolchainWish = "auto"
    lease_seconds: int = 60
    renewals: int = 0
    refuses_renewal: str | None = None
    refusal_report: RefusalReport = "none"
    holding: bool = False
    """The host keeps member lists and renewals back."""
    parted: bool = False
    """No frame arrives anywhere."""
    checkpoint: Checkpoint | None = None
    """The newest that the broker remembers."""
    chunk_bytes: int = 4096
    now: Now = UNHURRIED.now
    """Of all members."""
    seed: SecretKey = field(default_factory=SecretKey.generate)
    asked: dict[int, list[tuple[Digest, int]]] = field(default_factory=dict)
    """Leaves that the trainer of each slot asked for, all its launches together."""

    def __post_init__(self) -> None:
        self.platform = SimulatedPlatform.open_or_create(self.directory)
        self.broker, self.provider = SigningKey.generate(), SigningKey.generate()
        self.owner_keys = [SigningKey.generate() for _ in range(self.owners)]
        self.report_key, self.provider_report_key = WrappingKey.generate(), WrappingKey.generate()
        self.keys = {name: SecretKey.generate() for name in ("job", "bundle", "model")} | {"seed": self.seed}
        self._publish_bundle()
        columns = self.columns or (rows_for(0)(0), rows_for(0)(1))
        self.datasets = tuple(self._publish_data(number, one) for number, one in enumerate(columns))
        self.order = self._sign_order()
        self.job_id = JobId.of(self.order.digest)
        self.members: dict[tuple[str, int], Member] = {}
        self.completed: CompleteJob | None = None
        self.servers: list[JobRun] = []
        self.running: dict[int, TrainerRun] = {}
        self.sandboxes = {slot: LeastSquares() for slot in range(self.trainers)}
        self.codes: dict[int, str | None] = {}
        self.server_door: WorldDoor | None = None
        self.trainer_doors: dict[int, WorldDoor] = {}
        self.threads: dict[int, threading.Thread] = {}
        self.spoke = threading.Event()
        self.kept: list[Checkpoint] = []
        self.told_kept: list[Digest] = []
        self._log_size = 0
        self._lock = threading.Lock()

    def _publish_bundle(self) -> None:
        sealed = seal_object(self.bundle.encode(), self.keys["bundle"], ObjectKind.BUNDLE)
        self.publication = BundlePublication(
            provider=self.provider.party, object=self.store.add(sealed), terms=sha256(b"terms"),
            state_class=self.schedule.state_class)  # fmt: skip

    def _publish_data(self, number: int, columns: dict[str, Any]) -> DatasetTerms:
        key = SecretKey.generate()
        payload = b"".join(encode_pieces(columns, UNIT_CHUNKS * self.chunk_bytes))
        sealed = seal_object(payload, key, ObjectKind.DATASET, chunk_bytes=self.chunk_bytes)
        owner = self.owner_keys[number % self.owners].party
        manifest = DatasetManifest(owner=owner, parts=(self.store.add(sealed),), policy=sha256(b"policy"))
        name = DatasetId.of(sha256(manifest.encode()))
        self.keys[f"data/{name}"] = key
        return DatasetTerms(
            dataset_id=name, manifest=manifest, report_key=self.report_key.public, refusal_report=self.refusal_report
        )

    def _sign_order(self) -> Signed:
        return sign(TrainingOrder(
            nonce=bytes(16), owners=tuple(one.party for one in self.owner_keys), broker=self.broker.party,
            release=sha256(b"release"),
            datasets=tuple(one.dataset_id for one in self.datasets), bundle=BundleId.of(sha256(b"bundle")),
            trainers=self.trainers, schedule=self.schedule, not_after=int(time.time()) + 3600, secret=b"",
            sandbox=self.bundle.manifest.kind, shards=self._shards(), minimal_rounds=self.minimal_rounds,
            minimal_trainers=self.minimal_trainers, answers=self.answers, device=self.device,
            toolchain=self.toolchain,
        ), *self.owner_keys)  # fmt: skip

    def _shards(self) -> tuple[tuple[int, ...], ...]:
        places = range(len(self.datasets))
        own = (tuple(place for place in places if place % self.owners == slot % self.owners)
               for slot in range(self.trainers))  # fmt: skip
        return () if self.owners == 1 else tuple(own)

    # -- the broker

    def ask(self, raw: bytes) -> bytes:
        """One signed answer."""
        request = BrokerRequest.decode(raw)
        if isinstance(request.body, AwaitEnd):
            self._await_end()
        if self.holding and isinstance(request.body, AwaitEnd | ListMembers | RenewLease):
            raise UnavailableError("unavailable.broker")
        with self._lock:
            try:
                body = self._answer(request.body)
            except NotFoundError as refusal:
                body = Refused(code=refusal.code)
            self._log_size += 1
            head = LogHead(size=self._log_size, root=sha256(self._log_size.to_bytes(8, "big")), epoch=1)
        reply = BrokerReply(request=sha256(raw), nonce=request.nonce, head=head, time=int(time.time()), body=body)
        return sign(reply, self.broker).encode()

    def _await_end(self) -> None:
        give_up = time.monotonic() + AWAIT_SECONDS
        while self.state == "running" and not self.holding and time.monotonic() < give_up:
            time.sleep(0.002)

    def _answer(self, body: object) -> ReplyBody:
        match body:
            case IssueChallenge():
                known = self.members.get((body.role, body.slot))
                attempt = known.attempt + 1 if known else 1
                return Challenge(
                    challenge_id=ChallengeId.new(), nonce=bytes(32), broker=sha256(b"genesis"),
                    subject=self.order.digest, attempt=body.renews or attempt,
                    not_after=int(time.time()) + 60)  # fmt: skip
            case Admit():
                return self._admit(body)
            case RenewLease():
                self.renewals += 1
                if self.refuses_renewal is not None:
                    return Refused(code=self.refuses_renewal)
                return Leased(seconds=self.lease_seconds)
            case ListMembers() | AwaitEnd():
                return Members.model_validate(
                    {"job_id": self.job_id, "state": self.state, "members": tuple(self.members.values())}
                )
            case KeepCheckpoint():
                self.checkpoint = body.checkpoint
                self.kept.append(body.checkpoint)
                return CheckpointKept(job_id=self.job_id)
            case CompleteJob():
                if self.outages:
                    self.outages -= 1
                    return Refused(code="unavailable.frozen")
                self.completed, self.state = body, body.outcome
                return Completed(job_id=self.job_id,
                                 model_id=ModelId.of(self.order.digest) if body.manifest else None)  # fmt: skip
        raise NotFoundError("not_found.job")

    def _admit(self, admit: Admit) -> Admission:
        binding = admit.binding
        self.members[binding.role, binding.slot] = Member(
            role=binding.role, slot=binding.slot, attempt=binding.attempt, signing_public=binding.signing_public,
            mr_enclave=MEASUREMENT)  # fmt: skip
        order, keys = TrainingOrder.decode(self.order.payload), dict(self.keys)
        own = order.shard_of(binding.slot) if binding.role == "trainer" else order.datasets
        for foreign in set(order.datasets) - set(own):
            del keys[f"data/{foreign}"]
        terms = LaunchTerms(
            job_id=self.job_id, role=binding.role, slot=binding.slot, attempt=binding.attempt, order=self.order,
            outer_learning_rate=1.0, outer_momentum=0.0,
            bundle_id=order.bundle, bundle=self.publication,
            datasets=tuple(one for one in self.datasets if one.dataset_id in own),
            provider=self.provider.party, provider_report_key=self.provider_report_key.public,
            trust_level="simulation", mr_enclaves={}, lease_seconds=self.lease_seconds,
            checkpoint=self.checkpoint if binding.role == "paramserver" else None,
        )  # fmt: skip
        info = key_grant_info(binding.report_data())
        return Admission(keys=wrap_ring(KeyRing(keys), binding.wrapping_public, info),
                         terms=wrap(terms.encode(), binding.wrapping_public, info))  # fmt: skip

    # -- the platform and the host

    def evidence(self, report_data: bytes) -> Evidence:
        """A simulated quote."""
        return self.platform.evidence(MEASUREMENT, report_data)

    def run(self, seconds: float = 60.0) -> JobEnded:
        """The whole job in real time; the parameter server's last word."""
        for slot in range(self.trainers):
            self.start_trainer(slot)
        ended = self.start_server().run()
        for trainer in self.threads.values():
            trainer.join(seconds)
        return ended

    def in_background(self, server: JobRun) -> "Future[JobEnded]":
        """Run a launch of the parameter server on a thread."""
        future: Future[JobEnded] = Future()
        threading.Thread(target=lambda: future.set_result(server.run()), daemon=True).start()
        return future

    def start_server(self, now: Now | None = None) -> JobRun:
        """A launch of the parameter server."""
        self.server_door = WorldDoor(self)
        run = JobRun(self.server_door, self, OpenJob(job_id=self.job_id, order=self.order), now or self.now)
        self.servers.append(run)
        return run

    def start_trainer(self, slot: int) -> None:
        """A launch of a trainer, on a thread of its own."""
        start = StartTrainer(job_id=self.job_id, slot=slot, order=self.order)
        door = self.trainer_doors[slot] = WorldDoor(self, slot)
        run = self.running[slot] = TrainerRun(
            door, self, start, confine=lambda: None, starts=self.starts(slot), now=self.now, end_process=lambda: None
        )

        def live() -> None:
            with contextlib.suppress(PeerClosedError):
                self.codes[slot] = run.run()

        self.threads[slot] = threading.Thread(target=live, daemon=True)
        self.threads[slot].start()

    def starts(self, slot: int) -> Starts:
        """What a trainer starts in place of sandboxes."""
        if self.bundle.manifest.designs:
            return Starts()
        return Starts(
            sandbox=lambda *_: self.sandboxes[slot],
            export=lambda *_: FixedExport(self.exported),
            quantiser=lambda *_: self.quantiser,
        )

    def carry_up(self, frame: bytes) -> None:
        """To the parameter server."""
        for server in [] if self.parted else self.servers:
            server.frame(frame)

    def carry_down(self, frame: bytes) -> None:
        """To all trainers."""
        if not self.parted:
            self.spoke.set()
            for trainer in self.running.values():
                trainer.frame(frame)

    def read_reports(self) -> list[JobReport]:
        """What the owner reads."""
        return [
            JobReport.decode(self.report_key.open(one.sealed, report_info(self.order.digest, one.owner, one.sequence)))
            for one in self.reports
        ]


class WorldDoor(AnswersAtOnce):
    """An enclave's end of a door whose relay is this process. `killed`: nothing goes through any more."""

    def __init__(self, world: TrainingWorld, slot: int = -1) -> None:
        self._world, self._slot, self.killed = world, slot, False

    def call(self, name: str, body: bytes, *, seconds: float = 60.0) -> bytes:  # noqa: ARG002 - nothing here waits
        """Broker and store."""
        if self.killed:
            raise PeerClosedError("killed")
        if name == "broker.ask":
            return self._world.ask(body)
        if name == "object.read":
            place = Digest.of(body[:32]), int.from_bytes(body[32:36], "big")
            self._world.asked.setdefault(self._slot, []).append(place)
        return self._world.store.handle(name, body)

    def together(self, at: float) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002 - nothing here waits
        return contextlib.nullcontext()

    def notify(self, name: str, body: bytes) -> None:
        """Frames and reports."""
        if self.killed:
            raise PeerClosedError("killed")
        world = self._world
        if name == "report":
            world.reports.append(SealedReport.decode(body))
        elif name == "checkpoint":
            world.told_kept.append(parse_checkpoint(body)[1])
        elif len(body) == world.schedule.frame_bytes:
            world.frames.append(("up", len(body)))
            world.carry_up(body)
        else:
            world.frames.append(("down", len(body)))
            frame = parse_job_frame(body)[1]
            world.ticks.append(FrameHeader.parse(frame).tick)
            world.carry_down(frame)

    def log(self, event: EnclaveEvent) -> None:
        """Events are not looked at."""
