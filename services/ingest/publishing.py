"""Publishing: what parties bring to the key broker through here is entered here when it agrees (side: host).

A request goes to the broker as the party made it, and its signed reply goes back untouched: the party checks it. Before
that, this service only sees to it that the objects are there and are the party's own.
"""

import logging
from typing import Final

from common.errors import FormatError, PolicyError, Refusal, UnavailableError
from common.event_log import log_event
from common.identifiers import BundleId, DatasetId, Digest, PartyKey
from common.messages.base import Message
from common.messages.broker_exchange import BrokerRequest
from common.messages.identity import IdentityCard, RecoverIdentity, RecoveryStatement
from common.messages.objects import BundlePublication, DatasetManifest
from common.messages.policy import Revocation
from common.messages.registration import RegisterBundle, RegisterDataset, Registered
from common.messages.revocation import Revoke, Revoked
from common.messages.service import BundleView, DatasetView
from common.messages.signed import Signed, open_signed
from common.sealed_object.layout import ObjectKind
from common.untrusted.broker_client import BrokerRoute, reply_of
from common.untrusted.enrolment import Enrolments
from common.untrusted.publications import Bundle, Dataset, Publications
from common.untrusted.registry import Registry
from services.ingest.intake import Intake

_log = logging.getLogger("ingest")

LISTED: Final = 1000
"""A listing is one message: the newest data sets or bundles."""


