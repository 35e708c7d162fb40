"""Collateral for whoever asks, refreshed before it is missed (side: host).

    stored, obtained less than `refresh_after_seconds` ago        handed out
    older, or near its next update                                handed out, and refreshed in the background
    no refresh succeeds (outage, lying server)                    the last good one is handed out, until ...
    `last_good_seconds` after it was obtained, or its next update refused (unavailable.collateral)
    not stored                                                    fetched while the caller waits, a few seconds at most

From half of that limit on what no refresh has reached is named with the time that it has left (`ending`, in /readyz).
The limit bounds for how long an outage, or somebody who causes one, may hide a TCB recovery or a revoked platform. It
is the operator's; what an enclave accepts is bounded by next updates, its own memory, and the parties' terms.
"""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from common.dcap.collateral_authenticity import next_update
from common.errors import Refusal, UnavailableError
from common.event_log import log_event
from common.messages.collateral import CollateralName, StoredCollateral
from common.messages.evidence import Collateral
from common.untrusted.collateral_cache import CollateralCache

_log = logging.getLogger("collateral")

DAY_SECONDS: Final = 86_400
LONGEST_LAST_GOOD_SECONDS: Final = 30 * DAY_SECONDS
"""Intel's documents are overdue after 30 days: a longer limit would mean nothing."""

_FIRST_PAUSE_SECONDS: Final = 60.0
_LONGEST_PAUSE_SECONDS: Final = 3600.0
_MAX_FAILED: Final = 256
_WAIT_SECONDS: Final = 25.0
"""For another caller's fetch: a little more than that may take (pcs_client.FETCH_SECONDS)."""

_LOOK_SECONDS: Final = 60.0
"""Anybody may ask whether a service is ready, and as often as he likes."""

MAX_WAITING: Final = 8
"""Callers that wait for a fetch at once: fewer than threads of the host's HTTP server, which has more to do."""


class CollateralSource(Protocol):
    """Where collateral comes from."""

    @property
    def url(self) -> str:
        """Its address."""

    def fetch(self, name: CollateralName) -> Collateral:
        """Fresh collateral. Raises `UnavailableError`."""


@dataclass(frozen=True)
class CollateralLimits:
    """When to refresh, and how long the last good collateral may stand in. In seconds."""

    refresh_after_seconds: int = DAY_SECONDS
    refresh_before_seconds: int = 7 * DAY_SECONDS
    last_good_seconds: int = 14 * DAY_SECONDS

    def __post_init__(self) -> None:
        if not 0 < self.refresh_after_seconds < self.last_good_seconds <= LONGEST_LAST_GOOD_SECONDS:
            raise ValueError("refresh comes before the limit, and the limit within 30 days")

    def is_due(self, stored: StoredCollateral, at: float) -> bool:
        """Whether it is time for a refresh."""
        last_moment = next_update(stored.collateral) - self.refresh_before_seconds
        return at >= min(stored.obtained + self.refresh_after_seconds, last_moment)

    def is_good(self, stored: StoredCollateral, at: float) -> bool:
        """Whether it may still be handed out."""
        return self.seconds_left(stored, at) >= 0

    def seconds_left(self, stored: StoredCollateral, at: float) -> float:
        """For how long it may be; less than 0 if it may no more."""
        return min(stored.obtained + self.last_good_seconds, next_update(stored.collateral)) - at

    def is_ending(self, stored: StoredCollateral, at: float) -> bool:
        """Whether somebody should look why it is not refreshed."""
        return self.is_due(stored, at) and self.seconds_left(stored, at) < self.last_good_seconds / 2


@dataclass
class _Failed:
    pause: float
    until: float


