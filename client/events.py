"""What the SDK tells while it works: one small closed message for each thing that happens (side: owner).

An operation is a generator of events and its last event is its result, so a command line, the demo or a console shows
progress without knowing the operation. Events may speak of the party's own content: they stay on its machine.
"""

from collections.abc import Callable, Iterable
from typing import Literal, TypeVar

from common.identifiers import (
    BundleId,
    DatasetId,
    Digest,
    Fmspc,
    GrantId,
    JobId,
    ModelId,
    MrEnclave,
    PartyKey,
    PlatformId,
)
from common.messages.attestation import LogHead
from common.messages.base import Count, Message, Seconds
from common.messages.decision_log import LogEntry
from common.messages.evidence import TrustLevel
from common.messages.policy import JobOutcome, JobReport
from common.messages.provider_report import ToldToProvider
from common.messages.tpm_counter import TpmCounter


class Event(Message):
    """Base of all events; `type` names the concrete one on the wire."""


class Noted(Event):
    """Something a person should read."""

    type: Literal["noted"] = "noted"
    text: str
    warning: bool = False


class IdentityMade(Event):
    """A key file was written; `recovery_key` is the file of its recovery key, if it has one."""

    type: Literal["identity-made"] = "identity-made"
    name: str
    party: PartyKey
    directory: str
    unsafe_simulation: bool
    recovery_key: str | None = None


class IdentityKnown(Event):
    """The key broker knows this identity by its card. `recovery` null: without a recovery key, and it gets none."""

    type: Literal["identity-known"] = "identity-known"
    party: PartyKey
    recovery: PartyKey | None


class IdentityReplaced(Event):
    """Another identity goes on in the place of this one. `carried`: documents and object keys that came along."""

    type: Literal["identity-replaced"] = "identity-replaced"
    party: PartyKey
    successor: PartyKey
    void_from: Count | None
    leases_end: Seconds
    carried: Count


class RoleMeasured(Event):
    """The measurement of one role, computed from this checkout; `released` is what a release states.

    `platform` is `simulation` for this checkout, `sgx` for what a `.sig` file of the same role says.
    """

    type: Literal["role-measured"] = "role-measured"
    role: str
    mr_enclave: MrEnclave
    platform: TrustLevel = TrustLevel.SIMULATION
    released: MrEnclave | None = None


class SigstructRead(Event):
    """What the signer of an SGX enclave says of it, read out of a `.sig` file whose signature was verified."""

    type: Literal["sigstruct-read"] = "sigstruct-read"
    file: str
    mr_enclave: MrEnclave
    mr_signer: MrEnclave
    isv_prod_id: Count
    isv_svn: Count
    debug: bool


class QuoteVerified(Event):
    """A quote was verified on this machine, with all its checks."""

    type: Literal["quote-verified"] = "quote-verified"
    role: str
    measurement: str
    trust_level: str


class RoleReleased(Event):
    """What a release says an enclave must be; `code` is a measurement or, of kind `sgx-signer`, who signs its code."""

    type: Literal["role-released"] = "role-released"
    role: str
    platform: str
    kind: str
    code: str


class ReleaseShown(Event):
    """A release in a file. `digest` is its fingerprint: what policies, orders and people name."""

    type: Literal["release-shown"] = "release-shown"
    file: str
    digest: Digest
    name: str
    tag: str
    created: Count


class RevocationShown(Event):
    """A revocation in a file, and the release that it ends."""

    type: Literal["revocation-shown"] = "revocation-shown"
    file: str
    digest: Digest
    release: Digest
    successor: Digest | None
    created: Count


class InventoryShown(Event):
    """A platform inventory in a file."""

    type: Literal["inventory-shown"] = "inventory-shown"
    file: str
    digest: Digest
    number: Count
    platforms: tuple[PlatformId, ...]
    revoked: tuple[PlatformId, ...]


class InventoryInForce(Event):
    """The broker took it; after `leases_end` (Unix seconds) no machine that it revokes holds a key."""

    type: Literal["inventory-in-force"] = "inventory-in-force"
    digest: Digest
    number: Count
    leases_end: Count


class SignaturesCounted(Event):
    """Who of the release keys has signed, how many more it takes, and who signed without being asked."""

    type: Literal["signatures-counted"] = "signatures-counted"
    signed_by: tuple[PartyKey, ...]
    outsiders: tuple[PartyKey, ...]
    threshold: Count
    missing: Count


class FileListed(Event):
    """A file of an enclave; with `compared`, `own` is this checkout's. Null: absent on that side, or not compared."""

    type: Literal["file-listed"] = "file-listed"
    name: str
    sha256: Digest | None
    own: Digest | None = None
    compared: bool = False


