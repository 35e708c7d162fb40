"""All that an enclave tells about itself: events of closed types, the one gate for logs and metrics (side: library).

An enclave has no metrics, no traces and no free text. `Door.log` takes one of these messages and sends its exact bytes
through the door; its relay parses them as one of these, prints them as a line of the log, and counts them
(common/untrusted/enclave_log). So what can leave is a property of types, at both ends: an identifier of a job or model
that the host named itself, a role, a public code of the table, a state, and small counts of public things. Adding a
class or a field is a review: could its value depend on anybody's secret?
"""

from typing import Annotated, Final, Literal, get_args

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from common.errors import FormatError
from common.identifiers import JobId, ModelId
from common.messages.base import Message
from common.refusals import REFUSALS

MAX_EVENT_BYTES: Final = 512


def _in_table(code: str) -> str:
    if code not in REFUSALS:
        raise ValueError("a public code")
    return code


PublicCode = Annotated[str, Field(max_length=64), AfterValidator(_in_table)]
"""Of common/refusals."""

Role = Literal["broker", "trainer", "paramserver", "query"]
Small = Annotated[int, Field(ge=0, lt=1 << 32)]
"""A public count. Its 4 bytes are fewer than anything that would be a secret."""


class EnclaveReady(Message):
    """It answers its door. `landlock_abi`: of the kernel that confines provider code; `epoch`: boots of a broker."""

    event: Literal["enclave_ready"] = "enclave_ready"
    role: Role
    landlock_abi: Annotated[int, Field(ge=0, lt=256)] | None = None
    epoch: Small | None = None


class MemberAdmitted(Message):
    """A launch has its keys."""

    event: Literal["member_admitted"] = "member_admitted"
    role: Role
    job_id: JobId
    slot: Small | None = None
    attempt: Small


class JobStarted(Message):
    """A job's clock begins."""

    event: Literal["job_started"] = "job_started"
    job_id: JobId
    ticks: Annotated[int, Field(ge=0, lt=1 << 40)]


class JobRunEnded(Message):
    """A parameter server is through with a job."""

    event: Literal["job_ended"] = "job_ended"
    job_id: JobId
    state: Literal["finished", "failed", "cancelled", "superseded"]
    code: PublicCode | None = None


class SlotEnded(Message):
    """A trainer is through with its slot."""

    event: Literal["slot_ended"] = "slot_ended"
    job_id: JobId
    slot: Small
    code: PublicCode | None = None


class ModelOpened(Message):
    """A query enclave serves a model."""

    event: Literal["model_opened"] = "model_opened"
    model_id: ModelId
    job_id: JobId


class LeaseEnded(Message):
    """A launch's keys are over."""

    event: Literal["lease_ended"] = "lease_ended"
    role: Role
    code: PublicCode


EnclaveEvent = EnclaveReady | MemberAdmitted | JobStarted | JobRunEnded | SlotEnded | ModelOpened | LeaseEnded

_KINDS: Final = get_args(EnclaveEvent)
_EVENTS: Final[TypeAdapter[EnclaveEvent]] = TypeAdapter(Annotated[EnclaveEvent, Field(discriminator="event")])


def encode_event(event: EnclaveEvent) -> bytes:
    """Exact bytes of an event, checked anew. Raises `RuntimeError` for whatever is none: a fault of our own code."""
    if type(event) not in _KINDS:
        raise RuntimeError(f"{type(event).__name__} is no event of an enclave")
    raw = event.model_dump_json(exclude_none=True, warnings=False).encode()
    try:
        parse_event(raw)
    except FormatError:
        raise RuntimeError(f"a {type(event).__name__} with values that its type forbids") from None
    return raw


def parse_event(raw: bytes) -> EnclaveEvent:
    """What came through a door. Raises `FormatError`, which repeats nothing of it."""
    if len(raw) > MAX_EVENT_BYTES:
        raise FormatError("format.door_frame", expected="an event of an enclave")
    try:
        return _EVENTS.validate_json(raw, strict=True)
    except ValidationError:
        raise FormatError("format.door_frame", expected="an event of an enclave") from None
