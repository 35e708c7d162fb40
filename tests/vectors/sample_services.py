"""One fixed message of each type of HTTP, doors and sessions, and of a party's own files (side: library)."""

from client.context import BundleLabel, Endpoints, PinnedTrust
from client.ending_proof import EndingProof
from client.tpm.carrier import StepMemory
from client.witness_memory import WitnessMemory
from common.bundle import TensorSpec
from common.identifiers import CodeMeasurement, Fmspc, GrantId, QueryId, RequestKeyId, SessionId, UploadId
from common.messages import enclave_events as e
from common.messages import query as q
from common.messages import service as s
from common.messages import training_door as t
from common.messages.base import Message
from common.messages.collateral import CollateralBundle, CollateralName, SeenCollateral, StoredCollateral
from common.messages.decision_log import InclusionProof, LogItem
from common.messages.query_batch import QuerySubmitted
from common.messages.receipt import Opening, Receipt, ReceiptFile, ReceiptOpenings
from common.messages.request_keys import OfferRequestKey, RequestKeyAgreed
from common.messages.signed import sign
from common.transparency import log_leaf
from tests.vectors.sample_broker import ENTRY, GENESIS, HEAD, MARK, PROOF, SHORT, STEP, WORD
from tests.vectors.sample_documents import (
    BUNDLE,
    COLLATERAL,
    DATASET,
    GRANT,
    JOB,
    KEY,
    MEASURED,
    MODEL,
    MODEL_MANIFEST,
    OBJECT,
    ORDER,
    PARTY,
    PROVIDER,
    RELEASE,
    REVOCATION,
    TIME,
    TRUST,
    USER,
    A,
    B,
    C,
)

RECEIPT = Receipt(
    query=A, answer=B, user=USER, grant=GrantId.of(C), answers_left=7, model_id=MODEL, manifest=B, placement=C,
    measurement=CodeMeasurement(MEASURED), launch=PARTY, time=TIME, signature=WORD,
)  # fmt: skip


def service_messages() -> list[Message]:
    """Bodies and answers of HTTP."""
    job = s.JobView(job_id=JOB, state="failed", code="unavailable.rounds", trainers=2, trust_level="simulation",
                    accepted_at=1.5, model_id=None)  # fmt: skip
    event = s.JobEvent(number=3, job_id=JOB, time=1.5, kind="job_finished", fields={"code": None, "count": 2})
    stored = s.ObjectView(root=A, kind="dataset", chunk_count=1, bytes=1048656)
    return [
        s.RefusalBody(code="quota.bytes", mender="operator", mend="raise this identity's quota"),
        s.EnrolIdentity(party=PARTY),
        s.IdentityView(party=PARTY, quota_bytes=1 << 30, used_bytes=0),
        s.BeginUpload(header=bytes(64), chunk_digests=bytes(range(32)) * 2),
        s.UploadState(upload_id=UploadId.of(A), root=A, missing=(1, 2), completed=False),
        stored,
        s.ObjectList(objects=(stored,)),
        s.DatasetList(
            datasets=(s.DatasetView(dataset_id=DATASET, manifest=B, parts=1, bytes=1048656, registered_at=1.5),)
        ),
        s.BundleList(bundles=(s.BundleView(bundle_id=BUNDLE, publication=C, root=A, registered_at=1.5),)),
        s.Deleted(identifier=DATASET),
        s.OrderReceipt(job_id=JOB),
        job,
        s.JobList(jobs=(job,)),
        s.JobProgress(
            job_id=JOB,
            state="running",
            trainers=2,
            trust_level="simulation",
            schedule=ORDER.schedule,
            accepted_at=1.5,
            begun_at=2.5,
            ended_at=None,
            now=4.0,
        ),
        s.Machines(trainers=(s.TrainerMachine(slots=2, cores=8, reference_microseconds=1140),)),
        event,
        s.JobEvents(events=(event,)),
        s.ProviderReportView(sealed=b"wrapped"),
        s.JobReports(reports=(s.ReportView(sequence=3, sealed=b"wrapped"),)),
        StoredCollateral(
            name=CollateralName(tee="sgx", fmspc=Fmspc("c0ffee000000"), ca="platform"),
            collateral=COLLATERAL,
            obtained=TIME,
            source="https://pccs.invalid",
        ),
        CollateralBundle(sets=(COLLATERAL,)),
    ]