class CollateralService:
    """Cache and source behind one question. Thread-safe; at most one fetch at a time.

    Without a `source` it lives on what is imported into the cache.
    """

    def __init__(
        self,
        cache: CollateralCache,
        source: CollateralSource | None,
        limits: CollateralLimits,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cache, self._source, self._limits, self._now = cache, source, limits, now
        self._fetching, self._waiting = threading.Lock(), threading.BoundedSemaphore(MAX_WAITING)
        self._failed: dict[CollateralName, _Failed] = {}
        self._ending: tuple[float, Mapping[str, str]] = (-math.inf, {})

    def get(self, name: CollateralName) -> Collateral:
        """Collateral within the limits. Raises `UnavailableError` (unavailable.collateral)."""
        stored = self._cache.read(name)
        if stored is None or not self._limits.is_good(stored, self._now()):
            stored = self._fetch_while_waiting(name)
        if stored is None or not self._limits.is_good(stored, self._now()):
            raise UnavailableError("unavailable.collateral", expected=f"current collateral {name}")
        return stored.collateral

    def stored(self) -> list[StoredCollateral]:
        """All that the cache has, good or not."""
        return self._cache.all()

    def ending(self) -> Mapping[str, str]:
        """What will not be handed out for long, by name, each with the time that is left; looked up once a minute."""
        at, (looked_up, known) = self._now(), self._ending
        if not looked_up <= at < looked_up + _LOOK_SECONDS:
            found = (stored for stored in self._cache.all() if self._limits.is_ending(stored, at))
            known = {f"collateral {one.name}": _words(self._limits.seconds_left(one, at)) for one in found}
            self._ending = (at, known)
        return known

    def seconds_left(self, stored: StoredCollateral) -> float:
        """For how long a set is handed out yet, if no newer one comes; less than 0 if it is no more."""
        return self._limits.seconds_left(stored, self._now())

    def refresh(self) -> int:
        """Refresh what is due and not in a pause after a failure; how many were."""
        due = [stored.name for stored in self._cache.all() if self._limits.is_due(stored, self._now())]
        return sum(self._fetch(name) is not None for name in due)

    def run(self, stopped: threading.Event, seconds: float = _FIRST_PAUSE_SECONDS) -> None:
        """Refresh until stopped, on a thread of its own."""
        while not stopped.wait(seconds):
            with contextlib.suppress(Refusal):  # a full disk, for one: what is stored stays
                self.refresh()

    def _fetch_while_waiting(self, name: CollateralName) -> StoredCollateral | None:
        """Of those that ask for one name at once the first one fetches; None when too many wait."""
        if not self._waiting.acquire(blocking=False):
            return None
        try:
            if not self._fetching.acquire(timeout=_WAIT_SECONDS):
                return None
            try:
                stored = self._cache.read(name)  # perhaps the one that was waited for
                if stored is not None and self._limits.is_good(stored, self._now()):
                    return stored
                return self._fetch_alone(name)
            finally:
                self._fetching.release()
        finally:
            self._waiting.release()

    def _fetch(self, name: CollateralName) -> StoredCollateral | None:
        """Fetch and store; None when that failed, or failed a moment ago."""
        with self._fetching:
            return self._fetch_alone(name)

    def _fetch_alone(self, name: CollateralName) -> StoredCollateral | None:
        failed = self._failed.get(name)
        if self._source is None or (failed is not None and self._now() < failed.until):
            return None
        try:
            stored = self._cache.put(self._source.fetch(name), self._source.url, int(self._now()), asked=name)
        except Refusal as refusal:
            self._note_failure(name, failed)
            log_event(_log, "collateral_not_refreshed", logging.WARNING, kind=str(name), code=refusal.code)
            return None
        self._failed.pop(name, None)
        log_event(_log, "collateral_refreshed", kind=str(name))
        return stored

    def _note_failure(self, name: CollateralName, failed: _Failed | None) -> None:
        pause = _FIRST_PAUSE_SECONDS if failed is None else min(2 * failed.pause, _LONGEST_PAUSE_SECONDS)
        while len(self._failed) >= _MAX_FAILED:  # names come from quotes that nobody has verified
            del self._failed[next(iter(self._failed))]
        self._failed[name] = _Failed(pause, self._now() + pause)


def _words(left: float) -> str:
    return "unavailable.collateral" if left < 0 else f"unavailable.collateral in {int(left)} s"
