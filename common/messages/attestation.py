"""What an enclave and the key broker say to each other, and what a user checks of it (side: library).

The host carries these; every broker answer is a `BrokerReply` signed by the broker's quoted key over the request's
digest, its nonce and the log head, so the host can drop one but neither forge nor reuse one.
"""

import hashlib
from typing import Annotated, Literal

from pydantic import Field

from common.bundle import MAX_ROW_BYTES, ColumnName
from common.crypto.digests import sha256, transcript
from common.crypto.labels import BROKER_GENESIS, BROKER_SUCCESSION, REPORT_DATA
from common.identifiers import (
    BundleId,
    ChallengeId,
    CodeMeasurement,
    DatasetId,
    Digest,
    GrantId,
    JobId,
    ModelId,
    PartyKey,
    PlatformId,
    RoleName,
)
from common.messages.answer_bounds import NO_ANSWER_BOUNDS, AnswerBounds
from common.messages.base import Count, Message, Seconds
from common.messages.bounds import tightest
from common.messages.checkpoint import Checkpoint, CheckpointKept, KeepCheckpoint
from common.messages.evidence import Evidence
from common.messages.identity import BindIdentity, IdentityBound, RecoverIdentity
from common.messages.objects import BundlePublication, DatasetManifest
from common.messages.peer import PeerWitnessed, WitnessPeer
from common.messages.policy import AnswerDetail, PublicKey, RefusalReport, TrustLevelName
from common.messages.recovery import RecoverDataset, Recovered, SharesRefused
from common.messages.refusal_detail import RefusalDetail
from common.messages.sandbox_bounds import SandboxBounds
from common.messages.signed import Signed
from common.messages.tpm_counter import ConfirmByCounter, MeetTpm, TpmChallenge, TpmCounter

Nonce = Annotated[bytes, Field(min_length=32, max_length=32)]
Signature64 = Annotated[bytes, Field(min_length=64, max_length=64)]

NO_SUBJECT = Digest("0" * 64)
"""The subject of a binding that belongs to no order or model: the quote of a broker that was never handed over."""

MAX_MACHINES = 256
"""Names of machines that a broker may have been handed over from: a machine has two at most."""


class LaunchBinding(Message):
    """What `report_data` of a launch's quote binds, all 64 bytes of it.

    `subject` is the order's digest (trainer, paramserver) or the model manifest's (query); `broker` is the genesis
    digest of the broker whose challenge `nonce` answers.
    """

    nonce: Nonce
    broker: Digest
    role: RoleName
    subject: Digest
    slot: Count
    attempt: Count
    wrapping_public: PublicKey
    signing_public: PartyKey

    def report_data(self) -> bytes:
        """SHA-512 over the length-prefixed fields (64 bytes)."""
        return hashlib.sha512(
            transcript(
                REPORT_DATA,
                self.nonce,
                self.broker.raw(),
                self.role.encode(),
                self.subject.raw(),
                self.slot.to_bytes(8, "big"),
                self.attempt.to_bytes(8, "big"),
                self.wrapping_public,
                self.signing_public.raw(),
            )
        ).digest()


class Genesis(Message):
    """The record with which a broker's life begins: its keys and the witnesses that guard its freshness.

    The quorum counts `witnesses` and `tpm_counters` alike. With neither, revocations, budgets and single-use orders
    hold only between restarts, and every result says so.
    """

    type: Literal["broker-genesis"] = "broker-genesis"
    version: Literal[1] = 1
    signing_public: PartyKey
    wrapping_public: PublicKey
    witnesses: Annotated[tuple[PartyKey, ...], Field(max_length=32)]
    witness_quorum: Annotated[int, Field(ge=0, le=32)]
    created: Seconds
    tpm_counters: Annotated[tuple[TpmCounter, ...], Field(max_length=8)] = ()

    @property
    def digest(self) -> Digest:
        """The broker's lasting name."""
        return sha256(transcript(BROKER_GENESIS, self.encode()))