def door_and_session_messages() -> list[Message]:
    """Bodies of door calls, and what stands inside a session."""
    order, profile = sign(ORDER, KEY), q.QueryProfile(
        input=TensorSpec(shape=(8, 8), dtype="uint8"), answer=TensorSpec(shape=(10,), dtype="float32"), max_rows=16
    )  # fmt: skip
    session = SessionId.of(A)
    return [
        t.StartTrainer(job_id=JOB, slot=1, order=order),
        t.TrainerEnded(job_id=JOB, slot=1, code="freshness.attempt"),
        t.OpenJob(job_id=JOB, order=order),
        t.SealedReport(job_id=JOB, owner=PARTY, sequence=3, sealed=b"wrapped"),
        t.JobEnded(job_id=JOB, outcome="finished", completed=True, model_id=MODEL,
                   manifest=sign(MODEL_MANIFEST, KEY), provider=PROVIDER, provider_report=b"wrapped"),
        e.EnclaveReady(role="broker", landlock_abi=4, epoch=2),
        e.MemberAdmitted(role="trainer", job_id=JOB, slot=1, attempt=2),
        e.JobStarted(job_id=JOB, ticks=288),
        e.JobRunEnded(job_id=JOB, state="failed", code="freshness.attempt"),
        e.SlotEnded(job_id=JOB, slot=1, code="freshness.attempt"),
        e.ModelOpened(model_id=MODEL, job_id=JOB),
        e.LeaseEnded(role="query", code="freshness.attempt"),
        q.PlaceModel(job_id=JOB, model_id=MODEL),
        q.QueryEnclaveStatus(placed=True, sessions=2),
        q.SessionOpening(session_id=session, user=USER, grant=sign(GRANT, KEY), signature=WORD),
        q.SessionReply(session_id=session, profile=profile, detail="scores"),
        RECEIPT,
        ReceiptFile(receipts=(RECEIPT,), proofs=(PROOF,), release=SHORT),
        ReceiptOpenings(opens="answer", openings=(Opening(salt=bytes(32), content=b"content"),)),
        QuerySubmitted(query_id=QueryId.of(A)),
        OfferRequestKey(share=bytes(range(32))),
        RequestKeyAgreed(name=RequestKeyId.of(A), share=bytes(range(32)), seconds=3600, requests=1 << 20),
    ]  # fmt: skip


def files_of_a_party() -> list[Message]:
    """Files of an identity directory and of a witness."""
    endpoints = Endpoints(attestation="http://127.0.0.1:1", ingest="http://127.0.0.1:2", query="http://127.0.0.1:3")
    item = LogItem(leaf=log_leaf(ENTRY.encode()), entry=ENTRY.encode())
    path = InclusionProof(number=4, size=6, path=(bytes(32),))
    return [
        endpoints,
        BundleLabel(bundle_id=BUNDLE, root=A, name="digits-cnn", bundle_version="1.0"),
        PinnedTrust(endpoints=endpoints, trust_settings=TRUST, release=sign(RELEASE, KEY), broker=GENESIS),
        EndingProof(document=sign(REVOCATION, KEY), reply=SHORT, item=item, inclusion=path),
        SeenCollateral(marks=(MARK,)),
        StepMemory(broker=A, steps=(STEP,)),
        WitnessMemory(broker=A, head=HEAD, successor=B, inventory=SHORT, collateral=(MARK,)),
        HEAD,
        OBJECT,
    ]
