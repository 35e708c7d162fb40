"""Which more places of a model this worker takes, and when it leaves them (side: host).

A model has one place as long as that is enough. Where its questions wait (backlog), a worker that does not serve it and
has room takes the next free one; so workers that are started beside others take over a part of the questions. Sessions
are spread when they are opened, and those whose place is full open another. A further place that had no questions for
`IDLE_SECONDS` is left: first it is shown to nobody any more, then, when nothing waits there, it ends.
"""

import time
from collections.abc import Callable, Collection, Iterable
from typing import Final, Protocol

from common.identifiers import ModelId
from services.query_enclave.backlog import Backlog
from services.query_enclave.streams import MOST_PLACES, model_of, place_of

IDLE_SECONDS: Final = 120.0
LEAVE_SECONDS: Final = 5.0
"""Longer than a front shows a proof that is gone (front_desk)."""


class Load(Protocol):
    """What is known of waiting questions."""

    def of_model(self, model_id: ModelId) -> Backlog:
        """In all its places."""
        ...

    def of_place(self, place: str) -> Backlog:
        """There alone."""
        ...


class Sharing:
    """Decides for one worker, at each of its looks."""

    def __init__(
        self, load: Load, withdraw: Callable[[str], None], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._load, self._withdraw, self._monotonic = load, withdraw, monotonic
        self._busy_at: dict[str, float] = {}
        self._leaving: dict[str, float] = {}

    def further_places(self, asked: Iterable[ModelId], held: Collection[str]) -> list[str]:
        """Those that this worker keeps, then those that it would take the first free one of. Raises `RedisError`."""
        kept = [place for place in held if place != model_of(place) and self._stays(place)]
        for place in self._busy_at.keys() - kept:
            self._busy_at.pop(place), self._leaving.pop(place, None)
        served = {model_of(place) for place in held}
        hot = [one for one in asked if one not in served and self._load.of_model(one).is_hot]
        return kept + [place_of(one, number) for one in hot for number in range(1, MOST_PLACES)]

    def _stays(self, place: str) -> bool:
        now, waiting = self._monotonic(), self._load.of_place(place).depth
        if waiting:
            self._busy_at[place] = now
        if now - self._busy_at.setdefault(place, now) < IDLE_SECONDS:
            return True
        if place not in self._leaving:
            self._withdraw(place)
            self._leaving[place] = now
        return bool(waiting) or now - self._leaving[place] < LEAVE_SECONDS
