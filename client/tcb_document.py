"""The YAML form of terms over platforms: times are days (side: owner)."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator, Field

from common.messages.base import Seconds
from common.messages.tcb_terms import TcbStatus, TcbTerms, TcbTolerance


def _day(text: object) -> object:
    """The first second of a day in UTC, as Unix time; what is not a text was read before."""
    if not isinstance(text, str):
        return text
    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise ValueError("a day as 2027-06-30") from None


def _end_of_day(text: object) -> object:
    first = _day(text)
    return first + 86_399 if isinstance(text, str) and isinstance(first, int) else first


Day = Annotated[Seconds, BeforeValidator(_end_of_day)]
"""A day, to its end in UTC."""

FirstDay = Annotated[Seconds, BeforeValidator(_day)]
"""A day, from its beginning: Intel's TCB dates are midnights."""


class Tolerance(TcbTolerance):
    """A tolerance whose limits are written as days."""

    until: Day | None = None
    min_tcb_date: FirstDay | None = None


class Tcb(TcbTerms):
    """The terms over platforms (common/messages/tcb_terms), with days for times."""

    tolerances: Annotated[tuple[Tolerance, ...], Field(max_length=len(TcbStatus))] = ()

    @property
    def terms(self) -> TcbTerms:
        """The message."""
        return TcbTerms.model_validate(self.model_dump())
