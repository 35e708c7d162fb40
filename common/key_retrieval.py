"""How a launch gets its keys: fresh quote in, keys and terms out (side: enclave).

    launch -- IssueChallenge --> broker     a nonce for (job, role, slot), and the attempt that this launch would be
    launch -- Admit(quote)    --> broker    report_data = SHA-512 over nonce, broker, role, subject, slot, attempt, keys
    launch <-- keys, terms ------ broker    wrapped to the launch's key, with info = those 64 bytes

The launch's two keys are born here, for this launch alone. Of what comes back, each check raises:

  (1) keys and terms open under this launch's key and report data;
  (2) the terms are for this job, role, slot and attempt;
  (3) their order has the digest that names the job, is signed by its owners, and names this broker;
  (4) data sets, bundle and sizes are those that the order names, of a trainer the data sets of its slot; the model is
      the one that the quote was made for;
  (5) a query enclave's placement is signed by the broker and repeats this launch.

A grant, data or bundle that the order does not name is thereby refused, whoever sent it.
"""

import time
from dataclasses import dataclass
from typing import Protocol

from common.broker_channel import Ask, BrokerChannel
from common.broker_statements import complete_job_parts, draw_budget_parts, keep_checkpoint_parts
from common.crypto.keys import KeyRing
from common.crypto.labels import LAUNCH_STATEMENT
from common.crypto.signing import SigningKey
from common.crypto.wrapping import WrappingKey
from common.errors import AppraisalError, AuthenticityError
from common.identifiers import Digest, JobId, ModelId, RoleName
from common.key_binding import key_grant_info
from common.leakage import AnswerSize
from common.messages.admission import Admission, Admit, Challenge, IssueChallenge, Leased, RenewLease
from common.messages.base import Count
from common.messages.checkpoint import Checkpoint
from common.messages.evidence import Evidence
from common.messages.launch_binding import LaunchBinding
from common.messages.launch_terms import LaunchTerms
from common.messages.objects import ModelManifest
from common.messages.order import TrainingOrder
from common.messages.placement import Placement
from common.messages.signed import Signed, open_signed

__all__ = ["Ask", "BrokerChannel", "EvidenceSource", "Launch", "attest_and_fetch", "renew_lease"]

QUERY, TRAINER = "query", "trainer"


class EvidenceSource(Protocol):
    """As much of an `EnclaveRuntime` as attesting needs."""

    def evidence(self, report_data: bytes) -> Evidence:
        """A fresh quote over these 64 bytes."""


@dataclass(frozen=True)
class Launch:
    """An admitted launch: what it may do, with which keys. `order` is the opened order of `terms`.

    `asked_at` is the monotonic time before it asked for them.
    """

    binding: LaunchBinding
    evidence: Evidence
    keys: KeyRing
    terms: LaunchTerms
    order: TrainingOrder
    signing_key: SigningKey
    wrapping_key: WrappingKey
    placement: Signed | None
    asked_at: float

    @property
    def attempt(self) -> Count:
        """Which launch of its slot this is; a later one fences it."""
        return self.terms.attempt

    @property
    def report_data(self) -> bytes:
        """The 64 bytes that the quote binds."""
        return self.binding.report_data()

    def state_completion(self, outcome: str, manifest: Digest | None) -> bytes:
        """The statement of a CompleteJob request (parameter server)."""
        return self.signing_key.sign(LAUNCH_STATEMENT, *complete_job_parts(self.terms.job_id, outcome, manifest))

    def state_checkpoint(self, checkpoint: Checkpoint) -> bytes:
        """The statement of a KeepCheckpoint request (parameter server)."""
        return self.signing_key.sign(LAUNCH_STATEMENT, *keep_checkpoint_parts(self.terms.job_id, checkpoint))

    def state_draw(self, model_id: ModelId, grant: Digest, answers: int, size: AnswerSize, nonce: bytes) -> bytes:
        """The statement of a DrawBudget request with this nonce (query enclave)."""
        return self.signing_key.sign(LAUNCH_STATEMENT, *draw_budget_parts(model_id, grant, answers, size, nonce))


