"""What the key broker remembers of decisions that it has counted and not told of yet (side: enclave)."""

from typing import Annotated, Literal

from pydantic import Field

from common.messages.base import Count, Message
from common.messages.decision_log import DecisionName, Further, LogSubjects


class CountRecord(Message):
    """One of the places of `open_counts`. `further` null: it is free."""

    type: Literal["count"] = "count"
    place: Count
    decision: DecisionName
    code: Annotated[str, Field(max_length=80)] | None
    subjects: LogSubjects
    further: Further | None

    @property
    def key(self) -> str:
        """Name of the record."""
        return f"count {self.place}"
