"""One fixed message of each type that goes to, comes from or stays with the key broker (side: library)."""

from typing import Final

from common.identifiers import ChallengeId, GrantId, RoleName
from common.messages import attestation as a
from common.messages.base import Message
from common.messages.broker_door import StartBroker
from common.messages.evidence import TrustLevel
from common.messages.signed import Signed, sign
from services.attestation import records as r
from tests.vectors.sample_documents import (
    BUNDLE,
    DATASET,
    EVIDENCE,
    GRANT,
    JOB,
    KEY,
    MANIFEST,
    MEASURED,
    MODEL,
    MODEL_MANIFEST,
    NONCE,
    ORDER,
    PARTY,
    POLICY,
    PUBLIC,
    PUBLICATION,
    RELEASE,
    RELEASE_REVOCATION,
    REVOCATION,
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
HEAD: Final = a.LogHead(size=5, root=A, epoch=2)
SHORT: Final = Signed(payload_type="note", payload=b"payload", signatures=sign(GRANT, KEY).signatures)
"""A signed document where its content does not matter."""

BINDING: Final = a.LaunchBinding(
    nonce=NONCE32, broker=A, role=TRAINER, subject=B, slot=1, attempt=2, wrapping_public=PUBLIC, signing_public=USER
)
GENESIS: Final = a.Genesis(
    signing_public=PARTY, wrapping_public=PUBLIC, witnesses=(USER,), witness_quorum=1, created=TIME
)
PLACEMENT: Final = a.Placement(
    model_id=MODEL, manifest=B, launch=USER, report_data=WORD, grant_authorities=(PARTY,), release=C,
    trust_level="simulation", witnessed=True, not_after=TIME,
)  # fmt: skip
TERMS_OF_LAUNCH: Final = a.LaunchTerms(
    job_id=JOB, role=TRAINER, slot=1, attempt=2, order=sign(ORDER, KEY), outer_learning_rate=1.0, outer_momentum=0.0,
    bundle_id=BUNDLE, bundle=PUBLICATION,
    datasets=(a.DatasetTerms(dataset_id=DATASET, manifest=MANIFEST, report_key=PUBLIC),), trust_level="simulation",
    mr_enclaves={"broker": MEASURED}, lease_seconds=900,
)  # fmt: skip
LAUNCH: Final = r.LaunchRecord(
    role=TRAINER, slot=1, attempt=2, signing_public=USER, mr_enclave=MEASURED, not_after=0
)  # fmt: skip


def request_bodies() -> list[a.RequestBody]:
    """What the broker can be asked."""
    return [
        a.DescribeBroker(),
        a.RegisterDataset(manifest=sign(MANIFEST, KEY), policy=b"wrapped", data_key=b"wrapped"),
        a.UpdatePolicy(dataset_id=DATASET, digest=B, policy=b"wrapped"),
        a.RegisterBundle(publication=sign(PUBLICATION, KEY), terms=b"wrapped", bundle_key=b"wrapped"),
        a.AcceptOrder(order=sign(ORDER, KEY), release=sign(RELEASE, KEY)),
        a.IssueChallenge(role=TRAINER, job_id=JOB, slot=1),
        a.Admit(challenge_id=CHALLENGE, binding=BINDING, evidence=EVIDENCE),
        a.IssueChallenge(role=TRAINER, job_id=JOB, slot=1, renews=2),
        a.RenewLease(challenge_id=CHALLENGE, binding=BINDING, evidence=EVIDENCE),
        a.ListMembers(job_id=JOB),
        a.CompleteJob(job_id=JOB, outcome="finished", manifest=sign(MODEL_MANIFEST, KEY), statement=WORD),
        a.DrawBudget(model_id=MODEL, grant=sign(GRANT, KEY), answers=16, launch=USER, statement=WORD),
        a.Revoke(revocation=sign(REVOCATION, KEY)),
        a.RevokeRelease(revocation=sign(RELEASE_REVOCATION, KEY)),
        a.ConfirmHead(witness=USER, boot_nonce=NONCE32, head=HEAD, signature=WORD),
    ]


def reply_bodies() -> list[a.ReplyBody]:
    """What it answers."""
    member = a.Member(role=TRAINER, slot=1, attempt=2, signing_public=USER, mr_enclave=MEASURED)
    return [
        a.BrokerDescription(genesis=GENESIS, evidence=EVIDENCE, frozen=True, boot_nonce=NONCE32),
        a.Registered(dataset_id=DATASET),
        a.OrderAccepted(job_id=JOB, trainers=2, trust_level="simulation"),
        a.Challenge(challenge_id=CHALLENGE, nonce=NONCE32, broker=A, subject=B, attempt=2, not_after=TIME),
        a.Admission(keys=b"wrapped", terms=b"wrapped", placement=sign(PLACEMENT, KEY)),
        a.Leased(seconds=180),
        a.Members(job_id=JOB, state="running", members=(member,)),
        a.Completed(job_id=JOB, model_id=MODEL),
        a.BudgetBlock(grant_id=GrantId.of(C), answers=16, remaining=84),
        a.Revoked(identifier=JOB, leases_end=TIME),
        a.Confirmed(frozen=False),
        a.Refused(code="policy.provider", detail=b"wrapped"),
    ]


def broker_messages() -> list[Message]:
    """Requests and replies as they travel, and what is signed beside them."""
    return [
        *(a.BrokerRequest(nonce=NONCE32, body=body) for body in request_bodies()),
        *(a.BrokerReply(request=A, nonce=NONCE32, head=HEAD, time=TIME, body=body) for body in reply_bodies()),
        GENESIS,
        PLACEMENT,
        TERMS_OF_LAUNCH,
        a.QueryEnclaveProof(binding=BINDING, evidence=EVIDENCE, placement=SHORT, manifest=SHORT, query_bytes=4096,
                            answer_bytes=2048),
        StartBroker(witnesses=(USER,), witness_quorum=1),
    ]  # fmt: skip


def state_entries() -> list[Message]:
    """One entry of the sealed state for each record."""
    sealed: list[r.Record] = [
        r.DatasetRecord(dataset_id=DATASET, manifest_document=sign(MANIFEST, KEY), policy_document=sign(POLICY, KEY),
                        keys=b"blob"),
        r.BundleRecord(bundle_id=BUNDLE, publication_document=sign(PUBLICATION, KEY), terms_document=sign(TERMS, KEY),
                       keys=None),
        r.ReleaseRecord(document=sign(RELEASE, KEY)),
        r.JobRecord(job_id=JOB, order_document=sign(ORDER, KEY), outer_learning_rate=1.0, outer_momentum=0.0,
                    trust_level=TrustLevel.SIMULATION, state="running", keys=b"blob", launches=(LAUNCH,),
                    manifest_document=None),
        r.ModelRecord(model_id=MODEL, job_id=JOB),
        r.UsedNonceRecord(owner=PARTY, nonce=NONCE),
        r.TallyRecord(name=f"jobs {DATASET}", count=3),
        r.RevokedGrantRecord(grant_id=GrantId.of(C), party=PARTY),
        r.RevokedReleaseRecord(release=B, document=sign(RELEASE_REVOCATION, KEY)),
    ]  # fmt: skip
    identity = r.IdentityRecord(genesis=GENESIS, signing_seed=b"blob", wrapping_seed=b"blob")
    return [
        r.StateEntry(epoch=2, time=TIME, log_size=5, log_peaks=(bytes(32), NONCE32), identity=identity, records=()),
        *(
            r.StateEntry(epoch=2, time=TIME, log_size=1, log_peaks=(NONCE32,), identity=None, records=(record,))
            for record in sealed
        ),
    ]
