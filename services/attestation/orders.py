"""Accepting an order, which makes the job's keys (side: enclave).

In this order, each raises:

  (1) the very same order was accepted before: the same answer;
  (2) its data sets and bundle are registered and not revoked, and the bundle is not retired;
  (3) all owners of all its data sets, and only they, signed it; the bundle's provider is in force;
  (4) it names this broker, and a release that enough pinned release keys signed, that is not revoked, and that names
      this broker's code;
  (5) it is neither expired nor is its nonce used;
  (6) every owner's newest policy allows it, bits for first attempts and a report to the provider included;
  (7) the provider's terms allow it;
  (8) its schedule carries frames for this bundle's state class, it asks for nothing that has no keys yet, no slot
      trains on the data of two owners, and design code, which must see one profile, all slots on the same data; int8 is
      judged for one owner alone;
  (9) its secret opens.

In (6) and (7) everybody's terms are judged, and each party is told its own reason (`entitlement`).
"""

import functools
from typing import Final

from common.crypto.keys import SecretKey
from common.errors import AppraisalError, FormatError, FreshnessError, PolicyError
from common.identifiers import JobId
from common.key_binding import order_secret_info
from common.leakage import attempt_bits
from common.messages.jobs import AcceptOrder, OrderAccepted
from common.messages.order import OrderSecret, TrainingOrder
from common.messages.release import Release
from common.messages.signed import Signed
from common.policy_rules import OrderFacts, require_owner_allows, require_provider_allows
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.entitlement import entitled, judge_each
from services.attestation.ledger import JOBS, bits_of_report, charged_report, require_bits, tally_of
from services.attestation.log_subjects import of_order
from services.attestation.records import (
    BundleRecord,
    DatasetRecord,
    JobRecord,
    ReleaseRecord,
    UsedNonceRecord,
    used_nonce_key,
)
from services.attestation.release_choice import require_own_release
from services.attestation.retirement import require_not_retired
from services.attestation.versions import accepted

MAX_ORDER_BYTES: Final = 1 << 16
"""Of an order's document, which its job's record repeats in each decision about it. The longest needs a third."""


def accept_order(broker: BrokerContext, body: AcceptOrder, at: int) -> OrderAccepted:
    """Checks (1) to (9). Raises the refusal of the first that fails."""
    job_id = JobId.of(body.order.digest)
    known = broker.state.find(JobRecord, job_id)
    if known is not None:  # (1)
        return _accepted(known)
    unverified = TrainingOrder.decode(body.order.payload, limit=MAX_ORDER_BYTES)
    datasets = tuple(broker.dataset(dataset_id) for dataset_id in unverified.datasets)  # (2)
    bundle = broker.bundle(unverified.bundle)
    order = _require_signed(broker, body.order, datasets)  # (3)
    broker.parties.require_held(bundle.publication.provider)
    with entitled(datasets[0].policy):
        broker.require_unrevoked([*datasets, bundle])
        require_not_retired(broker, bundle)
        release = _require_addressed(broker, order, body.release)  # (4)
        at = max(at, release.created)
        if at > order.not_after or broker.state.find(UsedNonceRecord, used_nonce_key(order.owners[0], order.nonce)):
            raise FreshnessError("freshness.order", expected=f"an unused order, valid at {at}", seen=order.not_after)
    _require_allowed(broker, order, datasets, bundle, at)  # (6), (7)
    with entitled(datasets[0].policy):
        _require_supported(order, bundle)  # (8)
        _require_own_enclaves(broker, order, datasets)
        _require_one_judge(order)
        secret = _open_secret(broker, order)  # (9)
    job = JobRecord(
        job_id=job_id,
        order_document=body.order,
        policies=tuple(data.policy_document for data in datasets),
        terms=bundle.terms_document,
        outer_learning_rate=secret.outer_learning_rate,
        outer_momentum=secret.outer_momentum,
        trust_level=broker.platform.trust_level,
        state="running",
        keys=broker.state.keys.seal_ring(
            job_id, job=SecretKey.generate(), model=SecretKey.generate(), seed=SecretKey(secret.learning_seed)
        ),
        launches=(),
        manifest_document=None,
    )
    broker.state.commit(
        Decision("accept-order", of_order(broker, body.order, datasets, bundle, job=job_id, model=job.model_id)),
        at,
        job,
        accepted(broker, job_id),
        ReleaseRecord(document=body.release),
        UsedNonceRecord(owner=order.owners[0], nonce=order.nonce),
        *(broker.state.tally_after(tally_of(JOBS, data.dataset_id), 1) for data in datasets),
        *charged_report(broker, datasets),
    )
    return _accepted(job)


