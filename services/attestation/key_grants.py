"""What an admitted launch gets: keys and terms, wrapped to the key that its quote bound (side: enclave).

Called by `admission` alone, after its checks.

    trainer             job, seed, bundle, data/ID of each data set of its slot
    parameter server    job, seed, bundle, model
    query enclave       bundle, model; and its placement, signed for the users who verify it
"""

from common.crypto.keys import KeyRing
from common.crypto.wrapping import wrap, wrap_ring
from common.dcap import QuoteClaims
from common.identifiers import CodeMeasurement, PartyKey, RoleName
from common.key_binding import key_grant_info
from common.messages.admission import Admission
from common.messages.bounds import tightest
from common.messages.evidence import TrustLevel
from common.messages.launch_binding import LaunchBinding
from common.messages.launch_terms import DatasetTerms, LaunchTerms
from common.messages.placement import Placement
from common.messages.policy import DataPolicy
from common.messages.reference_values import SgxSignerReferenceValue
from common.messages.sandbox_bounds import SandboxBounds
from common.messages.signed import Signed, sign
from common.policy_rules import allowed_columns, weakest_report
from services.attestation.challenges import OpenChallenge
from services.attestation.context import BrokerContext
from services.attestation.members import PARAMSERVER, QUERY, TRAINER
from services.attestation.records import DatasetRecord, JobRecord, LaunchRecord
from services.attestation.release_choice import release_of_launch


def grant_keys(
    broker: BrokerContext,
    job: JobRecord,
    challenge: OpenChallenge,
    binding: LaunchBinding,
    launch: LaunchRecord,
    claims: QuoteClaims,
) -> Admission:
    """Keys and terms under the info that repeats all 64 bytes of report data; a placement for a query enclave."""
    info = key_grant_info(binding.report_data())
    terms = _terms(broker, job, challenge, binding.signing_public)
    return Admission(
        keys=wrap_ring(_keys(broker, job, binding), binding.wrapping_public, info),
        terms=wrap(terms.encode(), binding.wrapping_public, info),
        placement=_placement(broker, job, binding, launch, claims) if binding.role == QUERY else None,
    )


def _keys(broker: BrokerContext, job: JobRecord, binding: LaunchBinding) -> KeyRing:
    of_job, role = broker.keys_of(job), binding.role
    keys = {"bundle": broker.keys_of(broker.bundle(job.order.bundle))["bundle"]}
    if role != TRAINER:
        keys["model"] = of_job["model"]
    if role != QUERY:
        keys |= {"job": of_job["job"], "seed": of_job["seed"]}
    if role == TRAINER:
        own = _data_of(broker, job, role, binding.slot)
        keys |= {f"data/{data.dataset_id}": broker.keys_of(data)["data"] for data, _ in own}
    return KeyRing(keys)


def _data_of(
    broker: BrokerContext, job: JobRecord, role: RoleName, slot: int
) -> list[tuple[DatasetRecord, DataPolicy]]:
    """What a launch works with, each with the policy under which the order was accepted: a trainer with its slot's."""
    own = job.order.shard_of(slot) if role == TRAINER else job.order.datasets
    accepted = zip(broker.datasets_of(job), job.accepted_policies, strict=True)
    return [(data, policy) for data, policy in accepted if data.dataset_id in own]


def _terms(broker: BrokerContext, job: JobRecord, challenge: OpenChallenge, launch: PartyKey) -> LaunchTerms:
    bundle = broker.bundle(job.order.bundle)
    return LaunchTerms(
        job_id=job.job_id,
        role=challenge.role,
        slot=challenge.slot,
        attempt=challenge.attempt,
        order=job.order_document,
        outer_learning_rate=job.outer_learning_rate,
        outer_momentum=job.outer_momentum,
        bundle_id=job.order.bundle,
        bundle=bundle.publication,
        provider=broker.parties.holder(bundle.publication.provider),
        provider_report_key=broker.parties.report_key(bundle.publication.provider, bundle.terms.report_key),
        datasets=tuple(
            DatasetTerms(
                dataset_id=data.dataset_id,
                manifest=data.manifest,
                report_key=broker.parties.report_key(data.manifest.owner, data.policy.report_key),
                successors=broker.parties.successors(data.manifest.owner),
                columns=allowed_columns((accepted, data.policy)),
                refusal_report=weakest_report(accepted.refusal_report, data.policy.refusal_report),
                sandbox_bounds=tightest(SandboxBounds, (policy.sandbox_bounds for policy in (accepted, data.policy))),
            )
            for data, accepted in _data_of(broker, job, challenge.role, challenge.slot)
        ),
        trust_level=job.trust_level.value,
        mr_enclaves={
            str(role): CodeMeasurement(reference.code)
            for role, platforms in broker.release_of(job).measurements.items()
            for level, reference in platforms.items()
            if level is job.trust_level and not isinstance(reference, SgxSignerReferenceValue)
        },
        model_manifest=job.manifest_document,
        checkpoint=job.checkpoint if challenge.role == PARAMSERVER else None,
        lease_seconds=broker.leases.grant(launch, broker.state.log.size).seconds,
    )


def _placement(
    broker: BrokerContext, job: JobRecord, binding: LaunchBinding, launch: LaunchRecord, claims: QuoteClaims
) -> Signed:
    level: TrustLevel = min(job.trust_level, claims.trust_level, key=lambda one: one.rank)
    placement = Placement(
        model_id=job.model_id,
        manifest=binding.subject,
        launch=binding.signing_public,
        report_data=binding.report_data(),
        grant_authorities=tuple(sorted(broker.parties.holders(job.order.owners))),
        release=release_of_launch(job, launch),
        trust_level=level.value,
        witnessed=broker.anchor.witnessed,
        not_after=launch.not_after,
    )
    return sign(placement, broker.signing_key)
