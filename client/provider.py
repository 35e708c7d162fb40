"""What a provider does with model code: pack, seal, publish (side: owner: the provider's machine).

The bundle is sealed here; the operator stores ciphertext, and only attested trainers and query enclaves of allowed
orders get the key. Terms (who may train, how many answers a model may give) travel wrapped to the key broker.
"""

from collections.abc import Iterator
from pathlib import Path

from client import events as e
from client.broker import BrokerLink
from client.checking.costs import measure_step
from client.context import BundleLabel, Party
from client.identity import make_known
from client.objects import leaf_path, require_intact
from client.policy_changes import next_policy, send_policy
from client.policy_terms import SECONDS_PER_DAY, ProviderTerms, keep_policy, sign_terms, terms_of_bundle, wrap_policy
from client.sealing import seal_to_directory
from client.services import IngestService
from client.uploading import upload_object
from common.bundle import BundleContents, BundleManifest
from common.bundle_packing import pack_bundle
from common.crypto import KeyRing
from common.crypto.wrapping import wrap_ring
from common.identifiers import BundleId, Digest
from common.key_binding import bundle_key_info
from common.messages.objects import BundlePublication, ObjectRef
from common.messages.policy import BundleTerms
from common.messages.registration import RegisterBundle, Registered
from common.messages.signed import Signed, sign
from common.sealed_object import ObjectKind, ObjectReader, padded_chunk_count

BUNDLE_KEY = "bundle"
"""Name of the key in the ring that is wrapped to the broker (RegisterBundle)."""


def pack(party: Party, source: Path, directory: Path) -> Iterator[e.Event]:
    """Check and seal a provider's directory (provider.toml and code). Ends with `Sealed`. Raises `FormatError`."""
    contents = pack_bundle(source)
    yield e.Noted(
        text=f"{contents.manifest.name} {contents.manifest.bundle_version}: {len(contents.files)} files, "
        f"a state of {contents.manifest.state_count:,} float32 values"
    )
    yield from seal_to_directory(party, contents.encode(), ObjectKind.BUNDLE, directory)


def publish(party: Party, directory: Path, terms: ProviderTerms, *, measure: bool = False) -> Iterator[e.Event]:
    """Upload a packed bundle and register it with the broker. Ends with `BundleRegistered`.

    `measure`: what a training step costs is measured here, once, and published as a coarse class (`StepCost`).
    May be repeated after an interruption: the same terms for the same packed object are signed once. Other terms, or a
    newly pinned release, make another publication of it; `set_terms` changes those of one that is there.
    """
    reference = require_intact(directory)
    contents = _own_contents(party, directory, reference)
    if measure and party.step_cost(reference.root) is None:
        party.keep_step_cost(reference.root, (yield from measure_step(contents)))
    sent = 0
    for event in upload_object(IngestService.of(party), directory, reference):
        sent = event.bytes_sent
        yield event
    agreed = signed_terms(party, reference, terms, party.trust.release.digest)
    manifest = contents.manifest
    publication = _publication(party, manifest, reference, agreed)
    link = BrokerLink(party, IngestService.of(party).register_bundle)
    newest = party.document("policies", BundleId.of(publication.digest))
    yield link.verify(terms.tcb, *(() if newest is None else (BundleTerms.decode(newest.payload).tcb,)))
    make_known(party)
    link.ask(_registration(party, reference, agreed, publication), Registered)
    bundle_id = keep_publication(party, publication, agreed)
    party.keep_label(
        BundleLabel(
            bundle_id=bundle_id, root=reference.root, name=manifest.name, bundle_version=manifest.bundle_version
        )
    )
    published = BundlePublication.decode(publication.payload)
    yield e.BundleRegistered(
        bundle_id=bundle_id,
        root=reference.root,
        bytes_sent=sent,
        state_class=published.state_class,
        sandbox=published.sandbox,
    )


def keep_publication(party: Party, publication: Signed, terms: Signed) -> BundleId:
    """Store a bundle that is registered, under version 1 of its terms; where it was before, later ones stay."""
    bundle_id = BundleId.of(publication.digest)
    party.keep_document("publications", bundle_id, publication)
    if party.document("policies", bundle_id) is None:
        keep_policy(party, bundle_id, terms)
    return bundle_id


def _registration(party: Party, reference: ObjectRef, terms: Signed, publication: Signed) -> RegisterBundle:
    broker, own = party.trust.broker, party.identity.signing_key.party
    ring = KeyRing({BUNDLE_KEY: party.object_key(reference.root)})
    return RegisterBundle(
        publication=publication,
        terms=wrap_policy(party, terms),
        bundle_key=wrap_ring(
            ring, party.broker_key, bundle_key_info(publication.digest, own, terms.digest, broker.digest)
        ),
    )


def signed_terms(party: Party, reference: ObjectRef, terms: ProviderTerms, release: Digest) -> Signed:
    """These terms as version 1, signed; the stored ones if they say the same, so that what was interrupted can be
    repeated.
    """
    wanted = terms.under(release)
    stored = party.document("policies", reference.root)
    if stored is not None and _says_the_same(BundleTerms.decode(stored.payload), terms_of_bundle(party, wanted)):
        return stored
    signed = sign_terms(party, wanted)
    party.keep_document("policies", reference.root, signed)
    return signed


def _says_the_same(stored: BundleTerms, wanted: BundleTerms) -> bool:
    """Whether only the time of signing differs, by less than a day."""
    same_end = abs(stored.not_after - wanted.not_after) < SECONDS_PER_DAY
    return same_end and stored == wanted.model_copy(update={"not_after": stored.not_after})


def set_terms(party: Party, bundle_id: BundleId, terms: ProviderTerms) -> Iterator[e.Event]:
    """Sign the next version of a bundle's terms and bring it to the broker. Ends with `PolicySigned`.

    `releases` empty means the pinned one. Raises `NotFoundError` for a bundle of another directory.
    """
    yield from send_policy(party, bundle_id, next_policy(party, bundle_id, terms))


def _publication(party: Party, manifest: BundleManifest, reference: ObjectRef, terms: Signed) -> Signed:
    key = party.identity.signing_key
    return sign(
        BundlePublication(
            provider=key.party,
            object=reference,
            terms=terms.digest,
            state_class=padded_chunk_count(manifest.state_count),
            sandbox=manifest.kind,
            step_cost=party.step_cost(reference.root),
        ),
        key,
    )


def _own_contents(party: Party, directory: Path, reference: ObjectRef) -> BundleContents:
    header = leaf_path(directory, 0).read_bytes()
    reader = ObjectReader(
        party.object_key(reference.root),
        header,
        reference.chunk_count,
        lambda chunk: leaf_path(directory, chunk + 1).read_bytes(),
    )
    return BundleContents.parse(reader.read_all())
