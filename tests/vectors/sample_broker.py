"""One fixed message of each type that goes to, comes from or stays with the key broker (side: library)."""

from typing import Final

from common.identifiers import ChallengeId, GrantId, PlatformId, RoleName
from common.messages import decision_log as d
from common.messages import handover as h
from common.messages import identity as i
from common.messages.admission import Admission, Admit, Challenge, IssueChallenge, Leased, RenewLease
from common.messages.base import Message
from common.messages.broker_door import OfferedCollateral, StartBroker
from common.messages.broker_exchange import BrokerReply, BrokerRequest, ReplyBody, RequestBody
from common.messages.broker_identity import BrokerDescription, DescribeBroker, Genesis, Succession
from common.messages.budget import BudgetBlock, DrawBudget
from common.messages.checkpoint import Checkpoint, CheckpointKept, KeepCheckpoint
from common.messages.collateral import CollateralMark
from common.messages.evidence import TrustLevel
from common.messages.jobs import (
    AcceptOrder,
    AwaitEnd,
    Completed,
    CompleteJob,
    ListMembers,
    Member,
    Members,
    OrderAccepted,
)
from common.messages.launch_binding import LaunchBinding
from common.messages.launch_terms import DatasetTerms, LaunchTerms
from common.messages.ledger import LedgerReply, ReadLedger
from common.messages.log_heads import (
    AwaitHead,
    ConfirmAndAwait,
    Confirmed,
    ConfirmHead,
    HeadHeard,
    HeadSigned,
    LogHead,
    SignHead,
)
from common.messages.peer import PeerWitnessed, WitnessPeer
from common.messages.placement import Placement, QueryEnclaveProof
from common.messages.platform_inventory import InventoryTaken, TakeInventory
from common.messages.reasons import REASON_BYTES, ReadReasons, ReasonsReply
from common.messages.refusal_detail import RefusalDetail, Refused
from common.messages.registration import (
    BundleRetired,
    RegisterBundle,
    RegisterDataset,
    Registered,
    RetireBundle,
    UpdatePolicy,
    UpdateTerms,
)
from common.messages.revocation import Revoke, Revoked, RevokeRelease
from common.messages.serving import ReadServing, ServingShown, SetServing
from common.messages.signed import Signed, sign
from common.messages.tcb_terms import TcbStatus
from common.messages.tokens import AppraiseEvidence, AttestationToken, IssueToken, ShowTokenKey, TokenKey, TokenKeyShown
from common.messages.tpm_counter import ConfirmByCounter, CounterStep, MeetTpm, TpmChallenge, TpmCounter
from common.transparency import log_leaf
from services.attestation import count_record as c
from services.attestation import party_records as p
from services.attestation import records as r
from tests.vectors.sample_documents import (
    BUNDLE,
    CARD,
    COLLATERAL,
    DATASET,
    EVIDENCE,
    GRANT,
    INVENTORY,
    JOB,
    KEY,
    LEDGER_REQUEST,
    MANIFEST,
    MEASURED,
    MODEL,
    MODEL_MANIFEST,
    NONCE,
    OBJECT,
    ORDER,
    PARTY,
    POLICY,
    PROVIDER,
    PUBLIC,
    PUBLICATION,
    REASON,
    REASONS_REQUEST,
    RELEASE,
    RELEASE_REVOCATION,
    RETIREMENT,
    REVOCATION,
    SERVED,
    SERVING,
    STATEMENT,
    TERMS,
    TIME,
    USER,
    A,
    B,
    C,
)

NONCE32: Final = bytes(range(32))
WORD: Final = bytes(64)
TRAINER: Final = RoleName("trainer")
CHALLENGE: Final = ChallengeId.of(A)
HEAD: Final = LogHead(size=5, root=A, epoch=2)
SHORT: Final = Signed(payload_type="note", payload=b"payload", signatures=sign(GRANT, KEY).signatures)
"""A signed document where its content does not matter."""

