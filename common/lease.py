"""A launch's lease on its keys: renewed on fresh evidence, over when it is not (side: enclave).

The first lease runs from *before* the question that was answered with it, on this enclave's monotonic clock, so a host
that delays answers shortens it. Each renewal runs from before the question that was answered last: what the broker knew
when it answered may be as old as that (services/attestation/leases). One thread asks and another watches the time: a
host may keep an answer, or a quote, for as long as it likes.

A lease ends for good when its time is over, or when the broker refuses a renewal for any reason but having been away.
Whoever holds keys then stops and lets them go; `on_end` is told why, once.

What it does not close: a host that holds the clock still holds the lease still. So whatever leaves an enclave also
needs an answer of the broker to a fresh nonce of its own: a closed round, a sealed model, a block of answers.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from common.errors import FreshnessError, Refusal, UnavailableError
from common.key_retrieval import BrokerChannel, EvidenceSource, Launch, renew_lease

RENEWALS: Final = 4
"""Renewals within one lease: an answer or two may get lost."""

RETRY_SECONDS: Final = 2.0

CODE: Final = "freshness.lease"

CHALLENGE_LOST: Final = "freshness.challenge"
"""The answer came late, or the broker began anew since it asked: no word about this launch."""

Renew = Callable[[], int]
"""Shows fresh evidence; the new lease in seconds. Raises the broker's refusal, `UnavailableError` when it is away."""


class LeaseKeeper:
    """One launch's lease. `asked_at` is the monotonic time before the question that was first answered with one."""

    def __init__(
        self,
        renew: Renew,
        on_end: Callable[[str], None],
        *,
        seconds: int,
        asked_at: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._renew, self._on_end, self._now = renew, on_end, now
        self._seconds, self._asked_at, self._until = seconds, asked_at, asked_at + seconds
        self._stopped = threading.Event()
        self._ended_by: str | None = None
        self._lock = threading.Lock()
        self._watcher = threading.Thread(target=self._watch, name="lease", daemon=True)
        self._renewer = threading.Thread(target=self._run, name="lease-renewal", daemon=True)

    @classmethod
    def begin(
        cls, launch: Launch, runtime: EvidenceSource, channel: BrokerChannel, on_end: Callable[[str], None]
    ) -> "LeaseKeeper":
        """Keep the lease of an admitted launch from now on."""
        keeper = cls(
            lambda: renew_lease(runtime, channel, launch),
            on_end,
            seconds=launch.terms.lease_seconds,
            asked_at=launch.asked_at,
        )
        keeper.start()
        return keeper

    def start(self) -> None:
        """Begin to renew, and to watch the time."""
        self._watcher.start()
        self._renewer.start()

    def stop(self) -> None:
        """Renew no more. The lease that is held still runs out."""
        self._stopped.set()

    def require(self) -> None:
        """Raise `FreshnessError` (freshness.lease) when the lease is over."""
        if self._is_over():
            raise FreshnessError(CODE, expected="a lease that was renewed", seen=self._ended_by)

    def step(self) -> float:
        """Renew once; the seconds until the next time."""
        asked_at, retry = self._now(), min(RETRY_SECONDS, self._seconds / RENEWALS)
        try:
            seconds = self._renew()
        except UnavailableError:
            return retry
        except Refusal as refusal:
            if refusal.code == CHALLENGE_LOST:
                return retry
            self._end(refusal.code)
        except Exception:  # whatever the host does to the door: only the time decides
            return retry
        else:
            if not self._is_over():  # an answer that comes too late revives nothing
                self._seconds, self._until = seconds, max(self._until, self._asked_at + seconds)
                self._asked_at = asked_at
        return self._seconds / RENEWALS

    def _run(self) -> None:
        pause = self._seconds / RENEWALS
        while not self._stopped.wait(pause) and self._ended_by is None:
            pause = self.step()

    def _watch(self) -> None:
        while not self._stopped.wait(max(0.0, self._until - self._now())) and not self._is_over():
            pass

    def _is_over(self) -> bool:
        if self._now() >= self._until:
            self._end(CODE)
        return self._ended_by is not None

    def _end(self, code: str) -> None:
        with self._lock:
            first = self._ended_by is None
            self._ended_by = self._ended_by or code
        if first:
            self._on_end(code)
