"""Bounds that several parties set on one thing: the least of each counts (side: library)."""

from collections.abc import Iterable
from typing import TypeVar

from common.messages.base import Message

BoundsT = TypeVar("BoundsT", bound=Message)


def tightest(kind: type[BoundsT], bounds: Iterable[BoundsT]) -> BoundsT:
    """The least of each field; a field that is None sets no bound."""
    every = list(bounds)

    def least(name: str) -> int | None:
        return min((most for one in every if (most := getattr(one, name)) is not None), default=None)

    return kind(**{name: least(name) for name in kind.model_fields})
