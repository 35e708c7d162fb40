"""What every request to the broker is handled with: its platform, its keys, its state (side: enclave)."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Protocol

from common.crypto.keys import KeyRing, SecretKey
from common.crypto.signing import SigningKey
from common.crypto.wrapping import WrappingKey
from common.dcap.engine import unverified_machine
from common.dcap.platform_rules import PlatformRules, require_unrevoked
from common.enclave.trust_settings import TrustSettings
from common.errors import AppraisalError, ConflictError, NotFoundError, PolicyError
from common.identifiers import BundleId, CodeMeasurement, DatasetId, Digest, JobId, PartyKey, PlatformId
from common.messages.broker_identity import Genesis
from common.messages.decision_log import LogSubjects
from common.messages.evidence import Evidence, TrustLevel
from common.messages.platform_inventory import NO_INVENTORY, PlatformInventory
from common.messages.release import Release
from common.messages.signed import Signed, read_document
from common.messages.tpm_counter import TpmCounter
from services.attestation.challenges import Challenges
from services.attestation.collateral import KnownCollateral
from services.attestation.decision_log import Decision, DecisionLog
from services.attestation.lease_table import LeaseTable
from services.attestation.open_counts import OpenCounts
from services.attestation.parties import Parties
from services.attestation.records import (
    HANDOVER_KEY,
    INVENTORY_KEY,
    BundleRecord,
    DatasetRecord,
    HandoverRecord,
    IdentityRecord,
    InventoryRecord,
    JobRecord,
    KeyedRecord,
    ReleaseRecord,
    RevokedReleaseRecord,
    release_key,
    revoked_release_key,
)
from services.attestation.state import BrokerState, Restored, StateKeys, StateStore, restore
from services.attestation.state_anchor import StateAnchor
from services.attestation.token_log import TokenLog
from services.attestation.tpm_counters import TpmCounters

SEALING_LABEL: Final = b"broker-state"
NONCE_BYTES: Final = 32
_ANY_DATA: Final = bytes(64)


class Platform(Protocol):
    """As much of an `EnclaveRuntime` as the broker needs."""

    @property
    def trust_level(self) -> TrustLevel:
        """What stands behind this platform's evidence."""

    @property
    def measurement(self) -> CodeMeasurement:
        """The broker's own measurement."""

    @property
    def trust_settings(self) -> TrustSettings:
        """Whom to believe."""

    def evidence(self, report_data: bytes) -> Evidence:
        """A fresh quote over 64 bytes."""

    def sealing_key(self, label: bytes) -> SecretKey:
        """Hardware sealing."""


@dataclass(frozen=True)
class WitnessRule:
    """Who guards this broker's freshness. It counts at the very first start; later ones find it in the genesis.

    `peers`, whom this broker guards, count at each start.
    """

    witnesses: tuple[PartyKey, ...] = ()
    quorum: int = 0
    tpm_counters: tuple[TpmCounter, ...] = ()
    peers: tuple[Digest, ...] = ()


@dataclass
class OwnRelease:
    """The release that this broker is of, once its host has said so; what it counts for: `release_choice`."""

    document: Signed | None = None


