"""What the key broker remembers, one immutable record per thing (side: enclave).

Records are sealed as a whole when they leave the enclave. Keys inside them are blobs of their own (`state.StateKeys`),
opened only when they are used, so that a record in memory, in an error or in a test's output holds no key.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from common.identifiers import BundleId, CodeMeasurement, DatasetId, Digest, GrantId, JobId, ModelId, PartyKey, RoleName
from common.messages.base import Count, Message, Seconds
from common.messages.broker_identity import Genesis, Succession
from common.messages.checkpoint import Checkpoint
from common.messages.collateral import CollateralMark, Marks
from common.messages.evidence import TrustLevel
from common.messages.log_heads import LogHead
from common.messages.objects import BundlePublication, DatasetManifest
from common.messages.order import TrainingOrder
from common.messages.policy import BundleTerms, DataPolicy, PublicKey
from common.messages.reasons import REASON_BYTES, RefusalReason
from common.messages.serving import ServedName, ServingRecord
from common.messages.signed import Signed, read_document
from common.messages.tcb_terms import TcbStatus
from services.attestation.count_record import CountRecord
from services.attestation.party_records import AcceptedRecord, PartyRecord, RecoveryKeyRecord

SealedKeys = Annotated[bytes, Field(max_length=4096)]
"""A key ring under the platform's sealing key."""

JobState = Literal["running", "finished", "failed", "cancelled"]

HANDOVER_KEY: Final = "handover"
INVENTORY_KEY: Final = "platform inventory"


class DatasetRecord(Message):
    """A registered data set under the newest version of its policy. `keys` is None once it is revoked.

    `stayed`: its key stayed with the broker that handed over to this one (`handover`); the same of other records.
    """

    type: Literal["dataset"] = "dataset"
    dataset_id: DatasetId
    manifest_document: Signed
    policy_document: Signed
    keys: SealedKeys | None
    stayed: bool = False

    @property
    def key(self) -> str:
        """Name of the record."""
        return self.dataset_id

    @property
    def manifest(self) -> DatasetManifest:
        """The manifest, whose signature was checked when it was registered."""
        return read_document(self.manifest_document, DatasetManifest)

    @property
    def policy(self) -> DataPolicy:
        """The newest policy, likewise."""
        return read_document(self.policy_document, DataPolicy)


class BundleRecord(Message):
    """A published bundle under the newest version of its provider's terms. `keys` is None once it is revoked."""

    type: Literal["bundle"] = "bundle"
    bundle_id: BundleId
    publication_document: Signed
    terms_document: Signed
    keys: SealedKeys | None
    stayed: bool = False

    @property
    def key(self) -> str:
        """Name of the record."""
        return self.bundle_id

    @property
    def publication(self) -> BundlePublication:
        """The publication, whose signature was checked when it was registered."""
        return read_document(self.publication_document, BundlePublication)

    @property
    def terms(self) -> BundleTerms:
        """The provider's terms, likewise."""
        return read_document(self.terms_document, BundleTerms)


class ReleaseRecord(Message):
    """A release that an accepted order names; its signatures were checked then."""

    type: Literal["release"] = "release"
    document: Signed

    @property
    def key(self) -> str:
        """Name of the record."""
        return release_key(self.document.digest)


class AppraisedMachine(Message):
    """What the verifier found behind a launch, when it was admitted. `exposed`: something that all terms name lies open
    to its host.
    """

    trust_level: TrustLevel
    tcb_status: TcbStatus
    at: Seconds
    exposed: bool = False


class LaunchRecord(Message):
    """One admitted launch. `not_after` is the end of a query enclave's placement; 0 for other roles.

    `release` is the one under which it was admitted, where that is not its order's (`release_choice`).
    """

    role: RoleName
    slot: Count
    attempt: Count
    signing_public: PartyKey
    mr_enclave: CodeMeasurement
    not_after: Seconds
    appraised: AppraisedMachine
    release: Digest | None = None


