"""One fixed message of each type that parties sign or seal, and of evidence (side: library)."""

from typing import Final

from common.bundle import BundleContents, BundleManifest, ColumnSpec, StateTensor, TensorSpec, design_layout
from common.crypto.signing import SigningKey
from common.enclave.roles import RoleSpec
from common.enclave.trust_settings import TrustSettings
from common.identifiers import (
    BundleId,
    ChipId,
    CodeMeasurement,
    DatasetId,
    Digest,
    Fmspc,
    HexBytes48,
    JobId,
    ModelId,
    MrEnclave,
    PartyKey,
    PlatformId,
    RoleName,
)
from common.messages.answer_bounds import AnswerBounds
from common.messages.base import Message
from common.messages.evidence import AllowedRoot, Collateral, DcapQuote, SgxDcapEvidence, TdxDcapEvidence, TrustLevel
from common.messages.identity import IdentityCard, RecoveryStatement
from common.messages.ledger import Ledger, LedgerRequest
from common.messages.measured_files import MeasuredFiles, MeasuredRole
from common.messages.objects import BundlePublication, DatasetManifest, ModelManifest, ObjectRef, SlotRecord, StepCost
from common.messages.order import AnswerTerms, OrderSecret, Schedule, TrainingOrder
from common.messages.platform_inventory import PlatformInventory
from common.messages.policy import (
    BundleRetirement,
    BundleTerms,
    DataPolicy,
    Int8Told,
    JobReport,
    QueryGrant,
    Revocation,
)
from common.messages.provider_report import ProviderReport, RefusedCallsTold, ToldToProvider
from common.messages.reasons import ReasonsRequest, RefusalReason, RefusalReasons
from common.messages.recovery_terms import RecoveryHolder, RecoveryTerms
from common.messages.reference_values import SgxReferenceValue, SgxSignerReferenceValue, TdxReferenceValue
from common.messages.refusal_detail import RefusalDetail
from common.messages.release import Release, ReleaseRevocation
from common.messages.serving import ServedModel, ServedName, ServingRecord
from common.messages.signed import sign
from common.messages.snp_evidence import SNP_REPORT_BYTES, SevSnpEvidence
from common.messages.snp_reference_values import (
    PlatformFeature,
    SevSnpReferenceValue,
    SnpFloor,
    SnpProduct,
    SnpTcb,
    SnpTerms,
)
from common.messages.tcb_terms import TcbStatus, TcbTerms, TcbTolerance

TIME: Final = 1_700_000_000
KEY: Final = SigningKey.from_seed(bytes(range(32)))
OTHER_KEY: Final = SigningKey.from_seed(bytes(32))
PUBLIC: Final = bytes(range(256)) * 4 + bytes(192)
"""Of a wrapping key's size; no message parser looks into it."""

A, B, C = (Digest(digit * 64) for digit in "abc")
PARTY, PROVIDER, USER = (PartyKey(digit * 64) for digit in "123")
JOB, MODEL, DATASET, BUNDLE = JobId.of(A), ModelId.of(A), DatasetId.of(B), BundleId.of(C)
MEASURED: Final = MrEnclave("e" * 64)
OBJECT: Final = ObjectRef(root=A, chunk_count=3)
NONCE: Final = bytes(range(16))