def _accepted(job: JobRecord) -> OrderAccepted:
    return OrderAccepted(job_id=job.job_id, trainers=job.order.trainers, trust_level=job.trust_level.value)


def _require_signed(broker: BrokerContext, signed: Signed, datasets: tuple[DatasetRecord, ...]) -> TrainingOrder:
    """Check (3), of those who hold the owners' identities now; duplicates among data sets are refused with it."""
    owners = broker.parties.holders([data.manifest.owner for data in datasets])
    order = broker.parties.open_word(signed, TrainingOrder, owners)
    if set(order.owners) != owners:
        raise PolicyError("policy.signer", expected=sorted(owners), seen=sorted(order.owners))
    if len(set(order.datasets)) != len(order.datasets):
        raise FormatError("format.message", expected="each data set once")
    return order


def _require_addressed(broker: BrokerContext, order: TrainingOrder, release_document: Signed) -> Release:
    """Check (4)."""
    if order.broker != broker.signing_key.party:
        raise PolicyError("policy.broker", expected=broker.signing_key.party, seen=order.broker)
    if release_document.digest != order.release:
        raise AppraisalError("appraisal.release", expected=order.release, seen=release_document.digest)
    return require_own_release(broker, release_document)


def _require_allowed(
    broker: BrokerContext, order: TrainingOrder, datasets: tuple[DatasetRecord, ...], bundle: BundleRecord, at: int
) -> None:
    facts = OrderFacts.of(order, bundle.publication, broker.platform.trust_level, at, broker.parties.names)
    bits, terms = order.trainers * attempt_bits(order.schedule) + bits_of_report(datasets), bundle.terms

    def judge_owner(data: DatasetRecord) -> None:
        require_owner_allows(data.policy, facts, broker.state.tally(tally_of(JOBS, data.dataset_id)))
        require_bits(broker, data.dataset_id, data.policy, bits)

    owners = [(data.policy, functools.partial(judge_owner, data)) for data in datasets]
    judge_each([*owners, (terms, functools.partial(require_provider_allows, terms, facts))])


def _require_supported(order: TrainingOrder, bundle: BundleRecord) -> None:
    state_class = bundle.publication.state_class
    if order.schedule.state_class != state_class:
        raise PolicyError("policy.bundle", expected=f"state class {state_class}", seen=order.schedule.state_class)
    if order.sandbox != bundle.publication.sandbox:
        raise PolicyError("policy.bundle", expected=f"sandbox {bundle.publication.sandbox}", seen=order.sandbox)
    if order.parent_model is not None:
        raise PolicyError("policy.purpose", expected="training without a parent model", seen=order.parent_model)


def _require_own_enclaves(broker: BrokerContext, order: TrainingOrder, datasets: tuple[DatasetRecord, ...]) -> None:
    """Data of two owners never meet in one enclave: what one owner's file does to its parser is no other's affair."""
    owners = {data.dataset_id: broker.parties.holder(data.manifest.owner) for data in datasets}
    shards = order.all_shards
    for slot, shard in enumerate(shards):
        if len({owners[dataset_id] for dataset_id in shard}) > 1:
            raise PolicyError("policy.shards", expected="data sets of one owner", seen=f"more in slot {slot}")
    if order.sandbox == "wasm" and len(set(shards)) > 1:
        raise PolicyError(
            "policy.shards", expected="the same data in each slot, for design code", seen="different data"
        )


def _require_one_judge(order: TrainingOrder) -> None:
    """What int8 costs is a figure of one slot's data: another owner's report must not tell it."""
    if order.answers.lowest == "int8" and len(order.owners) > 1:
        raise PolicyError("policy.precision", expected="one owner", seen=len(order.owners))


def _open_secret(broker: BrokerContext, order: TrainingOrder) -> OrderSecret:
    info = order_secret_info(order.nonce, order.owners[0], broker.signing_key.party)
    return OrderSecret.decode(broker.wrapping_key.open(order.secret, info))
