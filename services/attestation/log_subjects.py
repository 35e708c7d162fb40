"""What an entry of the decision log says of data sets, bundles, orders, jobs and launches (side: enclave).

Only what travels through the host in the clear: identifiers, keys and digests. Of a sealed policy that is its digest.
Parties are named by the keys that they have now, so that an identity's successor reads on and a thief does not.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from common.crypto.digests import sha256
from common.identifiers import BundleId, DatasetId, Digest, GrantId, JobId, PartyKey
from common.messages.admission import Admit, RenewLease
from common.messages.budget import DrawBudget
from common.messages.decision_log import LogSubjects
from common.messages.order import TrainingOrder
from common.messages.policy import QueryGrant, Revocation
from common.messages.signed import Signed, read_document
from common.messages.tokens import AppraiseEvidence
from services.attestation.challenges import OpenChallenge
from services.attestation.context import BrokerContext
from services.attestation.members import QUERY
from services.attestation.records import BundleRecord, DatasetRecord, JobRecord


def of_dataset(broker: BrokerContext, data: DatasetRecord, **more: Any) -> LogSubjects:
    """A data set under its newest policy, which its owner signed."""
    owner, policy = broker.parties.holder(data.manifest.owner), data.policy_document.digest
    known = LogSubjects(parties=(owner,), signers=(owner,), datasets=(data.dataset_id,), policies=(policy,))
    return known.model_copy(update=more)


def of_bundle(broker: BrokerContext, bundle: BundleRecord, **more: Any) -> LogSubjects:
    """A bundle under its provider's terms."""
    provider, terms = broker.parties.holder(bundle.publication.provider), bundle.terms_document.digest
    known = LogSubjects(parties=(provider,), signers=(provider,), bundle=bundle.bundle_id, terms=terms)
    return known.model_copy(update=more)


def of_order(
    broker: BrokerContext, document: Signed, datasets: Sequence[DatasetRecord], bundle: BundleRecord, **more: Any
) -> LogSubjects:
    """An order whose signatures were checked, and the terms under which it is judged."""
    order = read_document(document, TrainingOrder)
    owners = tuple(sorted(broker.parties.holders([data.manifest.owner for data in datasets])))
    known = LogSubjects(
        parties=_distinct([*owners, broker.parties.holder(bundle.publication.provider)]),
        signers=owners,
        document=document.digest,
        datasets=tuple(data.dataset_id for data in datasets),
        policies=tuple(data.policy_document.digest for data in datasets),
        bundle=bundle.bundle_id,
        terms=bundle.terms_document.digest,
        release=order.release,
    )
    return known.model_copy(update=more)


def of_job(broker: BrokerContext, job: JobRecord, **more: Any) -> LogSubjects:
    """A job of an accepted order, under the terms that its parties have now. Nobody's signature asked for it."""
    bundle = broker.bundle(job.order.bundle)
    known = of_order(broker, job.order_document, broker.datasets_of(job), bundle, job=job.job_id, model=job.model_id)
    return known.model_copy(update={"signers": (), "document": None} | more)


def of_launch(
    broker: BrokerContext,
    job: JobRecord,
    challenge: OpenChallenge,
    body: Admit | RenewLease | AppraiseEvidence,
    **more: Any,
) -> LogSubjects:
    """A launch that answered a challenge, with the quote that it showed."""
    return of_job(
        broker,
        job,
        role=challenge.role,
        slot=challenge.slot,
        attempt=challenge.attempt,
        launch=body.binding.signing_public,
        evidence=sha256(body.evidence.quote),
        **more,
    )


def of_draw(
    broker: BrokerContext, job: JobRecord, body: DrawBudget, grant: QueryGrant | None, **more: Any
) -> LogSubjects:
    """Answers for a placed query enclave. `grant` is the one that the owners signed; None if they did not."""
    known = of_job(broker, job, launch=body.launch, role=QUERY)
    if grant is not None:
        owners = tuple(sorted(broker.parties.holders(job.order.owners)))
        more |= {"signers": owners, "parties": _distinct([*known.parties, grant.user])}
    named = {"document": body.grant.digest, "grant": GrantId.of(body.grant.digest)}
    return known.model_copy(update=named | more)


def of_revocation(broker: BrokerContext, revocation: Revocation, document: Digest) -> LogSubjects:
    """What a party ends. Raises `NotFoundError` for a thing that is not there."""
    name, more = revocation.identifier, {"signers": (revocation.party,), "document": document}
    match revocation.target:
        case "dataset":
            return of_dataset(broker, broker.dataset(DatasetId(name)), **more)
        case "bundle":
            return of_bundle(broker, broker.bundle(BundleId(name)), **more)
        case "job":
            return of_job(broker, broker.job(JobId(name)), **more)
        case "grant":
            return LogSubjects(parties=(revocation.party,), grant=GrantId(name)).model_copy(update=more)


def _distinct(parties: Iterable[PartyKey]) -> tuple[PartyKey, ...]:
    return tuple(dict.fromkeys(parties))