SCHEDULE: Final = Schedule(
    rounds=3, steps_per_round=8, batch_rows=16, tick_milliseconds=100, ticks_per_round=5, slack_percent=150,
    warmup_ticks=7, frames_per_tick=2, frame_bytes=4096, reads_per_tick=1, state_class=1024, checkpoint_ticks=10,
)  # fmt: skip
MANIFEST: Final = DatasetManifest(owner=PARTY, parts=(OBJECT,), policy=B)
PUBLICATION: Final = BundlePublication(
    provider=PROVIDER, object=OBJECT, terms=C, state_class=1024,
    step_cost=StepCost(fixed_microseconds=512, row_nanoseconds=8192),
)  # fmt: skip
ORDER: Final = TrainingOrder(
    nonce=NONCE, owners=(PARTY,), broker=USER, release=B, datasets=(DATASET,), bundle=BUNDLE, trainers=2,
    schedule=SCHEDULE, not_after=TIME, secret=b"wrapped \xff\xfe",
)  # fmt: skip
MODEL_MANIFEST: Final = ModelManifest(
    model_id=MODEL, job_id=JOB, order=A, datasets=(DATASET,), data_roots=(B,), bundle=BUNDLE, bundle_root=C,
    object=OBJECT, weights=B, schedule=SCHEDULE, trust_level="simulation",
    members=(SlotRecord(role="trainer", slot=0, attempt=1, mr_enclave=MEASURED),), created=TIME,
    toolchain="bf16",
)  # fmt: skip
COLLATERAL: Final = Collateral(
    pck_crl_issuer_chain="PEM", root_ca_crl=b"DER", pck_crl=b"DER", tcb_info_issuer_chain="PEM",
    tcb_info='{"id":"SGX"}', tcb_info_signature=bytes(64), qe_identity_issuer_chain="PEM",
    qe_identity='{"id":"QE"}', qe_identity_signature=bytes(64),
)  # fmt: skip
EVIDENCE: Final = SgxDcapEvidence(quote=b"a quote", collateral=COLLATERAL)
SNP_EVIDENCE: Final = SevSnpEvidence(
    report=bytes(SNP_REPORT_BYTES), signer=b"DER", intermediate=b"DER", root=b"DER", crl=b"DER"
)
SNP_VALUE: Final = SevSnpReferenceValue(
    measurement=HexBytes48("ab" * 48),
    terms=SnpTerms(
        floors=(SnpFloor(product=SnpProduct.TURIN, least=SnpTcb(fmc=1, boot_loader=1, tee=1, snp=4, microcode=81)),),
        denied_chips=(ChipId("ef" * 8),), features=(PlatformFeature.ALIAS_CHECKED,),
    ),
)  # fmt: skip
RELEASE: Final = Release(
    name="development", tag="0", created=TIME,
    measurements={RoleName("broker"): {TrustLevel.SIMULATION: SgxReferenceValue(mr_enclave=MEASURED)}},
)  # fmt: skip
RELEASE_REVOCATION: Final = ReleaseRevocation(release=B, successor=C, created=TIME)
INVENTORY: Final = PlatformInventory(
    number=2, platforms=(PlatformId("cd" * 16),), revoked=(PlatformId("ab" * 16),), created=TIME
)
ANSWER_BOUNDS: Final = AnswerBounds(top=3, decimals=2, queries_per_minute=60)
POLICY: Final = DataPolicy(
    policy_version=2, previous=A, owner=PARTY, report_key=PUBLIC, unsafe_simulation=True, providers=(PROVIDER,),
    bundles=(C,), releases=(B,), measurements=(CodeMeasurement("e" * 64),),
    minimal_trust_level="simulation", sandboxes=("native",),
    not_after=TIME, max_jobs=3, max_state_class=4096, columns=("image", "label"), users=(USER,), answers_total=1000,
    detail="label", max_bits=20000, refusal_report="classes", approvers=(USER, PartyKey("4" * 64)), approvals_needed=1,
    recovery=RecoveryTerms(
        holders=(RecoveryHolder(party=USER, wrapping_public=PUBLIC),
                 RecoveryHolder(party=PartyKey("4" * 64), wrapping_public=PUBLIC[::-1])),
        of_operator=(PartyKey("4" * 64),), needed=2,
    ),
)  # fmt: skip
TERMS: Final = BundleTerms(
    provider=PROVIDER, report_key=PUBLIC, users=(USER,), releases=(B,), minimal_trust_level="sgx", not_after=TIME,
    answers_total=10, detail="label", answer_bounds=ANSWER_BOUNDS, policy_version=2, previous=A,
    approvers=(PARTY, USER), approvals_needed=1,
)  # fmt: skip
GRANT: Final = QueryGrant(
    nonce=NONCE, user=USER, model_id=MODEL, manifest=B, broker=PARTY, release=C, answers=100, detail="label",
    not_after=TIME,
)  # fmt: skip
SERVED: Final = ServedName(owner=PARTY, name="digits")
SERVING: Final = ServingRecord(
    served=SERVED, number=3, broker=USER, current=ServedModel(model_id=MODEL, manifest=B),
    canary=ServedModel(model_id=ModelId.of(C), manifest=C), canary_permille=100, created=TIME,
)  # fmt: skip
NAME_GRANT: Final = QueryGrant(
    nonce=NONCE, user=USER, served=SERVED, broker=PARTY, release=C, answers=100, not_after=TIME
)  # fmt: skip
RETIREMENT: Final = BundleRetirement(nonce=NONCE, party=PARTY, bundle=BUNDLE, broker=USER, created=TIME)
REVOCATION: Final = Revocation(
    nonce=NONCE, party=PARTY, target="job", identifier=JOB, broker=USER, created=TIME
)  # fmt: skip
CARD: Final = IdentityCard(party=PARTY, report_key=PUBLIC, recovery=USER, unsafe_simulation=True, created=TIME)
STATEMENT: Final = RecoveryStatement(
    nonce=NONCE, party=PARTY, successor=sign(CARD.model_copy(update={"party": OTHER_KEY.party}), OTHER_KEY),
    void_from=7, broker=USER, created=TIME,
)  # fmt: skip
LEDGER_REQUEST: Final = LedgerRequest(nonce=NONCE, party=PARTY, dataset_id=DATASET, broker=USER)
LEDGER: Final = Ledger(
    dataset_id=DATASET, time=TIME, policy_version=2, jobs=1, max_jobs=3, attempts=2, attempt_bits=74, answers=64,
    answers_total=1000, answer_bits=704, report_bits=13, max_bits=20000,
)  # fmt: skip
REASONS_REQUEST: Final = ReasonsRequest(nonce=NONCE, party=PARTY, report_key=PUBLIC, of_release=True, broker=USER)
DETAIL: Final = RefusalDetail(expected="one of the providers", seen=None, code="policy.provider")
REASON: Final = RefusalReason(
    entry=5, time=TIME, decision="admit-launch", code="policy.measurement", job=JOB, role=RoleName("trainer"), slot=1,
    attempt=2, grant=None, detail=DETAIL,
)  # fmt: skip
TOLD: Final = ToldToProvider(
    learned="failed",
    refused=RefusedCallsTold(
        network="some", files="none", processes="none", namespaces="none", tracing="none", memory="many", other="some"
    ),
)
BUNDLE_MANIFEST: Final = BundleManifest(
    name="digits-cnn", bundle_version="1.0", entry="model:DigitsCNN",
    input=ColumnSpec(column="image", shape=(8, 8), dtype="uint8"),
    label=ColumnSpec(column="label", shape=(), dtype="int64"), answer=TensorSpec(shape=(10,), dtype="float32"),
    query_rows=16, layout=(StateTensor(name="weight", shape=(2, 2)), StateTensor(name="scale", shape=())),
)  # fmt: skip
SIGNED: Final = sign(ORDER, KEY, OTHER_KEY)
TRUST: Final = TrustSettings(
    release_keys=(PARTY,), release_threshold=1, allowed_roots=(AllowedRoot(platform="sgx", root_key_sha256=A),),
    production=False,
)  # fmt: skip


