"""How many queries a user asks in a minute (side: enclave).

Counted at this launch, by its monotonic clock, over all sessions and grants of one user: those that were answered or
failed in provider code, in each window of 60 seconds. A query that is refused before that does not count. A host that
lets that clock run fast, or places the model more than once, weakens the bound; budgets it cannot (docs/policy.md).
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from common.errors import UnavailableError
from common.identifiers import PartyKey

WINDOW_SECONDS: Final = 60.0
USERS: Final = 1024
"""Users after whom those that asked nothing within the window are forgotten."""


KEPT: Final = 60_000
"""Newest queries of a user: as many as any bound allows (common/messages/answer_bounds)."""


class QueryRates:
    """The newest queries of each user. `monotonic` is the enclave's clock."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic, self._lock = monotonic, threading.Lock()
        self._asked: dict[PartyKey, deque[float]] = {}

    def admit(self, user: PartyKey, most: int | None) -> None:
        """Count one more query, unless `most` were asked in the last minute: `UnavailableError` (unavailable.rate)."""
        with self._lock:
            now = self._monotonic()
            asked = self._asked.setdefault(user, deque(maxlen=KEPT))
            _forget(asked, now)
            if most is not None and len(asked) >= most:
                wait = asked[-most] + WINDOW_SECONDS - now
                raise UnavailableError(
                    "unavailable.rate", expected=f"at most {most} queries a minute", seen=f"{wait:.0f} s to wait"
                )
            asked.append(now)
            if len(self._asked) > USERS:
                self._forget_users(now)

    def _forget_users(self, now: float) -> None:
        for user, asked in list(self._asked.items()):
            _forget(asked, now)
            if not asked:
                del self._asked[user]


def _forget(asked: deque[float], now: float) -> None:
    while asked and asked[0] <= now - WINDOW_SECONDS:
        asked.popleft()
