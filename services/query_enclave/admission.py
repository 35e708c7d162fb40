"""What one front takes on at one time: bounded in bytes, in all and by party (side: host).

A body is read when its sender is known and there is room for it, so what a front holds is bounded whatever comes in.
One party has a part of it alone, so that no single one shuts out all others.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Final

from common.errors import QuotaError, UnavailableError
from common.identifiers import PartyKey

HELD_BYTES: Final = 256 << 20
"""Of bodies that a front holds: fifteen of the largest, or as many small ones as its connections bring."""

PARTY_REQUESTS: Final = 64
"""Queries of one party under way at a front: a quarter of a model's backlog (streams)."""

PARTY_BYTES: Final = HELD_BYTES // 4


class Admission:
    """Counts what is under way. Use it on one event loop."""

    def __init__(
        self, *, held_bytes: int = HELD_BYTES, party_bytes: int = PARTY_BYTES, party_requests: int = PARTY_REQUESTS
    ) -> None:
        self._held_bytes, self._party_bytes, self._party_requests = held_bytes, party_bytes, party_requests
        self._requests: Counter[PartyKey] = Counter()
        self._bytes: Counter[PartyKey] = Counter()
        self._held = 0

    @contextlib.contextmanager
    def take(self, party: PartyKey, *, queries: int = 0, count: int = 0) -> Iterator[None]:
        """So many queries and bytes of this party are under way until the end of the block.

        Raises `QuotaError` (quota.requests) where these are too many for one party, `UnavailableError`
        (unavailable.full) where they are for all.
        """
        if self._requests[party] + queries > self._party_requests or self._bytes[party] + count > self._party_bytes:
            raise QuotaError("quota.requests", expected=f"at most {self._party_requests} queries under way")
        if self._held + count > self._held_bytes:
            raise UnavailableError("unavailable.full")
        self._add(party, queries, count)
        try:
            yield
        finally:
            self._add(party, -queries, -count)

    def _add(self, party: PartyKey, queries: int, count: int) -> None:
        """Who has nothing is forgotten."""
        self._held += count
        for counter, more in ((self._requests, queries), (self._bytes, count)):
            counter[party] += more
            if not counter[party]:
                del counter[party]
