"""Events of a job that is watched (side: owner).

`JobProgressed` and `MembersListed` are public; `RateMeasured` and `ForecastHeld` come of reports that only the owner
opens.
"""

from typing import Literal

from client.events import Event
from common.identifiers import CodeMeasurement, JobId
from common.messages.base import Count, Message
from common.messages.service import JobState


class JobProgressed(Event):
    """A job beside its schedule. `seconds` by the host's clock: since the first slot was taken, to now or to the end.

    `ticks` that have passed: as the newest report says, where the owner reads it; else those that `seconds` have, at
    most, since enclaves need some time before the first one.
    """

    type: Literal["job-progressed"] = "job-progressed"
    job_id: JobId
    state: JobState
    trainers: Count
    ticks: Count
    total_ticks: Count
    seconds: float
    total_seconds: float
    trust_level: str


class MemberListed(Message):
    """The one live launch of a slot."""

    role: str
    slot: Count
    attempt: Count
    mr_enclave: CodeMeasurement


class MembersListed(Event):
    """Who is a member of the job, as the key broker's signed list says."""

    type: Literal["members-listed"] = "members-listed"
    job_id: JobId
    members: tuple[MemberListed, ...]


class RateMeasured(Event):
    """What happened in the last few reports. Rows count each live member's; frames are the parameter server's."""

    type: Literal["rate-measured"] = "rate-measured"
    job_id: JobId
    tick: Count
    round: Count
    loss: float | None
    rows_per_second: float
    frames_per_second: float
    real_share: float


class Held(Message):
    """One figure: what the signed order said before, and what came of it. Fact null: nobody told."""

    what: str
    unit: str
    forecast: float
    fact: float | None


class ForecastHeld(Event):
    """Forecast and fact of a job, side by side."""

    type: Literal["forecast-held"] = "forecast-held"
    job_id: JobId
    figures: tuple[Held, ...]


class CurvesWritten(Event):
    """Loss and rates of a job in a file."""

    type: Literal["curves-written"] = "curves-written"
    path: str
    reports: Count
