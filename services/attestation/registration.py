"""Registering data sets and bundles (side: enclave).

A wrapped key opens only under the info that names the manifest, its signer, the policy and this broker, so whoever
registers somebody else's ciphertext with somebody else's wrapped key under terms of his own is refused by the AEAD.
In this order, each raises:

  (1) the manifest (publication) is signed by the owner (provider) that it names;
  (2) the policy (terms) opens under its digest as the manifest states it, and is signed by the same party;
  (3) the party accepts this broker's platform, and this broker accepts the party's identity; recovery holders that the
      policy names can be served (`recovery_packages`);
  (4) the data key (bundle key) opens under all of these;
  (5) it contradicts nothing that was registered before; the same again is answered alike.

What stayed behind at a handover is registered again so: its party wraps the key to this enclave, under the version of
its policy or terms that is the newest (`versions`).
"""

from typing import TypeVar

from common.crypto.keys import SecretKey
from common.errors import ConflictError, FormatError, PolicyError
from common.identifiers import BundleId, DatasetId, Digest, PartyKey
from common.key_binding import bundle_key_info, data_key_info, policy_info
from common.messages.objects import BundlePublication, DatasetManifest
from common.messages.policy import BundleTerms, DataPolicy
from common.messages.registration import RegisterBundle, RegisterDataset, Registered
from common.messages.signed import Signed, open_signed
from common.policy_rules import require_document_fits
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.entitlement import entitled
from services.attestation.identity_replacement import first_appearance
from services.attestation.log_subjects import of_bundle, of_dataset
from services.attestation.records import BundleRecord, DatasetRecord
from services.attestation.recovery_packages import require_packable
from services.attestation.versions import accepted, version_name

DATA_KEY = "data"
BUNDLE_KEY = "bundle"

TermsT = TypeVar("TermsT", bound=DataPolicy | BundleTerms)


def register_dataset(broker: BrokerContext, body: RegisterDataset, at: int) -> Registered:
    """Checks (1) to (5). Raises `AuthenticityError` (1, 2, 4), `PolicyError` (2, 3) or `ConflictError` (5)."""
    owner = DatasetManifest.decode(body.manifest.payload).owner
    broker.parties.require_in_force(owner)
    manifest = open_signed(body.manifest, DatasetManifest, [owner])  # (1)
    document, policy = open_terms(broker, body.policy, owner, manifest.policy, DataPolicy)  # (2)
    dataset_id = DatasetId.of(body.manifest.digest)
    with entitled(policy):
        if (policy.owner, policy.policy_version) != (owner, 1):
            raise PolicyError("policy.signer", expected=f"version 1 by {owner}", seen=policy.owner)
        require_fitting(broker, policy)  # (3)
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
    document, terms = open_terms(broker, body.terms, provider, publication.terms, BundleTerms)  # (2)
    bundle_id = BundleId.of(body.publication.digest)
    with entitled(terms):
        if (terms.provider, terms.policy_version) != (provider, 1):
            raise PolicyError("policy.signer", expected=f"version 1 by {provider}", seen=terms.provider)
        require_fitting(broker, terms)  # (3)
        info = bundle_key_info(body.publication.digest, provider, publication.terms, broker.broker)
        key = _open_key(broker, body.bundle_key, info, BUNDLE_KEY)  # (4)
        known = broker.state.find(BundleRecord, bundle_id)
        if known is not None and not known.stayed:
            _require_same(broker.keys_of(known)[BUNDLE_KEY], key)  # (5)
            return Registered(bundle_id=bundle_id)
    record = BundleRecord(
        bundle_id=bundle_id,
        publication_document=body.publication,
        terms_document=document if known is None else known.terms_document,
        keys=broker.state.keys.seal_ring(bundle_id, bundle=key),
    )
    subjects = of_bundle(broker, record, document=body.publication.digest)
    version = [] if known is not None else [accepted(broker, version_name(record), document)]
    taken, party = accepted(broker, bundle_id), first_appearance(broker, provider)
    broker.state.commit(Decision("register-bundle", subjects), at, record, taken, *version, *party)
    return Registered(bundle_id=bundle_id)


def open_terms(
    broker: BrokerContext, wrapped: bytes, party: PartyKey, digest: Digest, kind: type[TermsT]
) -> tuple[Signed, TermsT]:
    """The document that `party`, or who holds that identity now, signed and wrapped here, with exactly this digest."""
    document = Signed.decode(broker.wrapping_key.open(wrapped, policy_info(party, digest, broker.broker)))
    terms = broker.parties.open_word(document, kind, [party])
    if document.digest != digest:
        raise FormatError("format.message", expected=f"terms with digest {digest}", seen=document.digest)
    return document, terms


def require_fitting(broker: BrokerContext, terms: DataPolicy | BundleTerms) -> None:
    """This broker's platform and its party's identity accept each other. Raises as `require_document_fits`."""
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
