"""Registering data sets and bundles, and newer policies (side: enclave).

A wrapped key opens only under the info that names the manifest, its signer, the policy and this broker, so whoever
registers somebody else's ciphertext with somebody else's wrapped key under terms of his own is refused by the AEAD.
In this order, each raises:

  (1) the manifest (publication) is signed by the owner (provider) that it names;
  (2) the policy (terms) opens under its digest as the manifest states it, and is signed by the same party;
  (3) the party accepts this broker's platform, and this broker accepts the party's identity; recovery holders that the
      policy names can be served (`recovery_packages`);
  (4) the data key (bundle key) opens under all of these;
  (5) it contradicts nothing that was registered before; the same again is answered alike.

What stayed behind at a handover is registered again so: its party wraps the key to this enclave, under the policy
version that is the newest.
"""

from typing import TypeVar

from common.crypto.keys import SecretKey
from common.errors import ConflictError, FormatError, FreshnessError, PolicyError
from common.identifiers import BundleId, DatasetId, Digest, PartyKey
from common.key_binding import bundle_key_info, data_key_info, policy_info
from common.messages.attestation import RegisterBundle, RegisterDataset, Registered, UpdatePolicy
from common.messages.objects import BundlePublication, DatasetManifest
from common.messages.policy import BundleTerms, DataPolicy
from common.messages.signed import Signed, open_signed
from common.policy_rules import require_document_fits
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.entitlement import entitled
from services.attestation.identity_replacement import first_appearance
from services.attestation.log_subjects import of_bundle, of_dataset
from services.attestation.records import BundleRecord, DatasetRecord
from services.attestation.recovery_packages import require_packable
from services.attestation.void_words import accepted, version_name

DATA_KEY = "data"
BUNDLE_KEY = "bundle"

TermsT = TypeVar("TermsT", DataPolicy, BundleTerms)


def register_dataset(broker: BrokerContext, body: RegisterDataset, at: int) -> Registered:
    """Checks (1) to (5). Raises `AuthenticityError` (1, 2, 4), `PolicyError` (2, 3) or `ConflictError` (5)."""
    owner = DatasetManifest.decode(body.manifest.payload).owner
    broker.parties.require_in_force(owner)
    manifest = open_signed(body.manifest, DatasetManifest, [owner])  # (1)
    document, policy = _open_terms(broker, body.policy, owner, manifest.policy, DataPolicy)  # (2)
    dataset_id = DatasetId.of(body.manifest.digest)
    with entitled(policy):
        if (policy.owner, policy.policy_version) != (owner, 1):
            raise PolicyError("policy.signer", expected=f"version 1 by {owner}", seen=policy.owner)
        _require_fitting(broker, policy)  # (3)
        require_packable(body.manifest, policy, document)
        info = data_key_info(body.manifest.digest, owner, manifest.policy, broker.broker)
        key = _open_key(broker, body.data_key, info, DATA_KEY)  # (4)
        known = broker.state.find(DatasetRecord, dataset_id)
        if known is not None and not known.stayed:
            _require_same(broker.keys_of(known)[DATA_KEY], key)  # (5)
            return Registered(dataset_id=dataset_id)
    record = DatasetRecord(
        dataset_id=dataset_id,
        manifest_document=body.manifest,
        policy_document=document if known is None else known.policy_document,
        keys=broker.state.keys.seal_ring(dataset_id, data=key),
    )
    subjects = of_dataset(broker, record, document=body.manifest.digest)
    version = [] if known is not None else [accepted(broker, version_name(record), document)]
    party = first_appearance(broker, owner)
    broker.state.commit(Decision("register-dataset", subjects), at, record, *version, *party)
    return Registered(dataset_id=dataset_id)


