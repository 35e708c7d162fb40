"""Ordering a training and watching it (side: owner).

The order is single-use and names everything that its job may touch: data sets, bundle, broker key, release, schedule.
While the job runs the host knows its public state; how well it learns is only in the reports that the parameter
server's enclave seals to the owner's report key.
"""

import functools
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Final, TypeVar

from client import events as e
from client.broker import BrokerLink
from client.context import Party
from client.revoking import end
from client.scheduling import ScheduleWishes, host_view, schedule_for
from client.services import IngestService
from common.crypto.wrapping import wrap
from common.errors import AppraisalError, AuthenticityError, FreshnessError, NotFoundError, UnavailableError, refusal_of
from common.identifiers import BundleId, DatasetId, JobId, ModelId
from common.key_binding import order_secret_info, report_info
from common.leakage import OPEN_CHANNELS, report_bits
from common.messages.attestation import AcceptOrder, ListMembers, Members, OrderAccepted
from common.messages.objects import BundlePublication, ModelManifest
from common.messages.order import OrderSecret, SandboxName, Schedule, ToolchainWish, TrainingOrder
from common.messages.policy import DataPolicy, JobReport
from common.messages.service import JobView
from common.messages.signed import Signed, open_signed, sign

ORDER_SECONDS: Final = 86_400
"""How long an accepted order may wait for free slots and run."""

POLL_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 60
"""How long watching goes on while a service does not answer."""

T = TypeVar("T")
FINAL_STATES: Final = frozenset({"finished", "failed", "cancelled"})

LAST_REPORT_LOOKS: Final = 10
"""The host learns that a job is over a moment before it is given the report that says how it went."""


@dataclass(frozen=True)
class OuterRule:
    """What is made of the mean of the trainers' changes (services/paramserver/aggregation). No host sees it."""

    learning_rate: float = 1.0
    momentum: float = 0.0


@dataclass(frozen=True)
class Training:
    """What to train: whose data with whose code, on how many trainers, how long."""

    dataset_id: DatasetId
    bundle_id: BundleId
    trainers: int = 2
    wishes: ScheduleWishes = field(default_factory=ScheduleWishes)
    toolchain: ToolchainWish = "auto"
    outer: OuterRule = OuterRule()


def fetch_publication(party: Party, bundle_id: BundleId) -> BundlePublication:
    """A bundle's publication: its identifier is the digest of what its provider signed, so it can't be another.

    It is kept: a log names the bundle alone. Raises `AuthenticityError` (authenticity.signature).
    """
    signed = IngestService.of(party).publication(bundle_id)
    publication = open_signed(signed, BundlePublication, [signed.unverified_signer])
    if BundleId.of(signed.digest) != bundle_id or publication.provider != signed.unverified_signer:
        raise AuthenticityError("authenticity.signature", expected=bundle_id, seen=BundleId.of(signed.digest))
    party.keep_document("publications", bundle_id, signed)
    return publication


def make_order(party: Party, training: Training, schedule: Schedule, sandbox: SandboxName = "native") -> Signed:
    """The signed order. Its seed is fresh and travels wrapped to the broker that is pinned.

    `sandbox`: what the bundle's publication says.
    """
    trust, own = party.trust, party.identity.signing_key
    nonce = secrets.token_bytes(16)
    outer = training.outer
    secret = OrderSecret(
        learning_seed=secrets.token_bytes(32), outer_learning_rate=outer.learning_rate, outer_momentum=outer.momentum
    )
    order = TrainingOrder(
        nonce=nonce,
        owners=(own.party,),
        broker=trust.broker.signing_public,
        release=trust.release.digest,
        datasets=(training.dataset_id,),
        bundle=training.bundle_id,
        sandbox=sandbox,
        trainers=training.trainers,
        schedule=schedule,
        toolchain=training.toolchain,
        not_after=int(time.time()) + ORDER_SECONDS,
        secret=wrap(
            secret.encode(), party.broker_key, order_secret_info(nonce, own.party, trust.broker.signing_public)
        ),
    )
    return sign(order, own)


def train(party: Party, training: Training) -> Iterator[e.Event]:
    """Verify the broker, tell what the host will see, sign an order, submit it. Ends with `OrderAccepted`.

    Nothing is signed for whoever stops at the `OrderPreview`. The broker judges the order before the operator gets it:
    its signed refusal tells this owner what was expected.
    """
    publication = fetch_publication(party, training.bundle_id)
    schedule = schedule_for(training.wishes, publication)
    link = BrokerLink(party)
    yield link.verify()
    yield (preview := _preview(schedule, training.trainers, _report_bits(party, training.dataset_id)))
    order = make_order(party, training, schedule, publication.sandbox)
    party.keep_document("orders", JobId.of(order.digest), order)  # before it is sent: an answer may get lost
    link.ask(AcceptOrder(order=order, release=party.trust.release), OrderAccepted)
    job_id = IngestService.of(party).submit_order(order)
    yield e.OrderAccepted(
        job_id=job_id, trainers=training.trainers, total_ticks=schedule.total_ticks, seconds=preview.seconds
    )


def _report_bits(party: Party, dataset_id: DatasetId) -> int:
    """By the newest policy that was signed here."""
    newest = party.document("policies", dataset_id)
    return 0 if newest is None else report_bits(DataPolicy.decode(newest.payload).refusal_report)


def _preview(schedule: Schedule, trainers: int, told: int) -> e.OrderPreview:
    return e.OrderPreview(
        trainers=trainers,
        total_ticks=schedule.total_ticks,
        frame_bytes=schedule.frame_bytes,
        report_bits=told,
        open_channels=OPEN_CHANNELS,
        **asdict(host_view(schedule, trainers)),
    )


