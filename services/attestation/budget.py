"""Answers under grants, handed out in blocks (side: enclave).

A block is spent here before the query enclave has it: a crash on either side wastes answers and never regains them.
In this order, each raises:

  (1) the model exists, and the asking launch is one that is placed for it and signed this very request;
  (2) the grant is signed by every owner of the model's data, is for this model, broker and release, and is not over;
  (3) neither grant, bundle nor release is revoked, and every party's newest terms are valid;
  (4) the provider's terms admit the user, who is not the provider unless every owner allows that;
  (5) answers are left: the least of what the grant, each data set's policy and the bundle's terms still allow.

`answers_total` of a policy counts over all models of the data set, that of bundle terms over all users of one model.
"""

from common.broker_statements import draw_budget_parts
from common.crypto.labels import LAUNCH_STATEMENT
from common.crypto.signing import verify_signature
from common.errors import FreshnessError, NotFoundError, PolicyError
from common.identifiers import GrantId, ModelId
from common.messages.attestation import BudgetBlock, DrawBudget
from common.messages.policy import QueryGrant
from common.messages.signed import open_signed
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.entitlement import entitled
from services.attestation.members import QUERY
from services.attestation.policy import (
    require_grant_names,
    require_release_kept,
    require_terms_unexpired,
    require_unexpired,
    require_user_allowed,
)
from services.attestation.records import (
    BundleRecord,
    DatasetRecord,
    JobRecord,
    ModelRecord,
    RevokedGrantRecord,
    revoked_grant_key,
)


def draw_budget(broker: BrokerContext, body: DrawBudget, nonce: bytes, at: int) -> BudgetBlock:
    """Checks (1) to (5), then at most `answers` of what is left. Raises the refusal of the first that fails."""
    job = _job_of_model(broker, body.model_id)
    _require_placed(job, body, nonce, at)  # (1)
    grant = open_signed(body.grant, QueryGrant, job.order.owners, threshold=len(set(job.order.owners)))  # (2)
    _require_for_model(broker, job, grant, body.model_id, at)
    datasets, bundle = broker.datasets_of(job), broker.bundle(job.order.bundle)
    grant_id = GrantId.of(body.grant.digest)
    if any(broker.state.find(RevokedGrantRecord, revoked_grant_key(grant_id, one)) for one in job.order.owners):  # (3)
        raise PolicyError("policy.revoked", seen=grant_id)
    broker.require_unrevoked([bundle])
    broker.require_in_force(job.order.release)
    _require_valid_terms(datasets, bundle, grant, at)  # (3), (4)
    left = _left(broker, job, grant, grant_id)
    block = min(body.answers, *left.values())
    if block < 1:  # (5)
        raise PolicyError("policy.budget", expected="answers left", seen=0)
    tallies = (broker.state.tally_after(name, block) for name in left)
    subjects = (body.model_id.encode(), body.grant.digest.raw(), block.to_bytes(8, "big"))
    broker.state.commit(Decision("budget-drawn", subjects), at, *tallies)
    return BudgetBlock(grant_id=grant_id, answers=block, remaining=min(left.values()) - block)


def _job_of_model(broker: BrokerContext, model_id: ModelId) -> JobRecord:
    model = broker.state.find(ModelRecord, model_id)
    if model is None:
        raise NotFoundError("not_found.model", seen=model_id)
    job = broker.job(model.job_id)
    if job.keys is None:
        raise PolicyError("policy.revoked", seen=model_id)
    return job


def _require_placed(job: JobRecord, body: DrawBudget, nonce: bytes, at: int) -> None:
    parts = draw_budget_parts(body.model_id, body.grant.digest, body.answers, nonce)
    verify_signature(body.launch, body.statement, LAUNCH_STATEMENT, *parts)
    placed = {one.signing_public: one.not_after for one in job.launches if one.role == QUERY}
    if placed.get(body.launch, -1) < at:
        raise FreshnessError("freshness.placement", expected="a launch that is placed now", seen=body.launch)


def _require_for_model(broker: BrokerContext, job: JobRecord, grant: QueryGrant, model_id: ModelId, at: int) -> None:
    if job.manifest_document is None or grant.model_id != model_id:
        raise PolicyError("policy.grant", expected=model_id, seen=grant.model_id)
    require_grant_names(
        grant, manifest=job.manifest_document.digest, broker=broker.signing_key.party, release=job.order.release, at=at
    )


def _require_valid_terms(datasets: tuple[DatasetRecord, ...], bundle: BundleRecord, grant: QueryGrant, at: int) -> None:
    policies = [data.policy for data in datasets]
    for policy in policies:
        with entitled(policy):
            require_unexpired(policy, at)
            require_release_kept(policy, grant.release)
    with entitled(bundle.terms):
        require_terms_unexpired(bundle.terms, at)
        require_user_allowed(grant, policies, bundle.terms)


def _left(broker: BrokerContext, job: JobRecord, grant: QueryGrant, grant_id: GrantId) -> dict[str, int]:
    """What is left by each counter that a block is charged to."""
    totals = {f"answers {data.dataset_id}": data.policy.answers_total for data in broker.datasets_of(job)}
    totals |= {
        f"answers {grant.model_id}": broker.bundle(job.order.bundle).terms.answers_total,
        f"answers {grant_id}": grant.answers,
    }
    return {name: max(0, total - broker.state.tally(name)) for name, total in totals.items()}
