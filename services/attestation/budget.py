"""Answers under grants, handed out in blocks (side: enclave).

A block is spent here before the query enclave has it: a crash on either side wastes answers and never regains them.
In this order, each raises:

  (1) the model exists, and the asking launch is one that is placed for it and signed this very request;
  (2) the grant is signed by every owner of the model's data, is for this model, or for a name whose newest record
      names it (`serving`), for this broker and the launch's release, and is not over;
  (3) neither grant, bundle, the order's or the launch's release, nor the identity of provider or user is revoked, and
      every party's newest terms are valid;
  (4) every policy and the provider's terms admit the user, who is not the provider unless every owner allows that;
  (5) answers are left: the least of what the grant, each data set's policy and the bundle's terms still allow;
  (6) bits are left: each answer is charged to each data set for as much as it can say (`ledger`).

A block of no answers charges nothing: it is the word that an enclave needs to go on with what it holds when a lease is
over since the last one (services/query_enclave/grants). (5) and (6) then say that no more was charged than is allowed
now: so answers that were used up by being drawn can be given, and those of a total that was lowered since can't.

Whose terms refuse is told why, as is the user where it is the grant that refuses (`entitlement`).

What the answers of a block tell is the least that grant, policies and terms allow (`detail`, `bounds`), and so is how
often they are given; the query enclave keeps to it (services/query_enclave/telling and rates).
`answers_total` of a policy counts over all models of the data set, that of bundle terms over all models of the bundle.
"""

from functools import partial

from common.broker_statements import draw_budget_parts
from common.crypto.labels import LAUNCH_STATEMENT
from common.crypto.signing import verify_signature
from common.errors import FreshnessError, NotFoundError, PolicyError
from common.identifiers import Digest, GrantId, ModelId
from common.leakage import AnswerSize, answer_bits
from common.messages.answer_bounds import AnswerBounds
from common.messages.bounds import tightest
from common.messages.budget import BudgetBlock, DrawBudget
from common.messages.policy import DataPolicy, QueryGrant
from common.policy_rules import (
    require_grant_names,
    require_owner_admits,
    require_provider_admits,
    require_terms_unexpired,
    require_unexpired,
    weakest_detail,
)
from services.attestation.context import BrokerContext, require_keys
from services.attestation.decision_log import Decision
from services.attestation.entitlement import in_the_clear, judge_each
from services.attestation.ledger import ANSWERS, answers_in_bits, charged_answers, tally_of
from services.attestation.log_subjects import of_draw
from services.attestation.members import QUERY
from services.attestation.records import (
    BundleRecord,
    DatasetRecord,
    JobRecord,
    LaunchRecord,
    ModelRecord,
    RevokedGrantRecord,
    revoked_grant_key,
)
from services.attestation.release_choice import release_of_launch, require_kept_for
from services.attestation.serving import require_served


def draw_budget(broker: BrokerContext, body: DrawBudget, nonce: bytes, at: int) -> BudgetBlock:
    """Checks (1) to (6), then at most `answers` of what is left. Raises the refusal of the first that fails."""
    job = _job_of_model(broker, body.model_id)
    release = release_of_launch(job, require_placed(job, body, nonce, at))  # (1)
    grant = broker.parties.open_word(body.grant, QueryGrant, job.order.owners)  # (2)
    with in_the_clear(of_release=False):
        _require_for_model(broker, job, grant, body.model_id, release, at)
    datasets, bundle = broker.datasets_of(job), broker.bundle(job.order.bundle)
    grant_id = GrantId.of(body.grant.digest)
    with in_the_clear(of_release=False):
        _require_not_ended(broker, job, grant_id)  # (3)
        broker.parties.require_in_force(grant.user)
    broker.parties.require_held(bundle.publication.provider)
    broker.require_unrevoked([bundle])
    with in_the_clear(of_release=True):
        for one in {job.order.release, release}:
            broker.require_in_force(one)
    _require_valid_terms(broker, job, bundle, grant, at)  # (3), (4)
    needed = min(1, body.answers)
    left = _left(broker, datasets, bundle, grant, grant_id, needed)  # (5)
    detail = weakest_detail(grant.detail, bundle.terms.detail, *(data.policy.detail for data in datasets))
    every = (grant.answer_bounds, bundle.terms.answer_bounds, *(data.policy.answer_bounds for data in datasets))
    bounds = tightest(AnswerBounds, every)
    each = answer_bits(AnswerSize(body.classes, body.row_bytes), detail, bounds, job.order.answer_timing)
    total = min(*left.values(), *answers_in_bits(broker, datasets, each, needed).values())  # (6)
    block = min(body.answers, total)
    tallies = [broker.state.tally_after(name, block) for name in left]
    tallies += charged_answers(broker, datasets, block * each)
    subjects = of_draw(broker, job, body, grant, answers=block, release=release)
    broker.state.commit(Decision("draw-budget", subjects), at, *tallies)
    return BudgetBlock(grant_id=grant_id, answers=block, remaining=total - block, detail=detail, bounds=bounds)


