"""Events of the key broker's decision log (side: owner)."""

from typing import Literal

from client.events.base import Event
from common.identifiers import Digest
from common.messages.base import Count
from common.messages.decision_log import LogEntry
from common.messages.log_heads import LogHead
from common.messages.reasons import RefusalReason


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


class ReasonTold(Event):
    """Why somebody else's request was refused, as far as this party's terms, or its release's, refused it."""

    type: Literal["reason-told"] = "reason-told"
    reason: RefusalReason


class ReasonsRead(Event):
    """How many reasons were told of those that the key broker has; `dropped` made room, `unkept` were only counted."""

    type: Literal["reasons-read"] = "reasons-read"
    told: Count
    kept: Count
    dropped: Count
    unkept: Count