def register_bundle(broker: BrokerContext, body: RegisterBundle, at: int) -> Registered:
    """Checks (1) to (5). Raises `AuthenticityError` (1, 2, 4), `PolicyError` (2, 3) or `ConflictError` (5)."""
    provider = BundlePublication.decode(body.publication.payload).provider
    broker.parties.require_in_force(provider)
    publication = open_signed(body.publication, BundlePublication, [provider])  # (1)
    document, terms = _open_terms(broker, body.terms, provider, publication.terms, BundleTerms)  # (2)
    bundle_id = BundleId.of(body.publication.digest)
    with entitled(terms):
        if terms.provider != provider:
            raise PolicyError("policy.signer", expected=provider, seen=terms.provider)
        _require_fitting(broker, terms)  # (3)
        info = bundle_key_info(body.publication.digest, provider, publication.terms, broker.broker)
        key = _open_key(broker, body.bundle_key, info, BUNDLE_KEY)  # (4)
        known = broker.state.find(BundleRecord, bundle_id)
        if known is not None and not known.stayed:
            _require_same(broker.keys_of(known)[BUNDLE_KEY], key)  # (5)
            return Registered(bundle_id=bundle_id)
    record = BundleRecord(
        bundle_id=bundle_id,
        publication_document=body.publication,
        terms_document=document,
        keys=broker.state.keys.seal_ring(bundle_id, bundle=key),
    )
    subjects = of_bundle(broker, record, document=body.publication.digest)
    publication_taken, party = accepted(broker, bundle_id), first_appearance(broker, provider)
    broker.state.commit(Decision("register-bundle", subjects), at, record, publication_taken, *party)
    return Registered(bundle_id=bundle_id)


def update_policy(broker: BrokerContext, body: UpdatePolicy, at: int) -> Registered:
    """Take the next version of a data set's policy: signed by its owner, chained to the newest, never older.

    It carries as many approvals as the newest version asks for: a version can't excuse itself from them.
    Raises `AuthenticityError`, `PolicyError` (policy.approvals among them) or `FreshnessError` (freshness.policy).
    """
    record = broker.dataset(body.dataset_id)
    newest, owner = record.policy, record.manifest.owner
    document, policy = _open_terms(broker, body.policy, owner, body.digest, DataPolicy)
    with entitled(newest):
        broker.require_unrevoked([record])
        if document.digest == record.policy_document.digest:
            return Registered(dataset_id=body.dataset_id)
        if policy.owner != owner:
            raise PolicyError("policy.signer", expected=owner, seen=policy.owner)
        expected = (newest.policy_version + 1, record.policy_document.digest)
        if (policy.policy_version, policy.previous) != expected:
            raise FreshnessError("freshness.policy", expected=expected, seen=(policy.policy_version, policy.previous))
        _require_approved(broker, document, newest)
        _require_fitting(broker, policy)
        require_packable(record.manifest_document, policy, document)
    changed = record.model_copy(update={"policy_document": document})
    version = accepted(broker, version_name(changed), document)
    subjects = of_dataset(broker, changed, document=document.digest)
    broker.state.commit(Decision("update-policy", subjects), at, changed, version)
    return Registered(dataset_id=body.dataset_id)


def _open_terms(
    broker: BrokerContext, wrapped: bytes, party: PartyKey, digest: Digest, kind: type[TermsT]
) -> tuple[Signed, TermsT]:
    """The document that `party`, or who holds that identity now, signed and wrapped here, with exactly this digest."""
    document = Signed.decode(broker.wrapping_key.open(wrapped, policy_info(party, digest, broker.broker)))
    terms = broker.parties.open_word(document, kind, [party])
    if document.digest != digest:
        raise FormatError("format.message", expected=f"terms with digest {digest}", seen=document.digest)
    return document, terms


def _require_approved(broker: BrokerContext, document: Signed, newest: DataPolicy) -> None:
    """Enough approvers of `newest` signed, or their successors; every signature was found right, and in force."""
    approvers = broker.parties.holders(newest.approvers) - {broker.parties.holder(newest.owner)}
    approvals = {one.signer for one in document.signatures} & approvers
    if len(approvals) < newest.approvals_needed:
        expected = f"signatures of {newest.approvals_needed} of {sorted(approvers)}"
        raise PolicyError("policy.approvals", expected=expected, seen=sorted(approvals))


def _require_fitting(broker: BrokerContext, terms: DataPolicy | BundleTerms) -> None:
    settings = broker.platform.trust_settings
    require_document_fits(terms, broker.platform.trust_level, production=settings.production)


def _open_key(broker: BrokerContext, wrapped: bytes, info: bytes, name: str) -> SecretKey:
    ring = broker.wrapping_key.open_ring(wrapped, info)
    if set(ring) != {name}:
        raise FormatError("format.message", expected=f"a key ring of {name}", seen=sorted(ring))
    return ring[name]


def _require_same(stored: SecretKey, key: SecretKey) -> None:
    if stored != key:
        raise ConflictError("conflict.registered", expected="the key that was registered")