def _job_of_model(broker: BrokerContext, model_id: ModelId) -> JobRecord:
    model = broker.state.find(ModelRecord, model_id)
    if model is None:
        raise NotFoundError("not_found.model", seen=model_id)
    job = broker.job(model.job_id)
    require_keys(job)
    return job


def require_placed(job: JobRecord, body: DrawBudget, nonce: bytes, at: int) -> LaunchRecord:
    """Check (1): the asking launch, which signed this very request, and is placed at this time."""
    size = AnswerSize(body.classes, body.row_bytes)
    parts = draw_budget_parts(body.model_id, body.grant.digest, body.answers, size, nonce)
    verify_signature(body.launch, body.statement, LAUNCH_STATEMENT, *parts)
    for one in job.launches:
        if (one.role, one.signing_public) == (QUERY, body.launch) and one.not_after >= at:
            return one
    raise FreshnessError("freshness.placement", expected="a launch that is placed now", seen=body.launch)


def _require_for_model(
    broker: BrokerContext, job: JobRecord, grant: QueryGrant, model_id: ModelId, release: Digest, at: int
) -> None:
    if job.manifest_document is None:
        raise PolicyError("policy.grant", expected="a model that was sealed", seen=model_id)
    if grant.served is not None:
        require_served(broker, grant.served, model_id)
    elif grant.model_id != model_id:
        raise PolicyError("policy.grant", expected=model_id, seen=grant.model_id)
    require_grant_names(
        grant, manifest=job.manifest_document.digest, broker=broker.signing_key.party, release=release, at=at
    )


def _require_not_ended(broker: BrokerContext, job: JobRecord, grant_id: GrantId) -> None:
    """No owner has ended the grant, by whichever key it had then."""
    owners = [name for owner in job.order.owners for name in broker.parties.names(owner)]
    if any(broker.state.find(RevokedGrantRecord, revoked_grant_key(grant_id, one)) for one in owners):
        raise PolicyError("policy.revoked", seen=grant_id)


def _require_valid_terms(
    broker: BrokerContext, job: JobRecord, bundle: BundleRecord, grant: QueryGrant, at: int
) -> None:
    """The grant's release is the launch's: (2)."""
    terms, names = bundle.terms, broker.parties.names

    def judge_owner(policy: DataPolicy) -> None:
        require_unexpired(policy, at)
        require_kept_for(policy, job, grant.release)
        require_owner_admits(grant, policy, terms.provider, names)

    def judge_provider() -> None:
        require_terms_unexpired(terms, at)
        require_kept_for(terms, job, grant.release)
        require_provider_admits(grant, terms, names)

    owned = (data.policy for data in broker.datasets_of(job))
    judge_each([*((policy, partial(judge_owner, policy)) for policy in owned), (terms, judge_provider)])


def _left(
    broker: BrokerContext,
    datasets: tuple[DatasetRecord, ...],
    bundle: BundleRecord,
    grant: QueryGrant,
    grant_id: GrantId,
    needed: int,
) -> dict[str, int]:
    """What is left by each counter that a block is charged to; less than 0 where a total was lowered since.

    Raises `PolicyError` (policy.budget), where one has less than `needed`, for those to read whose total it is.
    """
    left = dict[str, int]()

    def require(name: str, total: int) -> None:
        spent = broker.state.tally(name)
        left[name] = total - spent
        if left[name] < needed:
            raise PolicyError("policy.budget", expected=f"at most {total} answers", seen=f"{spent} drawn")

    with in_the_clear(of_release=False):
        require(tally_of(ANSWERS, grant_id), grant.answers)
    judge_each(
        [
            (one.policy, partial(require, tally_of(ANSWERS, one.dataset_id), one.policy.answers_total))
            for one in datasets
        ]
        + [(bundle.terms, partial(require, tally_of(ANSWERS, bundle.bundle_id), bundle.terms.answers_total))]
    )
    return left