class FilesVerified(Event):
    """A list of files leads to the measurement that a release states for this role.

    `differing` and `own_environment` where it was compared with this checkout and its interpreter and packages.
    """

    type: Literal["files-verified"] = "files-verified"
    role: str
    mr_enclave: MrEnclave
    environment: Digest
    files: Count
    differing: Count | None = None
    own_environment: Digest | None = None


class Pinned(Event):
    """What this identity trusts from now on, by fingerprint. `fingerprint` is over all of it."""

    type: Literal["pinned"] = "pinned"
    fingerprint: Digest
    release: Digest
    release_name: str
    release_keys: tuple[PartyKey, ...]
    roots: tuple[Digest, ...]
    broker: Digest
    broker_key: PartyKey
    witnesses: tuple[PartyKey, ...]
    witness_quorum: Count
    tpm_counters: tuple[TpmCounter, ...] = ()
    trust_level: str
    stored: bool


class CounterReady(Event):
    """A TPM's counter is there. `counter` goes into the settings of the attestation service that will make a broker.

    `endorsement_key` in PEM is for whoever holds it against the certificate of the TPM's vendor.
    """

    type: Literal["counter-ready"] = "counter-ready"
    counter: TpmCounter
    endorsement_key: str
    made: bool


class Sealed(Event):
    """Data or code was sealed; the key stays in the identity directory."""

    type: Literal["sealed"] = "sealed"
    directory: str
    root: Digest
    chunks: Count
    ciphertext_bytes: Count


class UploadAdvanced(Event):
    """One more chunk is with the operator. `resumed` counts chunks that an earlier try had left there."""

    type: Literal["upload-advanced"] = "upload-advanced"
    root: Digest
    leaves: Count
    of: Count
    resumed: Count
    bytes_sent: Count


class DatasetRegistered(Event):
    """The key broker knows the data set and holds its wrapped key."""

    type: Literal["dataset-registered"] = "dataset-registered"
    dataset_id: DatasetId
    policy: Digest
    bytes_sent: Count


class BundleRegistered(Event):
    """The key broker knows the bundle and holds its wrapped key."""

    type: Literal["bundle-registered"] = "bundle-registered"
    bundle_id: BundleId
    root: Digest
    state_class: Count
    sandbox: str
    bytes_sent: Count


class VersionListed(Event):
    """A bundle of this provider, as the broker's verified log tells of it. `published` is the log entry's time.

    `name` null: published from another directory. `jobs` accepted orders name it, of which `finished` have sealed a
    model or failed; of the others the log does not tell a provider whether they still run.
    """

    type: Literal["version-listed"] = "version-listed"
    bundle_id: BundleId
    name: str | None
    bundle_version: str | None
    root: Digest | None
    published: Seconds
    jobs: Count
    finished: Count
    state: Literal["in force", "retired", "revoked"]


class ProviderReportRead(Event):
    """What a provider may know of a job of its bundle. `outcome` is the public one; null: there is no report (yet).

    `told` null: the owners' policies do not let it be known.
    """

    type: Literal["provider-report-read"] = "provider-report-read"
    job_id: JobId
    bundle_id: BundleId
    ordered: Seconds
    outcome: Literal["finished", "failed", "cancelled"] | None
    told: ToldToProvider | None


class PolicySigned(Event):
    """A version of a data policy is in force."""

    type: Literal["policy-signed"] = "policy-signed"
    dataset_id: DatasetId
    policy_version: Count
    digest: Digest


class OrderPreview(Event):
    """All that the host will see of a job's work, told before its order is signed.

    Each launch of a trainer can tell the host at most `schedule_bits` by its end; data sets are charged `attempt_bits`
    for it, and `report_bits` for what the provider is told at the job's end, if all owners let it. What goes out
    through `open_channels` is not bounded.
    """

    type: Literal["order-preview"] = "order-preview"
    trainers: Count
    total_ticks: Count
    seconds: float
    frame_bytes: Count
    frames: Count
    traffic_bytes: Count
    schedule_bits: Count
    attempt_bits: Count
    report_bits: Count
    open_channels: tuple[str, ...]


class OrderAccepted(Event):
    """The order was accepted, to run as long as its preview said."""

    type: Literal["order-accepted"] = "order-accepted"
    job_id: JobId
    trainers: Count
    total_ticks: Count
    seconds: float


class JobSeen(Event):
    """The public state of a job, as the host knows it; `mend` says who can mend what made it fail, and how."""

    type: Literal["job-seen"] = "job-seen"
    job_id: JobId
    state: str
    trainers: Count
    code: str | None = None
    mend: str | None = None
    model_id: ModelId | None = None


class ReportOpened(Event):
    """A report of the parameter server's enclave, opened with the owner's report key: the host can't read it."""

    type: Literal["report-opened"] = "report-opened"
    report: JobReport