def attest_and_fetch(
    runtime: EvidenceSource, channel: BrokerChannel, role: RoleName, job_id: JobId, slot: int
) -> Launch:
    """Attest as `role` for `slot` of the job; for role `query` `job_id` is the job that made the model, `slot` 0.

    Raises the broker's refusal, `AuthenticityError` (1, 3, 5), `AppraisalError` (2, 3, 4) or `UnavailableError`.
    """
    signing_key, wrapping_key, asked_at = SigningKey.generate(), WrappingKey.generate(), time.monotonic()
    challenge = channel.ask(IssueChallenge(role=role, job_id=job_id, slot=slot), Challenge)
    binding = LaunchBinding(
        nonce=challenge.nonce,
        broker=challenge.broker,
        role=role,
        subject=challenge.subject,
        slot=slot,
        attempt=challenge.attempt,
        wrapping_public=wrapping_key.public,
        signing_public=signing_key.party,
    )
    evidence = runtime.evidence(binding.report_data())
    admission = channel.ask(Admit(challenge_id=challenge.challenge_id, binding=binding, evidence=evidence), Admission)
    info = key_grant_info(binding.report_data())
    keys = wrapping_key.open_ring(admission.keys, info)  # (1)
    terms = LaunchTerms.decode(wrapping_key.open(admission.terms, info))
    seen = (terms.job_id, terms.role, terms.slot, terms.attempt)
    _require(seen, (job_id, role, slot, challenge.attempt), "appraisal.binding")  # (2)
    order = _require_order(terms, binding, channel)
    if role == QUERY:
        _require_placement(admission, binding, channel)  # (5)
    return Launch(binding, evidence, keys, terms, order, signing_key, wrapping_key, admission.placement, asked_at)


def renew_lease(runtime: EvidenceSource, channel: BrokerChannel, launch: Launch) -> int:
    """Show fresh evidence of a launch that was admitted; how many seconds it may use its keys from before this call.

    Raises the broker's refusal, or `UnavailableError`.
    """
    old = launch.binding
    ask = IssueChallenge(role=old.role, job_id=launch.terms.job_id, slot=old.slot, renews=launch.attempt)
    challenge = channel.ask(ask, Challenge)
    seen = (challenge.broker, challenge.subject, challenge.attempt)
    _require(seen, (old.broker, old.subject, old.attempt), "appraisal.binding")
    binding = old.model_copy(update={"nonce": challenge.nonce})
    evidence = runtime.evidence(binding.report_data())
    renewal = RenewLease(challenge_id=challenge.challenge_id, binding=binding, evidence=evidence)
    return channel.ask(renewal, Leased).seconds


def _require_order(terms: LaunchTerms, binding: LaunchBinding, channel: BrokerChannel) -> TrainingOrder:
    """Checks (3) and (4)."""
    unverified = TrainingOrder.decode(terms.order.payload)
    order = open_signed(terms.order, TrainingOrder, unverified.owners, threshold=len(set(unverified.owners)))
    _require((JobId.of(terms.order.digest), order.broker), (terms.job_id, channel.broker), "appraisal.binding")  # (3)
    named = (tuple(data.dataset_id for data in terms.datasets), terms.bundle_id, terms.bundle.state_class)
    datasets = order.shard_of(binding.slot) if binding.role == TRAINER else order.datasets
    _require(named, (datasets, order.bundle, order.schedule.state_class), "appraisal.binding")  # (4)
    foreign = {data.manifest.owner for data in terms.datasets if not set(data.owner_keys) & set(order.owners)}
    _require(foreign, set(), "appraisal.binding")
    if binding.role != QUERY:
        _require(terms.order.digest, binding.subject, "appraisal.binding")
        return order
    if terms.model_manifest is None or terms.model_manifest.digest != binding.subject:
        raise AppraisalError("appraisal.placement", expected=binding.subject)
    manifest = ModelManifest.decode(terms.model_manifest.payload)
    _require((manifest.job_id, manifest.order), (terms.job_id, terms.order.digest), "appraisal.placement")
    return order


def _require_placement(admission: Admission, binding: LaunchBinding, channel: BrokerChannel) -> None:
    if admission.placement is None or channel.broker is None:
        raise AuthenticityError("authenticity.broker_reply", expected="a placement")
    placement = open_signed(admission.placement, Placement, [channel.broker])
    seen = (placement.launch, placement.report_data, placement.manifest)
    _require(seen, (binding.signing_public, binding.report_data(), binding.subject), "appraisal.placement")


def _require(seen: object, expected: object, code: str) -> None:
    if seen != expected:
        raise AppraisalError(code, expected=expected, seen=seen)