BINDING: Final = LaunchBinding(
    nonce=NONCE32, broker=A, role=TRAINER, subject=B, slot=1, attempt=2, wrapping_public=PUBLIC, signing_public=USER
)
MARK: Final = CollateralMark(subject=f"tcb-info {A} SGX c0ffee000000", evaluation=17, issued=TIME)
TOKEN_KEY: Final = TokenKey(broker=A, epoch=2, key=USER)
COUNTER: Final = TpmCounter(endorsement_key=C, index=0x01500020, value=7)
STEP: Final = CounterStep(value=9, size=5, root=A, attested=b"attested", signature=b"signature")
GENESIS: Final = Genesis(
    signing_public=PARTY, wrapping_public=PUBLIC, witnesses=(USER,), witness_quorum=2, created=TIME,
    tpm_counters=(COUNTER,),
)  # fmt: skip
SUCCESSION: Final = Succession(
    handovers=1, wrapping_public=PUBLIC, predecessor=MEASURED, release=B, machines=(PlatformId("ab" * 16),)
)
PACKAGE: Final = h.HandoverPackage(genesis=GENESIS, epoch=2, key=b"wrapped")
PROOF: Final = QueryEnclaveProof(
    binding=BINDING, evidence=EVIDENCE, placement=SHORT, manifest=SHORT, query_bytes=4096, answer_bytes=2048
)
PLACEMENT: Final = Placement(
    model_id=MODEL, manifest=B, launch=USER, report_data=WORD, grant_authorities=(PARTY,), release=C,
    trust_level="simulation", witnessed=True, not_after=TIME,
)  # fmt: skip
TERMS_OF_LAUNCH: Final = LaunchTerms(
    job_id=JOB, role=TRAINER, slot=1, attempt=2, order=sign(ORDER, KEY), outer_learning_rate=1.0, outer_momentum=0.0,
    bundle_id=BUNDLE, bundle=PUBLICATION, provider=PROVIDER, provider_report_key=PUBLIC,
    datasets=(DatasetTerms(dataset_id=DATASET, manifest=MANIFEST, report_key=PUBLIC, columns=("image",)),),
    trust_level="simulation", mr_enclaves={"broker": MEASURED}, lease_seconds=900,
)  # fmt: skip
CHECKPOINT: Final = Checkpoint(attempt=1, tick=20, object=OBJECT)
SERVER_TERMS: Final = TERMS_OF_LAUNCH.model_copy(
    update={"role": RoleName("paramserver"), "slot": 0, "checkpoint": CHECKPOINT}
)
LAUNCH: Final = r.LaunchRecord(
    role=TRAINER, slot=1, attempt=2, signing_public=USER, mr_enclave=MEASURED, not_after=0,
    appraised=r.AppraisedMachine(trust_level=TrustLevel.SIMULATION, tcb_status=TcbStatus.UP_TO_DATE, at=TIME),
)  # fmt: skip


TREE_HEAD: Final = d.TreeHead(broker=A, head=HEAD, time=TIME, refusals_counted=3)
ENTRY: Final = d.LogEntry(
    number=4, epoch=2, time=TIME, salt=bytes(16), decision="admit-launch", outcome="released",
    subjects=d.LogSubjects(
        parties=(PARTY, USER), datasets=(DATASET,), policies=(B,), bundle=BUNDLE, terms=C, job=JOB, model=MODEL,
        release=C, role=TRAINER, slot=1, attempt=2, launch=USER, measurement=MEASURED, evidence=A,
    ),
)  # fmt: skip
REFUSED_ENTRY: Final = d.LogEntry(
    number=5, epoch=2, time=TIME, salt=bytes(16), decision="draw-budget", outcome="refused", code="policy.budget",
    subjects=d.LogSubjects(parties=(PARTY,), signers=(PARTY,), document=C, grant=GrantId.of(C)),
)  # fmt: skip


