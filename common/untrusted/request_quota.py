"""How many requests one sender may make: a bucket of allowances for each, which fills at a rate (side: host).

A sender is whatever name the caller counts by: a party's key, an address. Full buckets are forgotten, so memory is
bounded by how many senders there were in the time that a bucket takes to fill.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from common.errors import QuotaError, UnavailableError

MAX_SENDERS: Final = 100_000
"""Buckets kept; when so many are not full, new senders are asked to come later."""


class RequestQuota:
    """At most `burst` requests at once, and `per_second` in the long run, of each sender. Thread-safe."""

    def __init__(self, per_second: float, burst: int, *, now: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._now = per_second, burst, now
        self._lock = threading.Lock()
        self._full_at: dict[str, float] = {}

    def charge(self, sender: str) -> None:
        """One request. Raises `QuotaError` (quota.requests), which changes nothing, or `UnavailableError`."""
        with self._lock:
            now = self._now()
            if sender not in self._full_at:
                self._make_room(now)
            full_at = max(self._full_at.get(sender, now), now) + 1 / self._rate
            if full_at - now > (self._burst + 0.5) / self._rate:  # whole requests: sums of times are not exact
                raise QuotaError("quota.requests", expected=f"at most {self._rate:g} requests a second")
            self._full_at[sender] = full_at

    def _make_room(self, now: float) -> None:
        if len(self._full_at) >= MAX_SENDERS:
            self._full_at = {one: at for one, at in self._full_at.items() if at > now}
        if len(self._full_at) >= MAX_SENDERS:
            raise UnavailableError("unavailable.full")
