"""Whom a refused request concerns, if that can be known: what its entry in the decision log says (side: enclave).

A stranger's request concerns nobody, whatever it names. So signatures are verified here once more, on their own, and
None is the answer unless

    order        every owner of its registered data sets signed it, and its bundle is registered
    policy       the owner of the registered data set, or the provider of the bundle, signed the new version
    revocation   a party signed it that owns a data set or bundle here; so of a retirement, or a name's record
    launch       its challenge was issued here for an accepted job, to be admitted, to renew its lease or for a token;
                 or such a challenge is refused for a slot of the job
    token        it is asked for of a launch that an accepted job has
    completion   the job's parameter server signed it
    draw         a launch that is placed for the model signed it

    registration the owner (provider) signed the manifest (publication), and its identity was known here before

A party is told what was tried with a key that it no longer has, too: such an attempt concerns who holds its identity.
Strangers' registrations are nobody's.
"""

from common.broker_statements import complete_job_parts, keep_checkpoint_parts
from common.crypto.labels import LAUNCH_STATEMENT
from common.crypto.signing import verify_signature
from common.errors import NotFoundError, Refusal
from common.identifiers import PartyKey
from common.key_binding import policy_info
from common.messages.admission import Admit, IssueChallenge, RenewLease
from common.messages.base import Message
from common.messages.broker_exchange import RequestBody
from common.messages.budget import DrawBudget
from common.messages.checkpoint import KeepCheckpoint
from common.messages.decision_log import DecisionName, LogSubjects
from common.messages.jobs import AcceptOrder, CompleteJob
from common.messages.objects import BundlePublication, DatasetManifest
from common.messages.order import TrainingOrder
from common.messages.policy import BundleRetirement, BundleTerms, DataPolicy, QueryGrant, Revocation
from common.messages.registration import RegisterBundle, RegisterDataset, RetireBundle, UpdatePolicy, UpdateTerms
from common.messages.revocation import Revoke
from common.messages.serving import ServingRecord, SetServing
from common.messages.signed import Signed, open_signed
from common.messages.tokens import AppraiseEvidence, IssueToken
from services.attestation.budget import require_placed
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.log_subjects import of_bundle, of_dataset, of_draw, of_job, of_launch, of_order, of_revocation
from services.attestation.members import PARAMSERVER, live_launch, require_slot
from services.attestation.records import BundleRecord, DatasetRecord, JobRecord, ModelRecord
from services.attestation.serving import subjects_of


class Attribution:
    """Of one request; made before it is judged, because that spends the challenge which names its job."""

    def __init__(self, broker: BrokerContext, body: RequestBody, nonce: bytes) -> None:
        self._broker, self._body, self._nonce = broker, body, nonce
        named = body.challenge_id if isinstance(body, Admit | RenewLease | AppraiseEvidence) else None
        self._challenge = None if named is None else broker.challenges.find(named)

    def decision(self, code: str) -> Decision | None:
        """The refusal as an entry; None if it is nobody's."""
        try:
            return self._attributed(code)
        except Refusal:
            return None

    def _attributed(self, code: str) -> Decision | None:
        broker, body = self._broker, self._body
        match body:
            case AcceptOrder():
                return Decision("accept-order", _order(broker, body), code)
            case UpdatePolicy() | UpdateTerms():
                return Decision("update-policy", _version(broker, body), code)
            case Revoke() | RetireBundle() | SetServing():
                return _word_of_party(broker, body, code)
            case IssueChallenge():
                job = broker.job(body.job_id)
                require_slot(job, body.role, body.slot)
                name: DecisionName = "admit-launch" if body.renews is None else "renew-lease"
                return Decision(name, of_job(broker, job, role=body.role, slot=body.slot, attempt=body.renews), code)
            case Admit() | RenewLease() | AppraiseEvidence():
                return self._launch(body, code)
            case IssueToken():
                return Decision("issue-token", _token(broker, body), code)
            case KeepCheckpoint() | CompleteJob():
                return self._word_of_server(body, code)
            case DrawBudget():
                return Decision("draw-budget", _draw(broker, body, self._nonce), code)
            case RegisterDataset() | RegisterBundle():
                return Decision(body.type, _registration(broker, body), code)
            case _:
                return None

    def _word_of_server(self, body: KeepCheckpoint | CompleteJob, code: str) -> Decision:
        if isinstance(body, KeepCheckpoint):
            return Decision("keep-checkpoint", _checkpoint(self._broker, body), code)
        return Decision("complete-job", _completion(self._broker, body), code)

    def _launch(self, body: Admit | RenewLease | AppraiseEvidence, code: str) -> Decision | None:
        if self._challenge is None:
            return None
        job = self._broker.job(self._challenge.job_id)
        name: DecisionName = "admit-launch" if isinstance(body, Admit) else body.type
        return Decision(name, of_launch(self._broker, job, self._challenge, body), code)


def _word_of_party(broker: BrokerContext, body: Revoke | RetireBundle | SetServing, code: str) -> Decision:
    match body:
        case Revoke():
            return Decision("revoke", _revocation(broker, body), code)
        case RetireBundle():
            return Decision("retire-bundle", _retirement(broker, body), code)
        case SetServing():
            return Decision("set-serving", _serving(broker, body), code)


def _order(broker: BrokerContext, body: AcceptOrder) -> LogSubjects:
    unverified = TrainingOrder.decode(body.order.payload)
    datasets = [broker.dataset(one) for one in dict.fromkeys(unverified.datasets)]
    order = broker.parties.open_attempt(body.order, TrainingOrder, {data.manifest.owner for data in datasets})
    return of_order(broker, body.order, datasets, broker.bundle(order.bundle))