class ModelSealed(Event):
    """The job's model exists, sealed; its manifest was checked against the broker's member list.

    `outcome` and `rounds_done` are those of the last report, which only the owner reads; None when it was lost.
    """

    type: Literal["model-sealed"] = "model-sealed"
    job_id: JobId
    model_id: ModelId
    manifest: Digest
    outcome: JobOutcome | None
    rounds_done: Count | None
    trust_level: str


class GrantSigned(Event):
    """A user may ask one model."""

    type: Literal["grant-signed"] = "grant-signed"
    grant_id: GrantId
    user: PartyKey
    model_id: ModelId
    answers: Count
    path: str


class PlainTwinTrained(Event):
    """The same provider code was trained in plain torch on the same data, for comparison. `loss` is the last step's."""

    type: Literal["plain-twin-trained"] = "plain-twin-trained"
    accuracy: float
    loss: float
    rows: Count
    seconds: float


class Answered(Event):
    """Answers to sealed queries, opened on this machine: one label per row.

    Stamped with the query enclave's trust level; `witnessed`: budgets and revocations outlive the broker's restarts.
    `answered_by`: the provider's code, or trusted code that computes the model's graph.
    """

    type: Literal["answered"] = "answered"
    rows: Count
    labels: tuple[int, ...]
    answers_left: Count
    queries: Count
    answered_by: Literal["code", "graph"]
    sent_bytes: Count
    received_bytes: Count
    trust_level: str
    witnessed: bool


class Verified(Event):
    """A stored document or object was checked."""

    type: Literal["verified"] = "verified"
    subject: str
    checks: tuple[str, ...]


class CollateralSeen(Event):
    """Collateral for one kind of CPU in an attestation service's cache. Times are Unix seconds.

    `issued` is the oldest issue date of its four documents, `next_update` when the first of them is overdue.
    """

    type: Literal["collateral-seen"] = "collateral-seen"
    name: str
    fmspc: Fmspc
    tcb_evaluation: Count
    qe_evaluation: Count
    issued: Seconds
    next_update: Seconds
    age_seconds: Seconds
    current: bool
    source: str


class LogVerified(Event):
    """The key broker's decision log was verified: `told` entries are this party's to read, of `untold` it saw leaves.

    `held_against`: sizes of the earlier heads that it was shown to extend.
    """

    type: Literal["log-verified"] = "log-verified"
    broker: Digest
    head: LogHead
    time: Count
    told: Count
    untold: Count
    refusals_counted: Count
    held_against: tuple[Count, ...]


class LogSaved(Event):
    """All that is wanted to verify that log again, offline."""

    type: Literal["log-saved"] = "log-saved"
    path: str
    bytes: Count


class LogEntryTold(Event):
    """One verified entry of the decision log."""

    type: Literal["log-entry-told"] = "log-entry-told"
    entry: LogEntry


class StackSeen(Event):
    """The embedded stack, and what each service that is not ready waits for."""

    type: Literal["stack-seen"] = "stack-seen"
    state: str
    directory: str
    ready: tuple[str, ...]
    waiting: dict[str, tuple[str, ...]]


class StageBegan(Event):
    """The demo goes on to its next stage."""

    type: Literal["stage-began"] = "stage-began"
    title: str


class DemoFinished(Event):
    """The demo's figures; frames as the parameter server's enclave counted them.

    `ciphertext_bytes` is what each host service saw, as it says itself (common/untrusted/carried.py): ciphertext, and
    the signed and public documents around it.
    """

    type: Literal["demo-finished"] = "demo-finished"
    wall_seconds: float
    accuracy_sealed: float
    accuracy_plain: float
    trainers: Count
    trust_level: str
    quotes_verified: Count
    real_frames: Count
    dummy_frames: Count
    ciphertext_bytes: dict[str, Count]


class Explained(Event):
    """A refusal code in words."""

    type: Literal["explained"] = "explained"
    code: str
    mender: str
    mend: str


class Ended(Event):
    """Something of this party's own was cancelled, deleted or revoked, and the broker's log says so.

    `log_entry` is the number of the entry, whose inclusion was verified. After `leases_end` (Unix seconds) no enclave
    holds what is over, whatever its host keeps from it.
    """

    type: Literal["ended"] = "ended"
    identifier: str
    state: str
    leases_end: Seconds | None = None
    log_entry: Count | None = None


E = TypeVar("E", bound=Event)


def outcome(events: Iterable[Event], kind: type[E], show: Callable[[Event], None] | None = None) -> E:
    """Run an operation to its end and return the last event of `kind`; `show` sees every event as it happens."""
    result: E | None = None
    for event in events:
        if show is not None:
            show(event)
        if isinstance(event, kind):
            result = event
    if result is None:
        raise RuntimeError(f"the operation ended without a {kind.__name__} event")
    return result