def request_bodies() -> list[RequestBody]:
    """What the broker can be asked."""
    return [
        DescribeBroker(),
        RegisterDataset(manifest=sign(MANIFEST, KEY), policy=b"wrapped", data_key=b"wrapped"),
        UpdatePolicy(dataset_id=DATASET, digest=B, policy=b"wrapped"),
        RegisterBundle(publication=sign(PUBLICATION, KEY), terms=b"wrapped", bundle_key=b"wrapped"),
        UpdateTerms(bundle_id=BUNDLE, digest=B, terms=b"wrapped"),
        AcceptOrder(order=sign(ORDER, KEY), release=sign(RELEASE, KEY)),
        IssueChallenge(role=TRAINER, job_id=JOB, slot=1),
        Admit(challenge_id=CHALLENGE, binding=BINDING, evidence=EVIDENCE),
        IssueChallenge(role=TRAINER, job_id=JOB, slot=1, renews=2),
        RenewLease(challenge_id=CHALLENGE, binding=BINDING, evidence=EVIDENCE),
        ListMembers(job_id=JOB),
        AwaitEnd(job_id=JOB),
        KeepCheckpoint(job_id=JOB, checkpoint=CHECKPOINT, statement=WORD),
        CompleteJob(job_id=JOB, outcome="finished", manifest=sign(MODEL_MANIFEST, KEY), statement=WORD),
        DrawBudget(
            model_id=MODEL, grant=sign(GRANT, KEY), answers=16, classes=10, row_bytes=40, launch=USER, statement=WORD
        ),
        Revoke(revocation=sign(REVOCATION, KEY)),
        RetireBundle(retirement=sign(RETIREMENT, KEY)),
        SetServing(record=sign(SERVING, KEY)),
        ReadServing(served=SERVED),
        RevokeRelease(revocation=sign(RELEASE_REVOCATION, KEY)),
        TakeInventory(inventory=sign(INVENTORY, KEY)),
        i.BindIdentity(card=sign(CARD, KEY)),
        i.RecoverIdentity(statement=sign(STATEMENT, KEY)),
        ReadLedger(request=sign(LEDGER_REQUEST, KEY)),
        ReadReasons(request=sign(REASONS_REQUEST, KEY)),
        ConfirmHead(witness=USER, boot_nonce=NONCE32, head=HEAD, signature=WORD),
        ConfirmHead(witness=USER, boot_nonce=NONCE32, head=HEAD, signature=WORD, collateral=(MARK,)),
        MeetTpm(endorsement_key=b"public area", attestation_key=b"public area"),
        ConfirmByCounter(endorsement_key=C, attestation_key=b"public area", activation=NONCE32, steps=(STEP,)),
        WitnessPeer(description=SHORT, proof=(NONCE32,)),
        SignHead(),
        AwaitHead(known=7),
        ConfirmAndAwait(known=7, word=ConfirmHead(witness=USER, boot_nonce=NONCE32, head=HEAD, signature=WORD)),
        IssueToken(job_id=JOB, launch=USER),
        AppraiseEvidence(challenge_id=CHALLENGE, binding=BINDING, evidence=EVIDENCE),
        ShowTokenKey(),
    ]