def jobs(party: Party) -> Iterator[e.Event]:
    """The public state of each of this owner's jobs: one `JobSeen` for each."""
    for view in IngestService.of(party).jobs():
        yield _seen(view)


def cancel(party: Party, job_id: JobId) -> Iterator[e.Event]:
    """Cancel a job: the broker releases no more keys for it, the operator ends it. Ends with `Ended`.

    A job that has finished stays finished; what ends is its model, whose key the broker destroys.
    """
    ending = end(party, BrokerLink(party), "job", job_id)
    view = IngestService.of(party).cancel_job(job_id)
    yield ending.proven(job_id, view.state) if view.model_id is None else ending.proven(view.model_id, "model revoked")


def watch(party: Party, job_id: JobId, *, pause: Callable[[float], None] = time.sleep) -> Iterator[e.Event]:
    """Follow a job to its end: `ReportOpened` for each report, `JobSeen` when its public state changes.

    Ends with `ModelSealed`, or with the `JobSeen` of a job without a model. A schedule that ran to its end has a model,
    whatever was learned: the last report says that, and `ModelSealed` repeats it. A service that is away is waited for,
    `PATIENCE_SECONDS` at most.
    """
    order = party.document("orders", job_id)
    if order is None:
        raise NotFoundError("not_found.job", expected="a job that was ordered from this identity directory")
    reports, last = _Reports(party, order, pause), None
    while last is None or last.state not in FINAL_STATES:
        view = _patiently(functools.partial(reports.ingest.job, job_id), pause)
        yield from reports.read()
        if view != last:
            yield _seen(view)
        last = view
        if view.state not in FINAL_STATES:
            pause(POLL_SECONDS)
    if last.model_id is not None:
        yield from reports.read_last()
        yield fetch_model(party, last.model_id, order, reports.newest)


class _Reports:
    """The reports of one job, each opened once; `newest` is the one that was opened last."""

    def __init__(self, party: Party, order: Signed, pause: Callable[[float], None]) -> None:
        self.ingest = IngestService.of(party)
        self._party, self._order, self._pause = party, order, pause
        self.newest: JobReport | None = None

    def read(self) -> Iterator[e.ReportOpened]:
        """All that are there and were not read yet. Raises `FreshnessError` for one that is not newer than the last."""
        job_id = JobId.of(self._order.digest)
        while True:
            after = None if self.newest is None else self.newest.sequence
            page = _patiently(functools.partial(self.ingest.reports, job_id, after), self._pause)
            if not page:
                return
            for sealed in page:
                if self.newest is not None and sealed.sequence <= self.newest.sequence:
                    raise FreshnessError("freshness.report", expected=self.newest.sequence + 1, seen=sealed.sequence)
                self.newest = open_report(self._party, self._order, sealed.sequence, sealed.sealed)
                yield e.ReportOpened(report=self.newest)

    def read_last(self) -> Iterator[e.ReportOpened]:
        """The one that says how the job went, unless it is lost."""
        for _ in range(LAST_REPORT_LOOKS):
            if self.newest is not None and self.newest.outcome is not None:
                return
            self._pause(POLL_SECONDS)
            yield from self.read()


def _patiently(ask: Callable[[], T], pause: Callable[[float], None]) -> T:
    for _ in range(int(PATIENCE_SECONDS / POLL_SECONDS)):
        try:
            return ask()
        except UnavailableError:
            pause(POLL_SECONDS)
    return ask()


def _seen(view: JobView) -> e.JobSeen:
    return e.JobSeen(
        job_id=view.job_id,
        state=view.state,
        trainers=view.trainers,
        code=view.code,
        mend=_mend(view.code) if view.state == "failed" and view.code is not None else None,
        model_id=view.model_id,
    )


def _mend(code: str) -> str:
    refusal = refusal_of(code)
    return f"{refusal.mender} can mend it: {refusal.mend}"


def open_report(party: Party, order: Signed, sequence: int, sealed: bytes) -> JobReport:
    """A report of the parameter server's enclave. Raises `AuthenticityError` for another job's or a forged one."""
    info = report_info(order.digest, party.identity.signing_key.party, sequence)
    report = JobReport.decode(party.identity.report_key.open(sealed, info))
    if (report.job_id, report.sequence) != (JobId.of(order.digest), sequence):
        raise AuthenticityError("authenticity.wrapped_key", expected=f"report {sequence}", seen=report.sequence)
    return report


def fetch_model(party: Party, model_id: ModelId, order: Signed, report: JobReport | None) -> e.ModelSealed:
    """The manifest of a job's model, held against the broker's own member list; what came of it is in the last report.

    (1) the broker's signed list names the launch that was the job's parameter server; (2) that launch signed the
    manifest; (3) the manifest is of this order. Raises `AuthenticityError` (1, 2) or `AppraisalError` (3).
    """
    signed, job_id = IngestService.of(party).model_manifest(model_id), JobId.of(order.digest)
    members = BrokerLink(party).ask(ListMembers(job_id=job_id), Members)  # (1)
    servers = [one.signing_public for one in members.members if one.role == "paramserver"]
    manifest = open_signed(signed, ModelManifest, servers)  # (2)
    if (manifest.model_id, manifest.job_id, manifest.order) != (model_id, job_id, order.digest):  # (3)
        raise AppraisalError("appraisal.manifest", expected=order.digest, seen=manifest.order)
    party.keep_document("models", manifest.model_id, signed)
    return e.ModelSealed(
        job_id=job_id,
        model_id=manifest.model_id,
        manifest=signed.digest,
        outcome=None if report is None else report.outcome,
        rounds_done=None if report is None else report.round,
        trust_level=manifest.trust_level,
    )