class JobRecord(Message):
    """An accepted order and what became of it.

    `keys` holds {job, seed, model} while it runs, {model} when it has made one, nothing otherwise. `launches` are the
    newest of each slot of trainers and parameter server, and the placed query enclaves of its model. `policies` are
    those under which the order was accepted, in its data sets' order, and `terms` its bundle's: a later version never
    widens what the job may do. `checkpoint` is the newest, while it runs.
    """

    type: Literal["job"] = "job"
    job_id: JobId
    order_document: Signed
    policies: tuple[Signed, ...]
    outer_learning_rate: float
    outer_momentum: float
    trust_level: TrustLevel
    state: JobState
    keys: SealedKeys | None
    launches: tuple[LaunchRecord, ...]
    manifest_document: Signed | None
    checkpoint: Checkpoint | None = None
    stayed: bool = False
    terms: Signed | None = None

    @property
    def key(self) -> str:
        """Name of the record."""
        return self.job_id

    @property
    def order(self) -> TrainingOrder:
        """The order, whose signatures were checked when it was accepted."""
        return read_document(self.order_document, TrainingOrder)

    @property
    def accepted_policies(self) -> tuple[DataPolicy, ...]:
        """The policies under which it was accepted, likewise, in the order of the data sets."""
        return tuple(read_document(document, DataPolicy) for document in self.policies)

    @property
    def model_id(self) -> ModelId:
        """Name of the model that it makes or has made."""
        return ModelId.of(self.order_document.digest)


KeyedRecord = DatasetRecord | BundleRecord | JobRecord
KEYED: Final = (DatasetRecord, BundleRecord, JobRecord)
"""Whose `keys` are."""


class ModelRecord(Message):
    """Which job made a model."""

    type: Literal["model"] = "model"
    model_id: ModelId
    job_id: JobId

    @property
    def key(self) -> str:
        """Name of the record."""
        return self.model_id


class UsedNonceRecord(Message):
    """The nonce of an accepted order: single use."""

    type: Literal["used-nonce"] = "used-nonce"
    owner: PartyKey
    nonce: Annotated[bytes, Field(min_length=16, max_length=16)]

    @property
    def key(self) -> str:
        """Name of the record."""
        return used_nonce_key(self.owner, self.nonce)


class TallyRecord(Message):
    """A number that only grows: jobs, attempts and bits of a data set, answers of a data set, bundle or grant, refusals
    of a reader.
    """

    type: Literal["tally"] = "tally"
    name: Annotated[str, Field(max_length=128)]
    count: Count

    @property
    def key(self) -> str:
        """Name of the record."""
        return self.name


class RevokedGrantRecord(Message):
    """A party's word that a grant is over. It counts where that party is an owner of the model's data."""

    type: Literal["revoked-grant"] = "revoked-grant"
    grant_id: GrantId
    party: PartyKey

    @property
    def key(self) -> str:
        """Name of the record."""
        return revoked_grant_key(self.grant_id, self.party)


class RetiredBundleRecord(Message):
    """A provider's word that no new order may name a bundle; its signature was checked when it was taken."""

    type: Literal["retired-bundle"] = "retired-bundle"
    bundle_id: BundleId
    document: Signed

    @property
    def key(self) -> str:
        """Name of the record."""
        return retired_bundle_key(self.bundle_id)


class ServedNameRecord(Message):
    """The newest word of which models answer under a name; its signatures were checked when it was taken."""

    type: Literal["served-name"] = "served-name"
    served: ServedName
    document: Signed

    @property
    def key(self) -> str:
        """Name of the record."""
        return served_name_key(self.served)

    @property
    def record(self) -> ServingRecord:
        """What it says."""
        return read_document(self.document, ServingRecord)


class RevokedReleaseRecord(Message):
    """The release keys' word that a release is over; their signatures were checked when it was taken."""

    type: Literal["revoked-release"] = "revoked-release"
    release: Digest
    document: Signed

    @property
    def key(self) -> str:
        """Name of the record."""
        return revoked_release_key(self.release)


class InventoryRecord(Message):
    """The platform inventory in force; its signatures were checked when it was taken."""

    type: Literal["inventory"] = "inventory"
    document: Signed

    @property
    def key(self) -> str:
        """Name of the record: there is one."""
        return INVENTORY_KEY


class CollateralRecord(Message):
    """The newest mark of one document of collateral that a quote was verified with."""

    type: Literal["collateral"] = "collateral"
    mark: CollateralMark

    @property
    def key(self) -> str:
        """Name of the record."""
        return collateral_key(self.mark.subject)


