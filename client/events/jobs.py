"""Events of jobs: ordered, seen by the host, told by enclaves (side: owner)."""

from typing import Literal

from client.events.base import Event
from common.identifiers import BundleId, Digest, JobId, ModelId
from common.messages.base import Count, Message, Seconds
from common.messages.order import AnswerTerms, AnswerTiming, DeviceName, Schedule
from common.messages.policy import JobOutcome, JobReport
from common.messages.provider_report import ToldToProvider


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


class OrderPreview(Event):
    """All that the host will see of a job's work, told before its order is signed.

    Each launch of a trainer can tell the host at most `schedule_bits` by its end; data sets are charged `attempt_bits`
    for it, and `report_bits` for what the provider is told at the job's end, if all owners let it. What goes out
    through `open_channels` is not bounded. `answer_timing`: when answers of the model will leave. `answers`: the lowest
    precision that they are computed in. `device`: what trainers compute with; a GPU's memory lies open to its machine.
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
    answer_timing: AnswerTiming
    open_channels: tuple[str, ...]
    answers: AnswerTerms = AnswerTerms()
    device: DeviceName = "cpu"


class Calibrated(Event):
    """What a schedule was chosen by, and what was chosen. `slowness`: 1.0 is a standard machine (client/calibrating).

    `source`: the bundle's publication says what a step costs, or a stand-in of its size class was assumed.
    """

    type: Literal["calibrated"] = "calibrated"
    source: Literal["publication", "stand-in"]
    machines: Count
    slowness: float
    step_milliseconds: Count
    tick_milliseconds: Count
    ticks_per_round: Count
    reads_per_tick: Count
    warmup_seconds: float
    slack_percent: Count


class ProtectionCost(Message):
    """What one protection takes of a job: seconds of its schedule, bytes that the host carries."""

    protection: str
    seconds: float
    bytes: Count
    words: str


class JobForecast(Event):
    """What a job will take, by its schedule alone. Nothing was signed or sent for it.

    `work_seconds` of the `seconds` are for the provider's code; `costs` says what becomes of the rest.
    """

    type: Literal["job-forecast"] = "job-forecast"
    schedule: Schedule
    trainers: Count
    seconds: float
    work_seconds: float
    traffic_bytes: Count
    read_bytes: Count
    costs: tuple[ProtectionCost, ...]


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
