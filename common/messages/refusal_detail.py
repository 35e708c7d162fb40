"""A refusal as it travels: a public code, and what it expected and saw for whoever may read that (side: library)."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field

from common.errors import Refusal
from common.messages.base import Message

DETAIL_BYTES: Final = 2048
"""Plain size of every detail that is sealed: its length says nothing."""

_TEXT_CHARS: Final = 800


class RefusalDetail(Message):
    """Expected and seen of a refusal, for the party entitled to them; `code` where its own is not the public one.

    All three are None for a party whose own terms refuse nothing.
    """

    type: Literal["refusal-detail"] = "refusal-detail"
    version: Literal[1] = 1
    expected: Annotated[str, Field(max_length=_TEXT_CHARS)] | None
    seen: Annotated[str, Field(max_length=_TEXT_CHARS)] | None
    code: Annotated[str, Field(max_length=64)] | None = None

    @classmethod
    def of(cls, refusal: Refusal | None, public: str) -> Self:
        """The detail of a party's refusal beside the public code, cut to what fits; None: its terms refuse nothing."""
        if refusal is None:
            return cls(expected=None, seen=None)
        expected, seen = (None if text is None else text[:_TEXT_CHARS] for text in (refusal.expected, refusal.seen))
        own = None if refusal.code == public else refusal.code
        detail = cls(expected=expected, seen=seen, code=own)
        if len(detail.encode()) > DETAIL_BYTES:  # escapes made it longer
            return cls(expected="(too long to state)", seen=None, code=own)
        return detail

    def padded(self) -> bytes:
        """Its bytes, padded with spaces to `DETAIL_BYTES`."""
        return self.encode().ljust(DETAIL_BYTES)


class Refused(Message):
    """A public code; expected and seen are wrapped to the party entitled to them (`WRAP_REFUSAL_DETAIL`), if any.

    `others`: where several parties' terms were judged, what each of the rest is told, at the same size. `shown`: of
    things that asker and host have in the clear, a quote with its collateral and release, or a grant.
    """

    type: Literal["refused"] = "refused"
    code: Annotated[str, Field(max_length=64)]
    detail: Annotated[bytes, Field(max_length=8192)] | None = None
    others: Annotated[tuple[Annotated[bytes, Field(max_length=8192)], ...], Field(max_length=64)] = ()
    shown: RefusalDetail | None = None