class PeerRecord(Message):
    """The newest head of another installation's broker that this one has seen, as its witness, and what it was told of
    the collateral that was seen there.
    """

    type: Literal["peer"] = "peer"
    broker: Digest
    head: LogHead
    collateral: Marks = ()

    @property
    def key(self) -> str:
        """Name of the record."""
        return peer_key(self.broker)


class ReasonRecord(Message):
    """One of the places that go round of a reader of refusals (`reasons`): a RefusalReason, padded to one size."""

    type: Literal["reason"] = "reason"
    reader: Annotated[str, Field(max_length=64)]
    place: Count
    reason: Annotated[bytes, Field(min_length=REASON_BYTES, max_length=REASON_BYTES)]

    @property
    def key(self) -> str:
        """Name of the record."""
        return reason_key(self.reader, self.place)

    def read(self) -> RefusalReason:
        """The reason."""
        return RefusalReason.decode(self.reason)


class HandoverRecord(Message):
    """This broker has handed over, in this epoch, to the heir that holds this key: it releases nothing any more."""

    type: Literal["handover"] = "handover"
    epoch: Count
    wrapping_public: PublicKey
    measurement: CodeMeasurement
    release: Digest

    @property
    def key(self) -> str:
        """Name of the record: there is one."""
        return HANDOVER_KEY


Record = Annotated[
    DatasetRecord
    | BundleRecord
    | ReleaseRecord
    | JobRecord
    | ModelRecord
    | UsedNonceRecord
    | TallyRecord
    | RevokedGrantRecord
    | RetiredBundleRecord
    | ServedNameRecord
    | RevokedReleaseRecord
    | InventoryRecord
    | CollateralRecord
    | PartyRecord
    | RecoveryKeyRecord
    | AcceptedRecord
    | PeerRecord
    | ReasonRecord
    | CountRecord
    | HandoverRecord,
    Field(discriminator="type"),
]


class IdentityRecord(Message):
    """The broker itself: its genesis, and the seeds of its two keys as blobs under the sealing key.

    `succession` once it was handed over: since then its wrapping key is another than the genesis'.
    """

    genesis: Genesis
    signing_seed: SealedKeys
    wrapping_seed: SealedKeys
    succession: Succession | None = None


class StateEntry(Message):
    """One entry of the sealed state: what a decision changed. The last entry of a snapshot carries `identity`.

    It also carries `log_roots`: the log's roots (32 bytes each) at the newest sizes below `log_size`, one by one.
    """

    type: Literal["broker-state-entry"] = "broker-state-entry"
    version: Literal[1] = 1
    epoch: Count
    time: Seconds
    log_size: Count
    log_peaks: tuple[Annotated[bytes, Field(min_length=32, max_length=32)], ...]
    log_roots: Annotated[bytes, Field(max_length=8 << 20)] = b""
    identity: IdentityRecord | None
    records: tuple[Record, ...]


def release_key(digest: Digest) -> str:
    """Name of a release's record."""
    return f"release {digest}"


def revoked_release_key(digest: Digest) -> str:
    """Name of a release's revocation."""
    return f"revoked release {digest}"


def used_nonce_key(owner: PartyKey, nonce: bytes) -> str:
    """Name of a used nonce's record."""
    return f"nonce {owner} {nonce.hex()}"


def revoked_grant_key(grant_id: GrantId, party: PartyKey) -> str:
    """Name of a grant's revocation by a party."""
    return f"{grant_id} {party}"


def retired_bundle_key(bundle_id: BundleId) -> str:
    """Name of a bundle's retirement."""
    return f"retired {bundle_id}"


def served_name_key(served: ServedName) -> str:
    """Name of the record of a name."""
    return f"serving {served.owner} {served.name}"


def collateral_key(subject: str) -> str:
    """Name of a document's mark."""
    return f"collateral {subject}"


def reason_key(reader: str, place: int) -> str:
    """Name of one place of a reader."""
    return f"reason {reader} {place}"


def peer_key(broker: Digest) -> str:
    """Name of a peer's record."""
    return f"peer {broker}"