@dataclass(frozen=True)
class BrokerContext:
    """One running broker."""

    platform: Platform
    state: BrokerState
    signing_key: SigningKey
    token_key: SigningKey
    wrapping_key: WrappingKey
    anchor: StateAnchor
    counts: OpenCounts
    tokens: TokenLog
    collateral: KnownCollateral
    challenges: Challenges
    leases: LeaseTable
    counters: TpmCounters
    peers: frozenset[Digest]
    own_release: OwnRelease

    @classmethod
    def start(cls, platform: Platform, store: StateStore, rule: WitnessRule, at: int) -> "BrokerContext":
        """Restore the state, or make a broker where there is none; either way a new epoch begins, frozen.

        Raises `AuthenticityError` (authenticity.sealed_state) for a state of another build, platform or chain.
        """
        keys = StateKeys(platform.sealing_key(SEALING_LABEL))
        return cls.resume(platform, store, keys, restore(store, keys) or _birth(keys, rule, at), rule, at)

    @classmethod
    def resume(
        cls, platform: Platform, store: StateStore, keys: StateKeys, restored: Restored, rule: WitnessRule, at: int
    ) -> "BrokerContext":
        """Go on from this state, whose keys are under `keys`, in a new epoch, frozen."""
        before, genesis = restored.log, restored.identity.genesis
        boot_nonce = secrets.token_bytes(NONCE_BYTES)
        log = DecisionLog(before.epoch + 1, before.size, before.peaks)
        state = BrokerState(store, keys, replace(restored, log=log))
        state.begin(Decision("start", LogSubjects(boot_nonce=boot_nonce)), max(at, restored.time))
        anchor = StateAnchor(genesis, boot_nonce, state.log.head, state.roots)
        counts, collateral = OpenCounts(state, anchor), KnownCollateral(state, genesis)
        return cls(
            platform=platform,
            state=state,
            signing_key=SigningKey.from_seed(keys.open_seed("signing", restored.identity.signing_seed)),
            token_key=SigningKey.generate(),
            wrapping_key=WrappingKey(keys.open_seed("wrapping", restored.identity.wrapping_seed)),
            anchor=anchor,
            counts=counts,
            tokens=TokenLog(state, anchor, counts, collateral),
            collateral=collateral,
            challenges=Challenges(),
            leases=LeaseTable(),
            counters=TpmCounters(genesis, state),
            peers=frozenset(rule.peers),
            own_release=OwnRelease(),
        )

    @property
    def genesis(self) -> Genesis:
        """The broker's lasting record."""
        return self.state.identity.genesis

    @cached_property
    def broker(self) -> Digest:
        """Its digest: the broker's name in bindings."""
        return self.genesis.digest

    @property
    def parties(self) -> Parties:
        """Whose word counts for whom."""
        return Parties(self.state)

    def dataset(self, dataset_id: DatasetId) -> DatasetRecord:
        """A registered data set, revoked or not. Raises `NotFoundError`."""
        record = self.state.find(DatasetRecord, dataset_id)
        if record is None:
            raise NotFoundError("not_found.dataset", seen=dataset_id)
        return record

    def bundle(self, bundle_id: BundleId) -> BundleRecord:
        """A published bundle, revoked or not. Raises `NotFoundError`."""
        record = self.state.find(BundleRecord, bundle_id)
        if record is None:
            raise NotFoundError("not_found.bundle", seen=bundle_id)
        return record

    def job(self, job_id: JobId) -> JobRecord:
        """An accepted order. Raises `NotFoundError`."""
        record = self.state.find(JobRecord, job_id)
        if record is None:
            raise NotFoundError("not_found.job", seen=job_id)
        return record

    def datasets_of(self, job: JobRecord) -> tuple[DatasetRecord, ...]:
        """The data sets of a job, in the order's order."""
        return tuple(self.dataset(dataset_id) for dataset_id in job.order.datasets)

    def release_of(self, job: JobRecord) -> Release:
        """The release that a job's order names. Its signatures were checked when the order was accepted."""
        record = self.state.find(ReleaseRecord, release_key(job.order.release))
        if record is None:
            raise NotFoundError("not_found.job", expected="the job's release")
        return read_document(record.document, Release)

    def require_in_force(self, release: Digest) -> None:
        """Raise `AppraisalError` (appraisal.release) when the release keys have revoked this release."""
        if self.state.find(RevokedReleaseRecord, revoked_release_key(release)) is not None:
            raise AppraisalError("appraisal.release", expected="a release that is in force", seen=f"{release}, revoked")

    @property
    def inventory_document(self) -> Signed | None:
        """The inventory of machines in force, as the release keys signed it."""
        record = self.state.find(InventoryRecord, INVENTORY_KEY)
        return None if record is None else record.document

    @property
    def inventory(self) -> PlatformInventory:
        """What it says."""
        document = self.inventory_document
        return NO_INVENTORY if document is None else read_document(document, PlatformInventory)

    @property
    def platform_rules(self) -> PlatformRules:
        """Which machines this broker accepts at all; what parties' terms say of them is asked for each party."""
        return PlatformRules(self.inventory)

    @cached_property
    def machines(self) -> frozenset[PlatformId]:
        """The machine that this broker runs on, by its own quote, and those that it was handed over from."""
        own, succession = self.platform.evidence(_ANY_DATA).quote, self.state.identity.succession
        return unverified_machine(own) | frozenset(() if succession is None else succession.machines)

    def require_own_machine(self) -> None:
        """Raise `AppraisalError` (appraisal.platform_revoked) when the inventory has revoked a machine of this broker.

        Whoever has its key forges this broker; so it takes and gives no key that a party should miss.
        """
        if self.inventory.revoked:
            require_unrevoked(self.machines, self.inventory)

    def keys_of(self, record: KeyedRecord) -> KeyRing:
        """A record's keys. Raises `PolicyError` (policy.revoked, policy.handover) when they are not here any more."""
        return self.state.keys.open_ring(record.key, require_keys(record))

    def require_unrevoked(self, records: Sequence[DatasetRecord | BundleRecord]) -> None:
        """Raise `PolicyError` (policy.revoked, policy.handover) when the keys of one of them are not here any more."""
        for record in records:
            require_keys(record)

    @property
    def handed_over(self) -> HandoverRecord | None:
        """To whom this broker has handed over, if it has."""
        return self.state.find(HandoverRecord, HANDOVER_KEY)

    def require_not_handed_over(self) -> None:
        """Raise `ConflictError` (conflict.handed_over) for good once another enclave carries on."""
        record = self.handed_over
        if record is not None:
            raise ConflictError("conflict.handed_over", expected=f"a broker of {record.measurement}")


def require_keys(record: KeyedRecord) -> bytes:
    """A record's sealed keys. Raises `PolicyError`: policy.revoked when they were destroyed, policy.handover when they
    stayed with the broker's predecessor, whose successor the party's terms did not accept.
    """
    if record.keys is None:
        raise PolicyError("policy.handover" if record.stayed else "policy.revoked", seen=record.key)
    return record.keys


def _birth(keys: StateKeys, rule: WitnessRule, at: int) -> Restored:
    """A new broker: its keys are made here and never leave but sealed."""
    signing, wrapping = SigningKey.generate(), WrappingKey.generate()
    genesis = Genesis(
        signing_public=signing.party,
        wrapping_public=wrapping.public,
        witnesses=rule.witnesses,
        witness_quorum=rule.quorum,
        created=at,
        tpm_counters=rule.tpm_counters,
    )
    identity = IdentityRecord(
        genesis=genesis,
        signing_seed=keys.seal_seed("signing", signing.seed_for_sealing()),
        wrapping_seed=keys.seal_seed("wrapping", wrapping.seed_for_sealing()),
    )
    empty = DecisionLog(0)
    entry = empty.entry(Decision("genesis", LogSubjects(document=genesis.digest)), at)
    return Restored(identity, empty.extended(entry), at, {}, unstored=(entry.raw,))
