"""The YAML form of terms over platforms: times are days (side: owner)."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field

from common.messages.base import Seconds
from common.messages.tcb_terms import TcbStatus, TcbTerms, TcbTolerance


def _end_of_day(text: object) -> object:
    """The last second of a day in UTC, as Unix time; what is not a text was read before."""
    if not isinstance(text, str):
        return text
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError("a day as 2027-06-30") from None
    return int((day + timedelta(days=1)).timestamp()) - 1


Day = Annotated[Seconds, BeforeValidator(_end_of_day)]
"""A day, to its end in UTC."""


class Tolerance(TcbTolerance):
    """A tolerance whose limits are written as days."""

    until: Day | None = None
    min_tcb_date: Day | None = None


class Tcb(TcbTerms):
    """The terms over platforms (common/messages/tcb_terms), with days for times."""

    tolerances: Annotated[tuple[Tolerance, ...], Field(max_length=len(TcbStatus))] = ()

    @property
    def terms(self) -> TcbTerms:
        """The message."""
        return TcbTerms.model_validate(self.model_dump())