class Succession(Message):
    """A broker that runs on in another enclave than the one that it was born in (common/messages/handover).

    It keeps its genesis, signing key and log. Its wrapping key is new, so what was wrapped to an earlier enclave opens
    only there. `predecessor` measured the enclave that handed over last, `release` names the one it accepted then.
    `machines` (PPIDs, platform instance ids) are those that it was handed over from, each as its heir verified it: had
    one of them been forged, whoever forged it would know the signing key.
    """

    handovers: Annotated[int, Field(ge=1, le=1 << 20)]
    wrapping_public: PublicKey
    predecessor: CodeMeasurement
    release: Digest
    machines: Annotated[tuple[PlatformId, ...], Field(max_length=MAX_MACHINES)] = ()

    @property
    def digest(self) -> Digest:
        """The subject of the broker's own quotes, once it was handed over."""
        return sha256(transcript(BROKER_SUCCESSION, self.encode()))


class LogHead(Message):
    """Head of the broker's append-only log of decisions (RFC 9162 Merkle root), in one epoch of its life.

    The epoch grows by one at every start of the broker.
    """

    size: Count
    root: Digest
    epoch: Count


def current_wrapping_key(genesis: Genesis, succession: Succession | None) -> bytes:
    """The broker's public wrapping key: that of its birth, or of its last handover."""
    return genesis.wrapping_public if succession is None else succession.wrapping_public


# -- requests to the broker (body of BrokerRequest) -------------------------------------------------------------------


class DescribeBroker(Message):
    """Who are you, freshly quoted? Answer: BrokerDescription."""

    type: Literal["describe-broker"] = "describe-broker"


class RegisterDataset(Message):
    """Answer: Registered. `policy` is the Signed DataPolicy wrapped to the broker, `data_key` a key ring {data}.

    info of `policy`: `policy_info(...)`, info of `data_key`: `data_key_info(...)` in common/key_binding.
    """

    type: Literal["register-dataset"] = "register-dataset"
    manifest: Signed
    policy: Annotated[bytes, Field(max_length=1 << 18)]
    data_key: Annotated[bytes, Field(max_length=4096)]


class UpdatePolicy(Message):
    """Answer: Registered. A later version of a data set's policy, chained to the one before, wrapped to the broker.

    `digest` is that of the new version, which the info of its wrapping names.
    """

    type: Literal["update-policy"] = "update-policy"
    dataset_id: DatasetId
    digest: Digest
    policy: Annotated[bytes, Field(max_length=1 << 18)]


class RegisterBundle(Message):
    """Answer: Registered. `terms` is the Signed BundleTerms wrapped to the broker, `bundle_key` a key ring {bundle}."""

    type: Literal["register-bundle"] = "register-bundle"
    publication: Signed
    terms: Annotated[bytes, Field(max_length=1 << 18)]
    bundle_key: Annotated[bytes, Field(max_length=4096)]


class UpdateTerms(Message):
    """Answer: Registered. A later version of a bundle's terms, as UpdatePolicy brings one of a data set's policy."""

    type: Literal["update-terms"] = "update-terms"
    bundle_id: BundleId
    digest: Digest
    terms: Annotated[bytes, Field(max_length=1 << 18)]


class AcceptOrder(Message):
    """Answer: OrderAccepted. The order is judged under every party's newest terms and then used up."""

    type: Literal["accept-order"] = "accept-order"
    order: Signed
    release: Signed


class IssueChallenge(Message):
    """Answer: Challenge. Asked by a launch for (job, role, slot), or for a model's query enclave (slot 0).

    `renews` is the attempt of a live launch that will renew its lease; null: of one that will be admitted.
    """

    type: Literal["issue-challenge"] = "issue-challenge"
    role: RoleName
    job_id: JobId
    slot: Count
    renews: Count | None = None


class Admit(Message):
    """Answer: Admission. Spends the challenge, whatever the outcome."""

    type: Literal["admit"] = "admit"
    challenge_id: ChallengeId
    binding: LaunchBinding
    evidence: Evidence


