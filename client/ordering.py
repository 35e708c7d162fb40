"""Ordering a training (side: owner). Watching it is `client.watching`.

The order is single-use and names everything that its job may touch: data sets, bundle, broker key, release, schedule.
"""

import secrets
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from client import events as e
from client.broker import BrokerLink
from client.calibrating import calibrated
from client.context import Party
from client.forecasting import forecast_event
from client.platforms import terms_over
from client.revoking import end
from client.scheduling import ScheduleWishes, host_view, schedule_for
from client.services import IngestService
from client.watching.following import FINAL_STATES, seen, watch
from common.crypto.wrapping import wrap
from common.data_shares import Share, share_of
from common.errors import AuthenticityError, FormatError
from common.identifiers import BundleId, DatasetId, JobId, PartyKey
from common.key_binding import order_secret_info
from common.leakage import OPEN_CHANNELS, report_bits
from common.messages.jobs import AcceptOrder, OrderAccepted
from common.messages.objects import BundlePublication, DatasetManifest
from common.messages.order import (
    AnswerTerms,
    AnswerTiming,
    DeviceName,
    OrderSecret,
    SandboxName,
    Schedule,
    ToolchainWish,
    TrainingOrder,
)
from common.messages.policy import DataPolicy
from common.messages.signed import Signed, open_signed, sign

__all__ = [
    "FINAL_STATES",
    "ORDER_SECONDS",
    "Training",
    "cancel",
    "fetch_publication",
    "forecast_training",
    "jobs",
    "make_order",
    "train",
    "watch",
]

ORDER_SECONDS: Final = 86_400
"""How long an accepted order may wait for free slots and run."""


@dataclass(frozen=True)
class Training:
    """What to train: whose data with whose code, on how many trainers, how long.

    `minimal_trainers`: a round counts with the deltas of so many at least. `minimal_rounds`: no model unless each
    owner's trainers had part in so many; a joint order may say another number of one of them. `answer_timing`: whether
    the model's answers leave on a quantum, as they must where provider code gives them.
    `calibrate`: the schedule is chosen by public figures (client/calibrating), but for the wishes that `keep` names.
    `device`: what trainers compute with; one without it refuses. `answers`: in what precision; int8 takes seconds of
    the schedule (`wishes.quantising_seconds`) and one owner.
    The outer optimiser's figures travel wrapped to the broker: the host does not know them.
    """

    dataset_id: DatasetId
    bundle_id: BundleId
    trainers: int = 2
    wishes: ScheduleWishes = field(default_factory=ScheduleWishes)
    minimal_trainers: int = 1
    minimal_rounds: int = 1
    toolchain: ToolchainWish = "auto"
    answer_timing: AnswerTiming = "padded"
    calibrate: bool = False
    keep: frozenset[str] = frozenset()
    outer_learning_rate: float = 1.0
    outer_momentum: float = 0.0
    answers: AnswerTerms = field(default_factory=AnswerTerms)
    device: DeviceName = "cpu"


Owned = tuple[DatasetId, PartyKey]
"""A data set and whose it is."""


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


def fetch_sizes(party: Party, dataset_id: DatasetId) -> list[int]:
    """Chunks of each part of one's own data set, as its manifest says: what it is called is that manifest's digest.

    Raises `AuthenticityError` (authenticity.signature) for another manifest, `NotFoundError` (not_found.dataset).
    """
    signed = IngestService.of(party).dataset(dataset_id)
    if DatasetId.of(signed.digest) != dataset_id:
        raise AuthenticityError("authenticity.signature", expected=dataset_id, seen=DatasetId.of(signed.digest))
    return [part.chunk_count for part in DatasetManifest.decode(signed.payload).parts]


def deal_shards(shares: Sequence[Owned], trainers: int) -> tuple[tuple[int, ...], ...]:
    """Each slot's data sets, by place: the owners take turns. None where there is one owner: all train on all.

    Raises `FormatError` (format.message) for fewer trainers than owners.
    """
    owners = list(dict.fromkeys(owner for _, owner in shares))
    if len(owners) == 1:
        return ()
    if trainers < len(owners):
        raise FormatError("format.message", expected=f"a trainer for each of {len(owners)} owners", seen=trainers)
    own = [tuple(place for place, (_, owner) in enumerate(shares) if owner == one) for one in owners]
    return tuple(own[slot % len(owners)] for slot in range(trainers))


def make_order(
    party: Party,
    training: Training,
    schedule: Schedule,
    sandbox: SandboxName = "native",
    shares: Sequence[Owned] = (),
    least: Mapping[PartyKey, int] | None = None,
) -> Signed:
    """The order with this owner's signature. Its seed is fresh and travels wrapped to the broker that is pinned.

    `sandbox`: what the bundle's publication says. `shares`: data sets of several owners, this one's first. `least`:
    owners whose trainers must have part in another number of rounds than the rest. Raises `FormatError`
    (format.message) for more trainers or rounds at least than there are.
    """
    trust, own = party.trust, party.identity.signing_key
    nonce = secrets.token_bytes(16)
    shares = shares or ((training.dataset_id, own.party),)
    owners = tuple(dict.fromkeys(owner for _, owner in shares))
    minimal_rounds = tuple((least or {}).get(owner, training.minimal_rounds) for owner in owners)
    _require_at_most("trainers", training.minimal_trainers, training.trainers)
    _require_at_most("rounds", max(minimal_rounds), schedule.rounds)
    secret = OrderSecret(
        learning_seed=secrets.token_bytes(32),
        outer_learning_rate=training.outer_learning_rate,
        outer_momentum=training.outer_momentum,
    )
    order = TrainingOrder(
        nonce=nonce,
        owners=owners,
        broker=trust.broker.signing_public,
        release=trust.release.digest,
        datasets=tuple(dataset_id for dataset_id, _ in shares),
        bundle=training.bundle_id,
        sandbox=sandbox,
        trainers=training.trainers,
        shards=deal_shards(shares, training.trainers),
        minimal_trainers=training.minimal_trainers,
        minimal_rounds=minimal_rounds,
        schedule=schedule,
        device=training.device,
        toolchain=training.toolchain,
        answer_timing=training.answer_timing,
        answers=training.answers,
        not_after=int(time.time()) + ORDER_SECONDS,
        secret=wrap(
            secret.encode(), party.broker_key, order_secret_info(nonce, own.party, trust.broker.signing_public)
        ),
    )
    return sign(order, own)