class Publishing:
    """Data sets and bundles of all parties."""

    def __init__(
        self,
        registry: Registry,
        enrolments: Enrolments,
        publications: Publications,
        intake: Intake,
        broker: BrokerRoute,
    ) -> None:
        self._registry, self._enrolments, self._publications = registry, enrolments, publications
        self._intake, self._broker = intake, broker

    def register_dataset(self, party: PartyKey, raw: bytes) -> bytes:
        """Carry a RegisterDataset request; the broker's encoded reply, also when it refuses.

        Raises `AuthenticityError` (authenticity.signature), `NotFoundError` (not_found.object),
        `UnavailableError` (unavailable.broker).
        """
        body = BrokerRequest.decode(raw).body
        if not isinstance(body, RegisterDataset):
            raise FormatError("format.message", expected="register-dataset", seen=body.type)
        manifest = open_signed(body.manifest, DatasetManifest, [party])
        _require_own(manifest.owner, party)
        self._registry.require_objects(party, ObjectKind.DATASET, manifest.parts)
        reply = self._broker.ask(raw)
        if _agrees(reply):
            dataset_id = DatasetId.of(body.manifest.digest)
            self._publications.add_dataset(dataset_id, party, body.manifest, reply)
            log_event(_log, "dataset_registered", dataset_id=dataset_id, count=len(manifest.parts))
        return reply

    def register_bundle(self, party: PartyKey, raw: bytes) -> bytes:
        """Carry a RegisterBundle request; as `register_dataset`."""
        body = BrokerRequest.decode(raw).body
        if not isinstance(body, RegisterBundle):
            raise FormatError("format.message", expected="register-bundle", seen=body.type)
        publication = open_signed(body.publication, BundlePublication, [party])
        _require_own(publication.provider, party)
        self._registry.require_objects(party, ObjectKind.BUNDLE, [publication.object])
        reply = self._broker.ask(raw)
        if _agrees(reply):
            bundle_id = BundleId.of(body.publication.digest)
            self._publications.add_bundle(bundle_id, party, body.publication, reply)
            log_event(_log, "bundle_registered", bundle_id=bundle_id)
        return reply

    def recover(self, raw: bytes) -> bytes:
        """Carry a RecoverIdentity request, from anybody: its statement speaks for itself. The broker's encoded reply.

        Where the broker agrees, the old identity's requests are refused from now on, and its successor is enrolled.
        """
        body = BrokerRequest.decode(raw).body
        if not isinstance(body, RecoverIdentity):
            raise FormatError("format.message", expected="recover-identity", seen=body.type)
        statement = RecoveryStatement.decode(body.statement.payload)
        card = None if statement.successor is None else IdentityCard.decode(statement.successor.payload)
        reply = self._broker.ask(raw)
        if _agrees(reply, Revoked):
            self._enrolments.end(statement.party, None if card is None else card.party)
            log_event(_log, "identity_ended", party=statement.party)
        return reply

    def datasets(self, party: PartyKey) -> list[DatasetView]:
        """The party's data sets."""
        sizes = {one.root: one.bytes for one in self._registry.objects_of(party)}
        return [_dataset_view(one, sizes) for one in self._publications.datasets_of(party)[-LISTED:]]

    def bundles(self, party: PartyKey) -> list[BundleView]:
        """The party's bundles."""
        return [_bundle_view(one) for one in self._publications.bundles_of(party)[-LISTED:]]

    def manifest(self, party: PartyKey, dataset_id: DatasetId) -> Signed:
        """The signed manifest of a data set of the party."""
        return self._publications.dataset(dataset_id, party).signed

    def publication(self, bundle_id: BundleId) -> Signed:
        """The signed publication of a bundle: published to every enrolled identity that knows its identifier."""
        return self._publications.bundle(bundle_id).signed

    def delete_dataset(self, party: PartyKey, dataset_id: DatasetId, revocation: bytes) -> None:
        """Delete the ciphertext; `revocation` (a Revoke request), if it is not empty, goes to the broker first.

        Raises what the broker refuses; then nothing is deleted.
        """
        found = self._publications.dataset(dataset_id, party)
        self.revoke(party, dataset_id, revocation)
        self._publications.remove_dataset(dataset_id)
        self._drop(party, {part.root for part in found.manifest.parts})

    def delete_bundle(self, party: PartyKey, bundle_id: BundleId, revocation: bytes) -> None:
        """As `delete_dataset`."""
        found = self._publications.bundle(bundle_id, party)
        self.revoke(party, bundle_id, revocation)
        self._publications.remove_bundle(bundle_id)
        self._drop(party, {found.publication.object.root})

    def revoke(self, party: PartyKey, identifier: str, raw: bytes) -> None:
        """Carry a Revoke request of this party for this thing to the broker; empty `raw`: there is none."""
        if not raw:
            return
        body = BrokerRequest.decode(raw).body
        if not isinstance(body, Revoke):
            raise FormatError("format.message", expected="revoke", seen=body.type)
        revocation = open_signed(body.revocation, Revocation, [party])
        if revocation.identifier != identifier:
            raise FormatError("format.message", expected=identifier, seen=revocation.identifier)
        if not isinstance(reply_of(self._broker.ask(raw)), Revoked):
            raise FormatError("format.message", expected="the broker's word that it is revoked")

    def _drop(self, party: PartyKey, roots: set[Digest]) -> None:
        for root in roots - self._publications.roots_in_use(party):
            self._intake.drop(party, root)


def _require_own(named: PartyKey, party: PartyKey) -> None:
    if named != party:
        raise PolicyError("policy.signer", expected=named, seen=party)


def _agrees(reply: bytes, kind: type[Message] = Registered) -> bool:
    """Whether the broker took it; a refusal is in the reply, for the party to read."""
    try:
        return isinstance(reply_of(reply), kind)
    except UnavailableError as error:
        if error.code == "unavailable.broker":
            raise
        return False
    except Refusal:
        return False


def _dataset_view(one: Dataset, sizes: dict[Digest, int]) -> DatasetView:
    parts = one.manifest.parts
    return DatasetView(
        dataset_id=one.dataset_id,
        manifest=one.signed.digest,
        parts=len(parts),
        bytes=sum(sizes.get(part.root, 0) for part in parts),
        registered_at=one.registered_at,
    )


def _bundle_view(one: Bundle) -> BundleView:
    return BundleView(
        bundle_id=one.bundle_id,
        publication=one.signed.digest,
        root=one.publication.object.root,
        registered_at=one.registered_at,
    )