class RenewLease(Message):
    """Answer: Leased. A live launch shows a fresh quote over its keys. Spends the challenge, whatever the outcome."""

    type: Literal["renew-lease"] = "renew-lease"
    challenge_id: ChallengeId
    binding: LaunchBinding
    evidence: Evidence


class ListMembers(Message):
    """Answer: Members. Asked by anybody; the answer is signed and says nothing secret."""

    type: Literal["list-members"] = "list-members"
    job_id: JobId


class AwaitEnd(Message):
    """Answer: Members, as soon as the job runs no more, or after a moment all the same. For parameter servers."""

    type: Literal["await-end"] = "await-end"
    job_id: JobId


class CompleteJob(Message):
    """Answer: Completed. The parameter server's last word: a Signed ModelManifest, or none and the outcome.

    `statement` is the launch key's signature over LAUNCH_STATEMENT, job id, outcome, manifest digest or nothing.
    """

    type: Literal["complete-job"] = "complete-job"
    job_id: JobId
    outcome: Literal["finished", "failed"]
    manifest: Signed | None
    statement: Signature64


class DrawBudget(Message):
    """Answer: BudgetBlock. A placed query enclave draws answers for one grant; signed with its launch key.

    By 0 answers it hears whether what it drew before may still be given: judged as any draw is, and nothing charged.
    `classes` and `row_bytes` are the size of a row's answer, as the enclave knows it from the bundle: what an answer is
    charged in bits depends on them (common/leakage).
    """

    type: Literal["draw-budget"] = "draw-budget"
    model_id: ModelId
    grant: Signed
    answers: Annotated[int, Field(ge=0, le=1 << 20)]
    classes: Annotated[int, Field(ge=1, le=MAX_ROW_BYTES)]
    row_bytes: Annotated[int, Field(ge=1, le=MAX_ROW_BYTES)]
    launch: PartyKey
    statement: Signature64


class Revoke(Message):
    """Answer: Revoked."""

    type: Literal["revoke"] = "revoke"
    revocation: Signed


class RetireBundle(Message):
    """Answer: BundleRetired. A Signed BundleRetirement by the bundle's provider."""

    type: Literal["retire-bundle"] = "retire-bundle"
    retirement: Signed


class RevokeRelease(Message):
    """Answer: Revoked, whose identifier is the release's digest. A Signed ReleaseRevocation."""

    type: Literal["revoke-release"] = "revoke-release"
    revocation: Signed


class TakeInventory(Message):
    """Answer: InventoryTaken. A Signed PlatformInventory."""

    type: Literal["take-inventory"] = "take-inventory"
    inventory: Signed


class ReadLedger(Message):
    """Answer: LedgerReply. `request` is a LedgerRequest (common/messages/ledger), signed by the data set's owner."""

    type: Literal["read-ledger"] = "read-ledger"
    request: Signed


class ReadReasons(Message):
    """Answer: ReasonsReply. A Signed ReasonsRequest (common/messages/reasons)."""

    type: Literal["read-reasons"] = "read-reasons"
    request: Signed


class ConfirmHead(Message):
    """Answer: Confirmed. A witness signs LOG_HEAD_SEEN over genesis digest, boot nonce, size, root and epoch."""

    type: Literal["confirm-head"] = "confirm-head"
    witness: PartyKey
    boot_nonce: Nonce
    head: LogHead
    signature: Signature64


class IssueToken(Message):
    """Answer: AttestationToken, over the request's nonce. `launch` is the signing key of a launch of the job."""

    type: Literal["issue-token"] = "issue-token"
    job_id: JobId
    launch: PartyKey


class AppraiseEvidence(Message):
    """Answer: AttestationToken, over the request's nonce. Like Admit, but nobody is admitted and no key leaves."""

    type: Literal["appraise-evidence"] = "appraise-evidence"
    challenge_id: ChallengeId
    binding: LaunchBinding
    evidence: Evidence


class ShowTokenKey(Message):
    """Answer: TokenKeyShown."""

    type: Literal["show-token-key"] = "show-token-key"


class AwaitHead(Message):
    """Answer: HeadSigned, as soon as the log is longer than `known`, or after a moment all the same. For witnesses."""

    type: Literal["await-head"] = "await-head"
    known: Count


