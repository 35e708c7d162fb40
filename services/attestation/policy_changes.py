"""The next version of a data set's policy, or of a bundle's terms (side: enclave).

Both are taken in one way, in this order; each raises:

  (1) it opens under the digest that the request names, and is signed by its party;
  (2) the thing is not revoked; the newest version again is answered alike;
  (3) it names the party, and is chained to the newest version: never older, never beside it;
  (4) as many of the *newest* version's approvers signed it as that one asks for: none can excuse itself;
  (5) its party accepts this broker's platform; recovery holders that a policy names can be served.

It counts at once, and never widens what a running job may do: that is judged under the version by which its order was
accepted, too (`admission`).
"""

from typing import TypeVar

from common.errors import FreshnessError, PolicyError
from common.identifiers import Digest
from common.messages.policy import BundleTerms, DataPolicy
from common.messages.registration import Registered, UpdatePolicy, UpdateTerms
from common.messages.signed import Signed
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.entitlement import entitled
from services.attestation.log_subjects import of_bundle, of_dataset
from services.attestation.records import BundleRecord, DatasetRecord
from services.attestation.recovery_packages import require_packable
from services.attestation.registration import open_terms, require_fitting
from services.attestation.versions import (
    accepted,
    document_of,
    party_of,
    remembered,
    terms_of,
    version_name,
    with_version,
)

RecordT = TypeVar("RecordT", DatasetRecord, BundleRecord)


def update_policy(broker: BrokerContext, body: UpdatePolicy, at: int) -> Registered:
    """A data set's.

    Raises `AuthenticityError`, `PolicyError` (policy.approvals among them) or `FreshnessError` (freshness.policy).
    """
    changed = _next(broker, broker.dataset(body.dataset_id), body.policy, body.digest, DataPolicy)
    if changed is not None:
        version = accepted(broker, version_name(changed), changed.policy_document)
        decision = Decision("update-policy", of_dataset(broker, changed, document=body.digest))
        broker.state.commit(decision, at, changed, version)
    return Registered(dataset_id=body.dataset_id)


def update_terms(broker: BrokerContext, body: UpdateTerms, at: int) -> Registered:
    """A bundle's. Raises the same with the provider's codes (policy.terms_approvals, freshness.terms)."""
    bundle = broker.bundle(body.bundle_id)
    changed = _next(broker, bundle, body.terms, body.digest, BundleTerms)
    if changed is not None:
        version = accepted(broker, version_name(changed), changed.terms_document)
        decision = Decision("update-policy", of_bundle(broker, changed, document=body.digest))
        broker.state.commit(decision, at, changed, version, *remembered(broker, bundle))
    return Registered(bundle_id=body.bundle_id)


def _next(
    broker: BrokerContext, record: RecordT, wrapped: bytes, digest: Digest, kind: type[DataPolicy] | type[BundleTerms]
) -> RecordT | None:
    """The record under the version that is wrapped here, by checks (1) to (5); None if it is under that already."""
    newest, party = terms_of(record), party_of(record)
    document, terms = open_terms(broker, wrapped, party, digest, kind)  # (1)
    with entitled(newest):
        broker.require_unrevoked([record])  # (2)
        if document.digest == document_of(record).digest:
            return None
        if terms.party != party:  # (3)
            raise PolicyError("policy.signer", expected=party, seen=terms.party)
        expected, seen = (newest.policy_version + 1, document_of(record).digest), (terms.policy_version, terms.previous)
        if seen != expected:
            raise FreshnessError(_code(newest, "freshness.policy", "freshness.terms"), expected=expected, seen=seen)
        _require_approved(broker, document, newest)  # (4)
        require_fitting(broker, terms)  # (5)
        if isinstance(record, DatasetRecord) and isinstance(terms, DataPolicy):
            require_packable(record.manifest_document, terms, document)
    return with_version(record, document)


def _require_approved(broker: BrokerContext, document: Signed, newest: DataPolicy | BundleTerms) -> None:
    """Enough approvers of `newest` signed, or their successors; every signature was found right, and in force."""
    approvers = broker.parties.holders(newest.approvers) - {broker.parties.holder(newest.party)}
    approvals = {one.signer for one in document.signatures} & approvers
    if len(approvals) < newest.approvals_needed:
        code = _code(newest, "policy.approvals", "policy.terms_approvals")
        expected = f"signatures of {newest.approvals_needed} of {sorted(approvers)}"
        raise PolicyError(code, expected=expected, seen=sorted(approvals))


def _code(terms: DataPolicy | BundleTerms, of_owner: str, of_provider: str) -> str:
    """The one that names who mends it."""
    return of_owner if isinstance(terms, DataPolicy) else of_provider