TCB_TERMS: Final = TcbTerms(
    tolerances=(TcbTolerance(status=TcbStatus.OUT_OF_DATE, until=1_800_000_000, min_tcb_date=1_700_000_000),),
    rejected_advisories=("INTEL-SA-00837",), min_tcb_evaluation=17, allowed_fmspcs=(Fmspc("00906ed50000"),),
    denied_platforms=(PlatformId("ab" * 16),), smt=False,
)  # fmt: skip


def documents() -> list[Message]:
    """Signed, sealed and measured documents."""
    return [
        SIGNED, MANIFEST, PUBLICATION, MODEL_MANIFEST, ORDER, POLICY, TERMS, GRANT, NAME_GRANT, SERVING, REVOCATION,
        RETIREMENT, RELEASE, TRUST, RELEASE_REVOCATION, INVENTORY, CARD, STATEMENT, LEDGER_REQUEST, LEDGER,
        BUNDLE_MANIFEST, EVIDENCE, SNP_EVIDENCE, SNP_VALUE,
        TdxDcapEvidence(quote=b"a quote", collateral=COLLATERAL),
        DcapQuote(quote=b"a quote"),
        SgxReferenceValue(mr_enclave=MEASURED, tcb=TCB_TERMS),
        SgxSignerReferenceValue(mr_signer=MEASURED, isv_prod_id=7, min_isv_svn=3), TCB_TERMS, *TCB_TERMS.tolerances,
        TdxReferenceValue(mr_td=HexBytes48("d" * 96), rtmrs=(None, HexBytes48("1" * 96), HexBytes48("2" * 96), None),
                          min_module_version=(1, 5)),
        OrderSecret(learning_seed=bytes(range(32)), outer_learning_rate=0.7, outer_momentum=0.9),
        JobReport(job_id=JOB, sequence=5, tick=40, total_ticks=60, round=2, loss=0.25, members_live=2, real_frames=90,
                  dummy_frames=70, refused_frames=0, codes=("provider.raised",), toolchain="bf16", epochs=1,
                  epoch_loss=0.5),
        JobReport(job_id=JOB, sequence=9, tick=60, total_ticks=60, round=0, loss=None, members_live=0, real_frames=0,
                  dummy_frames=70, refused_frames=0, outcome="failed", codes=("unavailable.rounds",),
                  rounds_delivered=(0, 0), told_provider=TOLD),
        JobReport(job_id=JOB, sequence=9, tick=60, total_ticks=60, round=2, loss=0.25, members_live=1, real_frames=90,
                  dummy_frames=70, refused_frames=0, outcome="finished", int8=Int8Told(
                      kept=True, finding="judged", rows=200, float32_percent=90.5, int8_percent=90.0)),
        ORDER.model_copy(update={
            "answers": AnswerTerms(lowest="int8", most_drop_points=0.25, held_out_percent=10),
            "schedule": ORDER.schedule.model_copy(update={"quantising_ticks": 100})}),
        ProviderReport(job_id=JOB, bundle_id=BUNDLE, provider=PROVIDER, outcome="finished", told=TOLD),
        BUNDLE_MANIFEST.model_copy(update={"kind": "wasm", "max_parameters": 5, "layout": design_layout(5)}),
        BundleContents(manifest=BUNDLE_MANIFEST, files={"model.py": b"import torch\n", "provider.toml": b"name = 1\n"}),
        DETAIL, REASONS_REQUEST, REASON, RefusalReasons(reasons=(REASON,), dropped=3, unkept=40),
        RoleSpec(role=RoleName("trainer"), entry="services.trainer_enclave.enclave", needs_sandbox=True),
        MeasuredFiles(environment=A, roles={RoleName("broker"): MeasuredRole(
            entry="services.attestation.enclave", files={"common/enclave/boot.py": B, "trust_settings.json": C})}),
    ]  # fmt: skip