class SignHead(Message):
    """Answer: HeadSigned. Asked by anybody; the answer is for whoever verifies the log offline."""

    type: Literal["sign-head"] = "sign-head"


RequestBody = Annotated[
    DescribeBroker
    | RegisterDataset
    | UpdatePolicy
    | RegisterBundle
    | UpdateTerms
    | AcceptOrder
    | IssueChallenge
    | Admit
    | RenewLease
    | ListMembers
    | AwaitEnd
    | KeepCheckpoint
    | CompleteJob
    | DrawBudget
    | Revoke
    | RetireBundle
    | RevokeRelease
    | TakeInventory
    | BindIdentity
    | RecoverIdentity
    | ReadLedger
    | ReadReasons
    | RecoverDataset
    | ConfirmHead
    | MeetTpm
    | ConfirmByCounter
    | WitnessPeer
    | SignHead
    | AwaitHead
    | IssueToken
    | AppraiseEvidence
    | ShowTokenKey,
    Field(discriminator="type"),
]


class BrokerRequest(Message):
    """One question to the broker; `nonce` is fresh from whoever asks."""

    type: Literal["broker-request"] = "broker-request"
    version: Literal[1] = 1
    nonce: Nonce
    body: RequestBody


# -- answers of the broker (body of BrokerReply) ----------------------------------------------------------------------


class BrokerDescription(Message):
    """The broker's genesis, freshness and fresh quote. The quote binds (role broker, NO_SUBJECT, slot 0, attempt =
    epoch, the request's nonce, its two keys). While `frozen`, nothing is released; `boot_nonce` is for the witnesses.
    After a handover its wrapping key is the one of `succession`, else the genesis', and its subject that one's digest.
    `inventory` is the signed inventory of machines that is in force here (common/messages/platform_inventory).
    """

    type: Literal["broker-description"] = "broker-description"
    genesis: Genesis
    evidence: Evidence
    frozen: bool
    boot_nonce: Nonce
    succession: Succession | None = None
    inventory: Signed | None = None

    @property
    def wrapping_public(self) -> bytes:
        """What keys, policies and orders are wrapped to now."""
        return current_wrapping_key(self.genesis, self.succession)


class Registered(Message):
    """A data set or bundle is known to the broker."""

    type: Literal["registered"] = "registered"
    dataset_id: DatasetId | None = None
    bundle_id: BundleId | None = None


class OrderAccepted(Message):
    """The order is used up; its job may run until `not_after`. Accepting it again gives the same answer."""

    type: Literal["order-accepted"] = "order-accepted"
    job_id: JobId
    trainers: Count
    trust_level: TrustLevelName


class Challenge(Message):
    """A nonce for one launch, single-use, of this broker instance; `attempt` is what this launch would be."""

    type: Literal["challenge"] = "challenge"
    challenge_id: ChallengeId
    nonce: Nonce
    broker: Digest
    subject: Digest
    attempt: Count
    not_after: Seconds


class DatasetTerms(Message):
    """What a member reads of one data set: its objects and the owner that reports are sealed to.

    `columns` None: all of them. A trainer drops others as soon as it has opened the data. Provider code that meets the
    data, or a model of it, is kept within `sandbox_bounds`. `refusal_report`: what its owner lets the provider be
    told at the job's end. `successors` are the keys that the owner's identity has had since the manifest was signed, in
    order.
    """

    dataset_id: DatasetId
    manifest: DatasetManifest
    report_key: PublicKey
    columns: tuple[ColumnName, ...] | None = None
    sandbox_bounds: SandboxBounds = SandboxBounds()
    refusal_report: RefusalReport = "none"
    successors: tuple[PartyKey, ...] = ()

    @property
    def owner_keys(self) -> tuple[PartyKey, ...]:
        """All keys of the owner's identity; the last is whom reports are sealed to."""
        return (self.manifest.owner, *self.successors)


