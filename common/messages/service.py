"""What parties and the ingest service say to each other over HTTP; all of it public or ciphertext (side: library).

Requests are signed (common/http_signatures). Answers are these messages; the bytes of signed documents, leaves and
broker replies travel as they are. A refusal is a `RefusalBody` with the HTTP status of its class.
"""

from typing import Annotated, Literal

from pydantic import Field

from common.errors import Refusal
from common.identifiers import BundleId, DatasetId, Digest, JobId, ModelId, PartyKey, UploadId
from common.messages.base import Count, Message
from common.messages.objects import ChunkCount
from common.messages.order import Schedule
from common.messages.policy import TrustLevelName

Code = Annotated[str, Field(pattern=r"^[a-z_]{1,32}\.[a-z_]{1,32}$")]
Moment = Annotated[float, Field(ge=0)]
"""Unix time in seconds, as the host's clock has it: for display only."""

JobState = Literal["accepted", "reserved", "running", "finished", "failed", "cancelled"]
"""`finished` means that the schedule is over, whatever came of it: that is in the reports."""

EventFields = dict[str, str | int | float | bool | None]


class RefusalBody(Message):
    """The body of every answer that is no success."""

    code: Code
    mender: str
    mend: str

    @classmethod
    def of(cls, refusal: Refusal) -> "RefusalBody":
        """Public part of a refusal."""
        return cls(code=refusal.code, mender=refusal.mender, mend=refusal.mend)


# -- identities


class EnrolIdentity(Message):
    """Body of POST /v1/identities, whose HTTP signature is by `party` itself."""

    type: Literal["enrol-identity"] = "enrol-identity"
    version: Literal[1] = 1
    party: PartyKey


class IdentityView(Message):
    """An enrolled identity; used bytes are those of its objects and open uploads."""

    type: Literal["identity-view"] = "identity-view"
    version: Literal[1] = 1
    party: PartyKey
    quota_bytes: Count
    used_bytes: Count


# -- uploads and objects


class BeginUpload(Message):
    """Body of POST /v1/uploads: header (leaf 0) and the SHA-256 of each stored chunk, 32 bytes each, in order.

    Beginning the same object again names the same upload.
    """

    type: Literal["begin-upload"] = "begin-upload"
    version: Literal[1] = 1
    header: Annotated[bytes, Field(min_length=64, max_length=64)]
    chunk_digests: Annotated[bytes, Field(min_length=32, max_length=20_000 * 32)]


class UploadState(Message):
    """Where an upload stands. `missing` leaves are to be sent: leaf i + 1 is chunk i; leaf 0 came at the beginning."""

    type: Literal["upload-state"] = "upload-state"
    version: Literal[1] = 1
    upload_id: UploadId
    root: Digest
    missing: tuple[Count, ...]
    completed: bool


class ObjectView(Message):
    """A committed sealed object of one's own. `bytes` as stored."""

    type: Literal["object-view"] = "object-view"
    version: Literal[1] = 1
    root: Digest
    kind: Literal["dataset", "bundle", "model"]
    chunk_count: ChunkCount
    bytes: Count


class ObjectList(Message):
    """One's own objects with a root above `?after=` (none: from the first), ascending, a page of them."""

    type: Literal["object-list"] = "object-list"
    version: Literal[1] = 1
    objects: tuple[ObjectView, ...]


# -- data sets, bundles


class DatasetView(Message):
    """A registered data set of one's own; `manifest` is the digest of its signed manifest, which lists its parts."""

    dataset_id: DatasetId
    manifest: Digest
    parts: Count
    bytes: Count
    registered_at: Moment


class DatasetList(Message):
    """One's own data sets, the newest 1000, oldest first."""

    type: Literal["dataset-list"] = "dataset-list"
    version: Literal[1] = 1
    datasets: tuple[DatasetView, ...]


class BundleView(Message):
    """A published bundle of one's own."""

    bundle_id: BundleId
    publication: Digest
    root: Digest
    registered_at: Moment


class BundleList(Message):
    """One's own bundles, the newest 1000, oldest first."""

    type: Literal["bundle-list"] = "bundle-list"
    version: Literal[1] = 1
    bundles: tuple[BundleView, ...]


class Deleted(Message):
    """It is gone from the operator's store. What the broker did, its own signed reply says."""

    type: Literal["deleted"] = "deleted"
    version: Literal[1] = 1
    identifier: str


# -- orders and jobs


class OrderReceipt(Message):
    """The order is on the job board, durably. The same for HTTP and RabbitMQ, and for the same order again."""

    type: Literal["order-receipt"] = "order-receipt"
    version: Literal[1] = 1
    job_id: JobId


class JobView(Message):
    """The public state of a job of one's own. `code` says why it failed, where that is public."""

    type: Literal["job-view"] = "job-view"
    version: Literal[1] = 1
    job_id: JobId
    state: JobState
    code: Code | None
    trainers: Count
    trust_level: TrustLevelName
    accepted_at: Moment
    model_id: ModelId | None


class JobList(Message):
    """One's own jobs, the newest 1000, in the order of acceptance."""

    type: Literal["job-list"] = "job-list"
    version: Literal[1] = 1
    jobs: tuple[JobView, ...]


class JobProgress(Message):
    """What anybody who takes part may know of a job: its public state beside its public schedule. All by the host.

    `begun_at`: a worker took the first slot; its enclaves' clock starts later. `now`: the same clock, at the answer.
    """

    type: Literal["job-progress"] = "job-progress"
    version: Literal[1] = 1
    job_id: JobId
    state: JobState
    trainers: Count
    trust_level: TrustLevelName
    schedule: Schedule
    accepted_at: Moment
    begun_at: Moment | None
    ended_at: Moment | None
    now: Moment


class TrainerMachine(Message):
    """A live trainer worker, as it says itself: how many trainers it can hold, on how many cores, how fast a core is.

    `reference_microseconds`: the least time of a reference step (common/reference_step).
    """

    slots: Count
    cores: Annotated[int, Field(ge=1, le=1 << 16)]
    reference_microseconds: Annotated[int, Field(ge=1, le=1 << 40)]


class Machines(Message):
    """The live trainer workers whose speed is known. For sizing orders: a false word costs time, and nothing else."""

    type: Literal["machines"] = "machines"
    version: Literal[1] = 1
    trainers: Annotated[tuple[TrainerMachine, ...], Field(max_length=1024)]


class JobEvent(Message):
    """One public event of a job; also what the exchange `cloister.events` carries. Numbers grow, with gaps."""

    type: Literal["job-event"] = "job-event"
    version: Literal[1] = 1
    number: Count
    job_id: JobId
    time: Moment
    kind: str
    fields: EventFields


class JobEvents(Message):
    """Events with a number above `?after=`, ascending, a page of them."""

    type: Literal["job-events"] = "job-events"
    version: Literal[1] = 1
    events: tuple[JobEvent, ...]


class ReportView(Message):
    """One report, wrapped to the asking owner's report key under `report_info`."""

    sequence: Count
    sealed: Annotated[bytes, Field(max_length=1 << 16)]


class ProviderReportView(Message):
    """The report of a job's end, wrapped to the asking provider's report key under `provider_report_info`."""

    type: Literal["provider-report-view"] = "provider-report-view"
    version: Literal[1] = 1
    sealed: Annotated[bytes, Field(max_length=8192)]


class JobReports(Message):
    """Reports with a sequence number above `?after=` (none: from the first), ascending, a page of them."""

    type: Literal["job-reports"] = "job-reports"
    version: Literal[1] = 1
    reports: tuple[ReportView, ...]
