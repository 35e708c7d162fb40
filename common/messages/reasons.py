"""Why requests of others were refused under a party's terms, as that party asks for it later (side: library)."""

from typing import Annotated, Final, Literal

from pydantic import Field

from common.identifiers import GrantId, JobId, PartyKey, RoleName
from common.messages.base import Count, Message, Seconds
from common.messages.decision_log import DecisionName
from common.messages.policy import PublicKey
from common.messages.refusal_detail import RefusalDetail
from common.messages.signed import Signed

REASONS_KEPT: Final = 64
"""Of each reader, the newest."""

REASON_BYTES: Final = 3 << 10
"""Plain size of every reason that is kept: a detail's 2 KiB, and less than 1 KiB of identifiers."""

REASONS_BYTES: Final = 193 << 10
"""Plain size of every answer: as many reasons of that size, and less than 1 KiB around them."""


class ReasonsRequest(Message):
    """Signed by the party whose reasons it asks for; sealed to `report_key`.

    `of_release`: those that belong to a release and to no party's terms; signed by one of the release keys.
    """

    type: Literal["reasons-request"] = "reasons-request"
    version: Literal[1] = 1
    nonce: Annotated[bytes, Field(min_length=16, max_length=16)]
    party: PartyKey
    report_key: PublicKey
    of_release: bool = False
    broker: PartyKey


class RefusalReason(Message):
    """One refusal that the decision log tells of in entry `entry`, and what it was for this reader.

    `time` is the broker's, `code` the public one.
    """

    type: Literal["refusal-reason"] = "refusal-reason"
    version: Literal[1] = 1

    entry: Count
    time: Seconds
    decision: DecisionName
    code: Annotated[str, Field(max_length=64)]
    job: JobId | None
    role: RoleName | None
    slot: Count | None
    attempt: Count | None
    grant: GrantId | None
    detail: RefusalDetail


class RefusalReasons(Message):
    """The newest reasons of one reader, the oldest first; sealed to it, at a fixed size.

    `dropped` were kept once and made room, `unkept` were never: those that the log itself only counts.
    """

    type: Literal["refusal-reasons"] = "refusal-reasons"
    version: Literal[1] = 1
    reasons: Annotated[tuple[RefusalReason, ...], Field(max_length=REASONS_KEPT)]
    dropped: Count
    unkept: Count


class ReadReasons(Message):
    """Answer: ReasonsReply. A Signed ReasonsRequest."""

    type: Literal["read-reasons"] = "read-reasons"
    request: Signed


class ReasonsReply(Message):
    """RefusalReasons, wrapped to the key that the request names (info: `reasons_info`), at one size."""

    type: Literal["reasons-reply"] = "reasons-reply"
    sealed: Annotated[bytes, Field(max_length=1 << 18)]
