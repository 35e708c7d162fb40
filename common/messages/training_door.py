"""What relays and their training enclaves say through the door, all of it public (side: library).

Handlers of the trainer enclave: `start` (StartTrainer), `frame` (notice: a downlink frame), `status`. It notifies
`frame` (an uplink frame) and asks `ended` (TrainerEnded) once, as its last word.
Handlers of the parameter server enclave: `open_job` (OpenJob), `close_job` (a job id: the host gives the job up),
`frame` (notice: JobFrame layout), `status`. It notifies
`frame` (JobFrame layout), `report` (SealedReport) and `checkpoint`, and asks `job_ended` (JobEnded) once a job.

JobFrame layout: job id (36 ASCII bytes), then one frame. Frames are as common/exchange/frames makes them.
`checkpoint`: job id (36 ASCII bytes), then the root (32) of the object that takes the place of the one before.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from common.errors import FormatError
from common.identifiers import Digest, JobId, ModelId, PartyKey
from common.messages.base import Count, Message
from common.messages.signed import Signed

JOB_ID_BYTES: Final = 36
ROOT_BYTES: Final = 32

EnclaveCode = Annotated[str, Field(max_length=64)]
"""A public code of common/refusals.py."""


class StartTrainer(Message):
    """Be slot `slot` of this job; the enclave believes nothing of it until the broker's admission names the order."""

    type: Literal["start-trainer"] = "start-trainer"
    version: Literal[1] = 1
    job_id: JobId
    slot: Count
    order: Signed


class TrainerEnded(Message):
    """The trainer is through: its schedule is over, the job ended, or it was refused (`code`)."""

    type: Literal["trainer-ended"] = "trainer-ended"
    version: Literal[1] = 1
    job_id: JobId
    slot: Count
    code: EnclaveCode | None = None


class OpenJob(Message):
    """Be the parameter server of this job."""

    type: Literal["open-job"] = "open-job"
    version: Literal[1] = 1
    job_id: JobId
    order: Signed


class SealedReport(Message):
    """One report for one owner: a JobReport of fixed size, wrapped to its report key under `report_info`."""

    type: Literal["sealed-report"] = "sealed-report"
    version: Literal[1] = 1
    job_id: JobId
    owner: PartyKey
    sequence: Count
    sealed: Annotated[bytes, Field(max_length=1 << 16)]


class JobEnded(Message):
    """How a launch of the parameter server left a job. `manifest` is the Signed ModelManifest, if there is a model.
    `provider_report`: a Signed ProviderReport of fixed size, wrapped to `provider`; there whenever `completed`.

    `completed`: the broker has recorded the end, so the job is over. If not, this launch gave up because of `code`, and
    another may try; `superseded`: another does already.
    """

    type: Literal["job-ended"] = "job-ended"
    version: Literal[1] = 1
    job_id: JobId
    outcome: Literal["finished", "failed", "cancelled", "superseded"]
    completed: bool
    code: EnclaveCode | None = None
    model_id: ModelId | None = None
    manifest: Signed | None = None
    provider: PartyKey | None = None
    provider_report: Annotated[bytes, Field(max_length=8192)] | None = None


def encode_checkpoint(job_id: JobId, root: Digest) -> bytes:
    """Body of `checkpoint`."""
    return job_id.encode("ascii") + root.raw()


def parse_checkpoint(body: bytes) -> tuple[JobId, Digest]:
    """Job and root. Raises `FormatError`."""
    if len(body) != JOB_ID_BYTES + ROOT_BYTES:
        raise FormatError("format.door_frame", expected="job id and root")
    return JobId(body[:JOB_ID_BYTES].decode("ascii", errors="replace")), Digest.of(body[JOB_ID_BYTES:])


def encode_job_frame(job_id: JobId, frame: bytes) -> bytes:
    """The JobFrame layout."""
    return job_id.encode("ascii") + frame


def parse_job_frame(body: bytes) -> tuple[JobId, bytes]:
    """Job and frame. Raises `FormatError`."""
    if len(body) <= JOB_ID_BYTES:
        raise FormatError("format.door_frame", expected="job id and frame")
    return JobId(body[:JOB_ID_BYTES].decode("ascii", errors="replace")), body[JOB_ID_BYTES:]