def reply_bodies() -> list[ReplyBody]:
    """What it answers."""
    member = Member(role=TRAINER, slot=1, attempt=2, signing_public=USER, mr_enclave=MEASURED)
    return [
        BrokerDescription(genesis=GENESIS, evidence=EVIDENCE, frozen=True, boot_nonce=NONCE32),
        BrokerDescription(
            genesis=GENESIS,
            evidence=EVIDENCE,
            frozen=True,
            boot_nonce=NONCE32,
            succession=SUCCESSION,
            inventory=SHORT,
            collateral=(MARK,),
        ),
        Registered(dataset_id=DATASET),
        OrderAccepted(job_id=JOB, trainers=2, trust_level="simulation"),
        Challenge(challenge_id=CHALLENGE, nonce=NONCE32, broker=A, subject=B, attempt=2, not_after=TIME),
        Admission(keys=b"wrapped", terms=b"wrapped", placement=sign(PLACEMENT, KEY)),
        Leased(seconds=180),
        Members(job_id=JOB, state="running", members=(member,)),
        CheckpointKept(job_id=JOB),
        Completed(job_id=JOB, model_id=MODEL),
        BudgetBlock(grant_id=GrantId.of(C), answers=16, remaining=84, detail="label"),
        Revoked(identifier=JOB, leases_end=TIME),
        InventoryTaken(number=2, leases_end=TIME),
        BundleRetired(bundle_id=BUNDLE, document=C),
        ServingShown(record=sign(SERVING, KEY)),
        i.IdentityBound(party=PARTY, recovery=USER),
        LedgerReply(sealed=b"wrapped"),
        ReasonsReply(sealed=b"wrapped"),
        Confirmed(frozen=False),
        TpmChallenge(credential=b"credential", secret=b"secret"),
        PeerWitnessed(size=5, root=A, epoch=2, signature=WORD, collateral=(MARK,)),
        HeadSigned(head=sign(TREE_HEAD, KEY), collateral=B),
        HeadHeard(head=sign(TREE_HEAD, KEY), collateral=B, frozen=True),
        AttestationToken(token="header.claims.signature"),
        TokenKeyShown(document=sign(TOKEN_KEY, KEY)),
        Refused(
            code="policy.provider",
            detail=b"wrapped",
            others=(b"wrapped",),
            shown=RefusalDetail(expected=None, seen="TCB OutOfDate"),
        ),
    ]


def broker_messages() -> list[Message]:
    """Requests and replies as they travel, and what is signed beside them."""
    return [
        *(BrokerRequest(nonce=NONCE32, body=body) for body in request_bodies()),
        *(BrokerReply(request=A, nonce=NONCE32, head=HEAD, time=TIME, body=body) for body in reply_bodies()),
        GENESIS,
        PLACEMENT,
        TOKEN_KEY,
        TERMS_OF_LAUNCH,
        SERVER_TERMS,
        PROOF,
        StartBroker(witnesses=(USER,), witness_quorum=2, tpm_counters=(COUNTER,), peers=(B,)),
        OfferedCollateral(request=b"a request", collateral=COLLATERAL),
        h.AskHandover(
            offer=h.HandoverOffer(challenge_id=CHALLENGE, nonce=NONCE32, genesis=GENESIS, epoch=2, not_after=TIME)
        ),
        h.HeirAsked(sealed_key=b"blob", binding=BINDING, evidence=EVIDENCE),
        h.GiveHandover(challenge_id=CHALLENGE, binding=BINDING, evidence=EVIDENCE, release=SHORT, leave_behind=True),
        h.HandoverGiven(package=PACKAGE, evidence=EVIDENCE),
        h.TakeHandover(
            given=h.HandoverGiven(package=PACKAGE, evidence=EVIDENCE), sealed_key=b"blob", release=SHORT,
            collateral=COLLATERAL,
        ),
    ]  # fmt: skip


TOKEN_ENTRY: Final = d.LogEntry(
    number=6, epoch=2, time=TIME, salt=bytes(16), decision="issue-token", outcome="recorded",
    subjects=d.LogSubjects(
        parties=(PARTY,), job=JOB, role=TRAINER, slot=1, attempt=2, launch=USER, measurement=MEASURED, document=C,
        token_key="kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
    ),
)  # fmt: skip
FURTHER_ENTRY: Final = d.LogEntry(
    number=7, epoch=2, time=TIME, salt=bytes(16), decision="other-request", outcome="refused",
    code="authenticity.signature", subjects=d.LogSubjects(), further=d.Further(count=17, first=TIME - 60, last=TIME),
)  # fmt: skip


RECOVERED_ENTRY: Final = d.LogEntry(
    number=6, epoch=1, time=TIME, salt=bytes(16), decision="recover-dataset", outcome="recorded",
    subjects=d.LogSubjects(
        parties=(PARTY, USER), signers=(USER,), document=C, datasets=(DATASET,), policies=(B,), predecessor=A,
        continues=HEAD,
    ),
)  # fmt: skip