def _require_at_most(what: str, least: int, ordered: int) -> None:
    if least > ordered:
        raise FormatError("format.message", expected=f"1 to {ordered} {what} at least", seen=least)


def train(party: Party, training: Training) -> Iterator[e.Event]:
    """Verify the broker, tell what the host will see, sign an order, submit it. Ends with `OrderAccepted`.

    The broker's machine must meet the TCB terms of the data set's policy, since it has the key, too. Nothing is signed
    for whoever stops at the `OrderPreview`. The broker judges the order before the operator gets it:
    its signed refusal tells this owner what was expected.
    """
    publication = fetch_publication(party, training.bundle_id)
    schedule, _ = yield from sized(party, training, publication, training.trainers)
    link = BrokerLink(party)
    yield link.verify(*terms_over(party, training.dataset_id))
    yield preview(party, training, schedule)
    order = make_order(party, training, schedule, publication.sandbox)
    yield _submitted(party, link, order)


def submit(party: Party, order: Signed) -> Iterator[e.Event]:
    """Verify the broker, and submit an order that all its owners have signed. Ends with `OrderAccepted`."""
    link = BrokerLink(party)
    yield link.verify(*terms_over(party, *TrainingOrder.decode(order.payload).datasets))
    yield _submitted(party, link, order)


def _submitted(party: Party, link: BrokerLink, order: Signed) -> e.OrderAccepted:
    party.keep_document("orders", JobId.of(order.digest), order)  # before it is sent: an answer may get lost
    link.ask(AcceptOrder(order=order, release=party.trust.release), OrderAccepted)
    job_id, said = IngestService.of(party).submit_order(order), TrainingOrder.decode(order.payload)
    seconds = host_view(said.schedule, said.trainers).seconds
    return e.OrderAccepted(
        job_id=job_id, trainers=said.trainers, total_ticks=said.schedule.total_ticks, seconds=seconds
    )


def preview(party: Party, training: Training, schedule: Schedule) -> e.OrderPreview:
    """What the host will see of this training, and what this owner's data set is charged for it."""
    told = _report_bits(party, training.dataset_id)
    shown = _preview(schedule, training.trainers, told, training.answer_timing, training.answers)
    return shown.model_copy(update={"device": training.device})


def preview_of(party: Party, order: TrainingOrder) -> e.OrderPreview:
    """The same of an order that somebody else has drafted."""
    own = max((_report_bits(party, dataset_id) for dataset_id in order.datasets), default=0)
    shown = _preview(order.schedule, order.trainers, own, order.answer_timing, order.answers)
    return shown.model_copy(update={"device": order.device})


def forecast_training(party: Party, training: Training) -> Iterator[e.Event]:
    """What the job would take and what the host would see of it. Nothing is signed, and the broker isn't asked.

    `Calibrated` if that was wished, `OrderPreview`, `JobForecast`.
    """
    publication = fetch_publication(party, training.bundle_id)
    schedule, share = yield from sized(party, training, publication, training.trainers)
    yield preview(party, training, schedule)
    yield forecast_event(schedule, training.trainers, publication.sandbox, share)


def sized(
    party: Party, training: Training, publication: BundlePublication, trainers: int
) -> Generator[e.Event, None, tuple[Schedule, Share]]:
    """The schedule, for so many `trainers` of this owner's data, and what each of them reads of it.

    `Calibrated` on the way, if that was wished.
    """
    wishes, share = training.wishes, share_of(fetch_sizes(party, training.dataset_id), slot=0, trainers=trainers)
    if training.calibrate:
        wishes = yield from calibrated(party, share, publication, training.trainers, wishes, training.keep)
    return schedule_for(wishes, publication, share), share


def _report_bits(party: Party, dataset_id: DatasetId) -> int:
    """By the newest policy that was signed here."""
    newest = party.document("policies", dataset_id)
    return 0 if newest is None else report_bits(DataPolicy.decode(newest.payload).refusal_report)


def _preview(
    schedule: Schedule, trainers: int, told: int, timing: AnswerTiming, answers: AnswerTerms
) -> e.OrderPreview:
    return e.OrderPreview(
        trainers=trainers,
        total_ticks=schedule.total_ticks,
        frame_bytes=schedule.frame_bytes,
        report_bits=told,
        answer_timing=timing,
        open_channels=OPEN_CHANNELS,
        answers=answers,
        **asdict(host_view(schedule, trainers)),
    )


def jobs(party: Party) -> Iterator[e.Event]:
    """The public state of each of this owner's jobs: one `JobSeen` for each."""
    for view in IngestService.of(party).jobs():
        yield seen(view)


def cancel(party: Party, job_id: JobId) -> Iterator[e.Event]:
    """Cancel a job: the broker releases no more keys for it, the operator ends it. Ends with `Ended`.

    A job that has finished stays finished; what ends is its model, whose key the broker destroys.
    """
    ending = end(party, BrokerLink(party), "job", job_id)
    view = IngestService.of(party).cancel_job(job_id)
    yield ending.proven(job_id, view.state) if view.model_id is None else ending.proven(view.model_id, "model revoked")