def _registration(broker: BrokerContext, body: RegisterDataset | RegisterBundle) -> LogSubjects:
    kind: type[Message] = DatasetManifest if isinstance(body, RegisterDataset) else BundlePublication
    if isinstance(body, RegisterDataset):
        document = body.manifest
        party = DatasetManifest.decode(document.payload).owner
    else:
        document = body.publication
        party = BundlePublication.decode(document.payload).provider
    if broker.parties.find(party) is None:
        raise NotFoundError("not_found.identity", expected="an identity that is known here", seen=party)
    open_signed(document, kind, [party])
    holder = broker.parties.holder(party)
    return LogSubjects(parties=(holder,), signers=(holder,), document=document.digest)


def _version(broker: BrokerContext, body: UpdatePolicy | UpdateTerms) -> LogSubjects:
    return _policy(broker, body) if isinstance(body, UpdatePolicy) else _terms(broker, body)


def _policy(broker: BrokerContext, body: UpdatePolicy) -> LogSubjects:
    data = broker.dataset(body.dataset_id)
    owner = data.manifest.owner
    document = Signed.decode(broker.wrapping_key.open(body.policy, policy_info(owner, body.digest, broker.broker)))
    broker.parties.open_attempt(document, DataPolicy, [owner])
    return of_dataset(broker, data, document=document.digest)


def _terms(broker: BrokerContext, body: UpdateTerms) -> LogSubjects:
    bundle = broker.bundle(body.bundle_id)
    provider = bundle.publication.provider
    document = Signed.decode(broker.wrapping_key.open(body.terms, policy_info(provider, body.digest, broker.broker)))
    broker.parties.open_attempt(document, BundleTerms, [provider])
    return of_bundle(broker, bundle, document=document.digest)


def _revocation(broker: BrokerContext, body: Revoke) -> LogSubjects:
    party = Revocation.decode(body.revocation.payload).party
    revocation = open_signed(body.revocation, Revocation, [party])
    _require_at_home(broker, party)
    # if the thing is another's, that party may read whose attempt this was; the signer learns nothing of the thing
    return of_revocation(broker, revocation, body.revocation.digest)


def _retirement(broker: BrokerContext, body: RetireBundle) -> LogSubjects:
    party = BundleRetirement.decode(body.retirement.payload).party
    retirement = open_signed(body.retirement, BundleRetirement, [party])
    _require_at_home(broker, party)
    bundle = broker.bundle(retirement.bundle)  # as of a revocation: another's provider may read whose attempt this was
    return of_bundle(broker, bundle, document=body.retirement.digest, signers=(party,))


def _serving(broker: BrokerContext, body: SetServing) -> LogSubjects:
    owner = ServingRecord.decode(body.record.payload).served.owner
    broker.parties.open_attempt(body.record, ServingRecord, [owner])
    _require_at_home(broker, owner)
    return subjects_of(broker, body.record).model_copy(update={"parties": (broker.parties.holder(owner),)})


def _require_at_home(broker: BrokerContext, party: PartyKey) -> None:
    owners = {data.manifest.owner for data in broker.state.all(DatasetRecord)}
    providers = {bundle.publication.provider for bundle in broker.state.all(BundleRecord)}
    if not broker.parties.names(party) & (owners | providers):
        raise NotFoundError("not_found.identity", expected="a party with a data set or bundle", seen=party)


def _token(broker: BrokerContext, body: IssueToken) -> LogSubjects:
    job = broker.job(body.job_id)
    for one in job.launches:
        if one.signing_public == body.launch:
            return of_job(broker, job, role=one.role, slot=one.slot, attempt=one.attempt, launch=body.launch)
    raise NotFoundError("not_found.launch", seen=body.launch)


def _checkpoint(broker: BrokerContext, body: KeepCheckpoint) -> LogSubjects:
    job = broker.job(body.job_id)
    server = live_launch(job, PARAMSERVER, 0)
    if server is None:
        raise NotFoundError("not_found.role", expected="an admitted parameter server")
    parts = keep_checkpoint_parts(body.job_id, body.checkpoint)
    verify_signature(server.signing_public, body.statement, LAUNCH_STATEMENT, *parts)
    return of_job(broker, job, launch=server.signing_public, document=body.checkpoint.object.root)


def _completion(broker: BrokerContext, body: CompleteJob) -> LogSubjects:
    job = broker.job(body.job_id)
    server = live_launch(job, PARAMSERVER, 0)
    if server is None:
        raise NotFoundError("not_found.role", expected="an admitted parameter server")
    digest = None if body.manifest is None else body.manifest.digest
    parts = complete_job_parts(body.job_id, body.outcome, digest)
    verify_signature(server.signing_public, body.statement, LAUNCH_STATEMENT, *parts)
    return of_job(broker, job, launch=server.signing_public, document=digest, job_outcome=body.outcome)


def _draw(broker: BrokerContext, body: DrawBudget, nonce: bytes) -> LogSubjects:
    model = broker.state.find(ModelRecord, body.model_id)
    job = None if model is None else broker.state.find(JobRecord, model.job_id)
    if job is None:
        raise NotFoundError("not_found.model", seen=body.model_id)
    require_placed(job, body, nonce, at=0)  # also one whose placement is over
    try:
        grant = broker.parties.open_attempt(body.grant, QueryGrant, job.order.owners)
    except Refusal:
        grant = None
    return of_draw(broker, job, body, grant)