def log_messages() -> list[Message]:
    """Entries of the decision log, and how they are served."""
    items = (d.LogItem(leaf=log_leaf(ENTRY.encode()), entry=ENTRY.encode()), d.LogItem(leaf=b"leaf"))
    return [
        ENTRY,
        REFUSED_ENTRY,
        RECOVERED_ENTRY,
        TOKEN_ENTRY,
        FURTHER_ENTRY,
        TREE_HEAD,
        d.LogPage(first=4, size=6, items=items),
        d.InclusionProof(number=4, size=6, path=(NONCE32, bytes(32))),
        d.ConsistencyProof(earlier=4, size=6, path=(NONCE32,)),
        d.NextHead(reply=b"signed reply", proof=d.ConsistencyProof(earlier=4, size=6, path=(NONCE32,))),
        d.NextHead(reply=b"signed reply"),
        d.AuditBundle(head=sign(TREE_HEAD, KEY), items=items),
    ]


def state_entries() -> list[Message]:
    """One entry of the sealed state for each record."""
    sealed: list[r.Record] = [
        r.DatasetRecord(dataset_id=DATASET, manifest_document=sign(MANIFEST, KEY), policy_document=sign(POLICY, KEY),
                        keys=b"blob"),
        r.BundleRecord(bundle_id=BUNDLE, publication_document=sign(PUBLICATION, KEY), terms_document=sign(TERMS, KEY),
                       keys=None),
        r.ReleaseRecord(document=sign(RELEASE, KEY)),
        r.JobRecord(job_id=JOB, order_document=sign(ORDER, KEY), policies=(sign(POLICY, KEY),),
                    outer_learning_rate=1.0, outer_momentum=0.0, trust_level=TrustLevel.SIMULATION, state="running",
                    keys=b"blob", launches=(LAUNCH,), manifest_document=None, checkpoint=CHECKPOINT,
                    terms=sign(TERMS, KEY)),
        r.ModelRecord(model_id=MODEL, job_id=JOB),
        r.UsedNonceRecord(owner=PARTY, nonce=NONCE),
        r.TallyRecord(name=f"jobs {DATASET}", count=3),
        r.RevokedGrantRecord(grant_id=GrantId.of(C), party=PARTY),
        r.InventoryRecord(document=sign(INVENTORY, KEY)),
        r.RetiredBundleRecord(bundle_id=BUNDLE, document=sign(RETIREMENT, KEY)),
        r.ServedNameRecord(served=SERVED, document=sign(SERVING, KEY)),
        r.RevokedReleaseRecord(release=B, document=sign(RELEASE_REVOCATION, KEY)),
        r.CollateralRecord(mark=MARK),
        p.PartyRecord(party=PARTY, card=sign(CARD, KEY), state="replaced", successor=USER,
                      statement=sign(STATEMENT, KEY)),
        p.RecoveryKeyRecord(recovery=USER),
        p.AcceptedRecord(name=f"{DATASET} 1", number=4, document=sign(POLICY, KEY)),
        r.PeerRecord(broker=B, head=HEAD, collateral=(MARK,)),
        c.CountRecord(place=3, decision="issue-token", code=None, subjects=TOKEN_ENTRY.subjects,
                      further=d.Further(count=17, first=TIME - 60, last=TIME)),
        r.ReasonRecord(reader=PARTY, place=2, reason=REASON.encode().ljust(REASON_BYTES)),
        r.HandoverRecord(epoch=2, wrapping_public=PUBLIC, measurement=MEASURED, release=B),
    ]  # fmt: skip
    identity = r.IdentityRecord(genesis=GENESIS, signing_seed=b"blob", wrapping_seed=b"blob")
    return [
        r.StateEntry(epoch=2, time=TIME, log_size=5, log_peaks=(bytes(32), NONCE32), identity=identity, records=()),
        *(
            r.StateEntry(epoch=2, time=TIME, log_size=1, log_peaks=(NONCE32,), identity=None, records=(record,))
            for record in sealed
        ),
    ]