class LaunchTerms(Message):
    """What an admitted launch may do. Comes inside the admission, wrapped to the launch with its keys.

    `provider` is the key that the bundle's provider has now, and whom its report is sealed to. `checkpoint`: where a
    parameter server goes on; None at the beginning.
    """

    type: Literal["launch-terms"] = "launch-terms"
    version: Literal[1] = 1
    job_id: JobId
    role: RoleName
    slot: Count
    attempt: Count
    order: Signed
    outer_learning_rate: float
    outer_momentum: float
    bundle_id: BundleId
    bundle: BundlePublication
    provider: PartyKey
    provider_report_key: PublicKey
    datasets: tuple[DatasetTerms, ...]
    trust_level: TrustLevelName
    mr_enclaves: dict[str, CodeMeasurement]
    model_manifest: Signed | None = None
    checkpoint: Checkpoint | None = None
    lease_seconds: Count

    @property
    def sandbox_bounds(self) -> SandboxBounds:
        """What provider code may use up under all owners' terms."""
        return tightest(SandboxBounds, (data.sandbox_bounds for data in self.datasets))

    @property
    def refusal_report(self) -> RefusalReport:
        """What the provider is told at the job's end: what every owner lets it be told."""
        return "classes" if all(data.refusal_report == "classes" for data in self.datasets) else "none"


class Admission(Message):
    """Keys and terms for one launch: `keys` is a key ring, `terms` a LaunchTerms, both wrapped with info =
    `key_grant_info(report_data)`. Trainer: {job, seed, bundle, data/<dataset id>...}; paramserver: {job, seed, bundle,
    model}; query: {bundle, model}. `placement` is the Signed Placement of a query enclave.
    """

    type: Literal["admission"] = "admission"
    keys: Annotated[bytes, Field(max_length=65536)]
    terms: Annotated[bytes, Field(max_length=1 << 19)]
    placement: Signed | None = None


class Leased(Message):
    """The launch may use its keys for so long, counted from before it asked."""

    type: Literal["leased"] = "leased"
    seconds: Count


class Member(Message):
    """The one live launch of a slot. `mr_enclave` is its measurement: MRENCLAVE, or MRTD of a trust domain."""

    role: RoleName
    slot: Count
    attempt: Count
    signing_public: PartyKey
    mr_enclave: CodeMeasurement


class Members(Message):
    """The live launches of a job, newest attempt of each slot only; a superseded one is fenced from then on.

    `model_revoked`: it has made a model, whose key is destroyed.
    """

    type: Literal["members"] = "members"
    job_id: JobId
    state: Literal["running", "finished", "failed", "cancelled"]
    members: tuple[Member, ...]
    model_revoked: bool = False


class Completed(Message):
    """The job is over and its model, if any, is recorded."""

    type: Literal["completed"] = "completed"
    job_id: JobId
    model_id: ModelId | None


class Placement(Message):
    """The broker's word that this query enclave launch serves this model, under these grant authorities.

    Signed by the broker's signing key. A client accepts it with the launch's quote and binding alone.
    """

    type: Literal["placement"] = "placement"
    version: Literal[1] = 1
    model_id: ModelId
    manifest: Digest
    launch: PartyKey
    report_data: Annotated[bytes, Field(min_length=64, max_length=64)]
    grant_authorities: tuple[PartyKey, ...]
    release: Digest
    trust_level: TrustLevelName
    witnessed: bool
    not_after: Seconds


class BudgetBlock(Message):
    """Answers that a query enclave may give under one grant; spent here even if the enclave dies.

    `detail` and `bounds` are the tightest of the grant, every owner's policy and the provider's terms: these answers
    tell no more.
    """

    type: Literal["budget-block"] = "budget-block"
    grant_id: GrantId
    answers: Count
    remaining: Count
    detail: AnswerDetail
    bounds: AnswerBounds = NO_ANSWER_BOUNDS


class Revoked(Message):
    """Done and logged. After `leases_end` no enclave holds what was revoked, however its host behaves.

    It is told by the broker's clock, which the host can hold back; what it is more than the reply's time counts from
    when the reply was there.
    """

    type: Literal["revoked"] = "revoked"
    identifier: str
    leases_end: Seconds


class InventoryTaken(Message):
    """In force for every admission and renewal from now on; after `leases_end` what it revoked holds no key."""

    type: Literal["inventory-taken"] = "inventory-taken"
    number: Count
    leases_end: Seconds


class BundleRetired(Message):
    """Done and logged: no order that names the bundle is accepted any more. What was accepted goes on.

    `document` is the digest of the retirement that counts: the first one.
    """

    type: Literal["bundle-retired"] = "bundle-retired"
    bundle_id: BundleId
    document: Digest


class LedgerReply(Message):
    """A Ledger, wrapped to the owner's report key (info: `ledger_info`), at one size."""

    type: Literal["ledger-reply"] = "ledger-reply"
    sealed: Annotated[bytes, Field(max_length=8192)]


class ReasonsReply(Message):
    """RefusalReasons, wrapped to the key that the request names (info: `reasons_info`), at one size."""

    type: Literal["reasons-reply"] = "reasons-reply"
    sealed: Annotated[bytes, Field(max_length=1 << 18)]


class Confirmed(Message):
    """The witness's word is taken; `frozen` tells whether the quorum is still missing."""

    type: Literal["confirmed"] = "confirmed"
    frozen: bool


class AttestationToken(Message):
    """An attestation result: a JWT in the EAR form (docs/attestation.md)."""

    type: Literal["attestation-token"] = "attestation-token"
    token: Annotated[str, Field(max_length=8192)]


class TokenKey(Message):
    """Which key signs tokens in this epoch of the broker. Signed by the broker's signing key."""

    type: Literal["token-key"] = "token-key"
    version: Literal[1] = 1
    broker: Digest
    epoch: Count
    key: PartyKey


class TokenKeyShown(Message):
    """The Signed TokenKey."""

    type: Literal["token-key-shown"] = "token-key-shown"
    document: Signed


class Refused(Message):
    """A public code; expected and seen are wrapped to the party entitled to them (`WRAP_REFUSAL_DETAIL`), if any.

    `others`: where several parties' terms were judged, what each of the rest is told, at the same size. `shown`: of
    things that asker and host have in the clear, a quote with its collateral and release, or a grant.
    """

    type: Literal["refused"] = "refused"
    code: Annotated[str, Field(max_length=64)]
    detail: Annotated[bytes, Field(max_length=8192)] | None = None
    others: Annotated[tuple[Annotated[bytes, Field(max_length=8192)], ...], Field(max_length=64)] = ()
    shown: RefusalDetail | None = None


class HeadSigned(Message):
    """A Signed TreeHead (common/messages/decision_log)."""

    type: Literal["head-signed"] = "head-signed"
    head: Signed


ReplyBody = Annotated[
    BrokerDescription
    | Registered
    | OrderAccepted
    | Challenge
    | Admission
    | Leased
    | Members
    | CheckpointKept
    | Completed
    | BudgetBlock
    | Revoked
    | InventoryTaken
    | BundleRetired
    | IdentityBound
    | LedgerReply
    | ReasonsReply
    | Recovered
    | SharesRefused
    | Confirmed
    | TpmChallenge
    | PeerWitnessed
    | HeadSigned
    | AttestationToken
    | TokenKeyShown
    | Refused,
    Field(discriminator="type"),
]


class BrokerReply(Message):
    """One answer. Signed as a document (common/messages/signed) by the broker's signing key."""

    type: Literal["broker-reply"] = "broker-reply"
    version: Literal[1] = 1
    request: Digest
    nonce: Nonce
    head: LogHead
    time: Seconds
    body: ReplyBody


class QueryEnclaveProof(Message):
    """All that a user needs before sealing a query: the launch's binding and quote, placement, manifest, release."""

    type: Literal["query-enclave-proof"] = "query-enclave-proof"
    version: Literal[1] = 1
    binding: LaunchBinding
    evidence: Evidence
    placement: Signed
    manifest: Signed
    query_bytes: Annotated[int, Field(ge=1, le=32 << 20)]
    answer_bytes: Annotated[int, Field(ge=1, le=32 << 20)]
