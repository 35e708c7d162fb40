"""What a trainer keeps of opened chunks: all of a small share, the newest units of a large one (side: enclave).

Holds: plaintext of at most `KEPT_UNITS` units, and of the one that is under way.  Reads, sends: nothing.

Both hear of every chunk of the walk, and of one that did not come too. Neither knows how far training is.
"""

import threading
from dataclasses import dataclass, field
from typing import Final, Self

from common.data_shares import KEPT_UNITS, WINDOW_UNITS, Share, Unit
from common.errors import UnavailableError
from services.trainer_enclave.walking import Walk, Windows

MISSED_PASSES: Final = 3
"""A unit that so many passes on end did not bring is a failure: else a host would choose what is trained on."""


@dataclass
class OpenUnit:
    """A unit of the walk and the plaintext of its chunks, which is whole once none is `missing`."""

    place: int
    unit: Unit
    plain: bytearray = field(repr=False)
    missing: set[int] = field(repr=False)

    @classmethod
    def begin(cls, place: int, unit: Unit, chunk_bytes: int) -> Self:
        """Without any chunk."""
        return cls(place, unit, bytearray(unit.chunks * chunk_bytes), set(range(unit.chunks)))

    def put(self, chunk: int, plain: bytes) -> bool:
        """Take one chunk; whether the unit became whole by it."""
        if chunk not in self.missing:
            return False
        self.plain[chunk * len(plain) : (chunk + 1) * len(plain)] = plain
        self.missing.discard(chunk)
        return not self.missing


class KeptShare:
    """A share that fits: each unit once. `put` belongs to one thread; `complete` may be asked from any."""

    def __init__(self, share: Share) -> None:
        self._share, self._open = share, dict[Unit, OpenUnit]()
        self._left = len(share.units)

    @property
    def complete(self) -> bool:
        """Whether all is there."""
        return self._left == 0

    def put(self, place: int, unit: Unit, chunk: int, plain: bytes | None) -> None:
        """Keep the first copy of this chunk."""
        if plain is None or self.complete:
            return
        if unit not in self._open:
            self._open[unit] = OpenUnit.begin(place, unit, len(plain))
        if self._open[unit].put(chunk, plain):
            self._left -= 1

    def take(self) -> list[OpenUnit]:
        """All units, in the order of the data; they are let go here. Raises `UnavailableError` before."""
        if not self.complete:
            raise UnavailableError("unavailable.store", expected="all chunks")
        taken = [self._open[unit] for unit in self._share.units]
        self._open.clear()
        return taken


class NewestUnits:
    """The last `KEPT_UNITS` units of a walk by the clock. `put` belongs to one thread; all else may be asked from any.

    `begun_at`: the position at which this launch began to read. `missed`: a unit did not come `MISSED_PASSES` on end.
    """

    def __init__(self, walk: Walk, windows: Windows, begun_at: int) -> None:
        self._walk, self._windows = walk, windows
        self._begun, self._ended = walk.units_within(begun_at), 0
        self._lock, self._kept = threading.Lock(), dict[int, OpenUnit]()
        self._under_way: OpenUnit | None = None
        self._seen = dict[Unit, int]()
        self.missed = False

    def put(self, place: int, unit: Unit, chunk: int, plain: bytes | None) -> None:
        """Take a chunk of the walk; None: it did not come. Units that lack one are left out."""
        if chunk == 0:
            self._begin_unit(place, unit, 0 if plain is None else len(plain))
        opened = self._under_way
        if plain is not None and opened is not None and opened.place == place and opened.put(chunk, plain):
            self._keep(opened)
        if chunk == unit.chunks - 1:
            self._ended = place + 1

    def _begin_unit(self, place: int, unit: Unit, chunk_bytes: int) -> None:
        number = self._walk.pass_of(place)
        seen = self._seen.setdefault(unit, number - 1)
        self.missed |= number - seen > MISSED_PASSES
        self._under_way = OpenUnit.begin(place, unit, chunk_bytes) if chunk_bytes else None

    def _keep(self, opened: OpenUnit) -> None:
        self._seen[opened.unit], self._under_way = self._walk.pass_of(opened.place), None
        with self._lock:
            self._kept[opened.place] = opened
            for place in [one for one in self._kept if one <= opened.place - KEPT_UNITS]:
                del self._kept[place]

    def ready(self, number: int) -> bool:
        """Whether round `number` can begin: its window has gone by, and did not begin before this launch did.

        A launch that has read as much as it keeps waits for earlier windows no more: its rounds are late. A round that
        can begin waits for nothing, whatever did not come.
        """
        window = self._windows.of_round(number)
        joined = window.start >= self._begun or self._ended >= self._begun + KEPT_UNITS
        return joined and self._ended >= window.stop and bool(self._kept)

    def of_round(self, number: int) -> list[OpenUnit]:
        """The units of a round's window; in place of those that are gone, or never came, the newest others.

        Raises `UnavailableError` where there is none.
        """
        window, kept = self._windows.of_round(number), self.kept()
        found = [one for one in kept if one.place in window]
        others = [one for one in kept if one.place not in window]
        found += others[::-1][: WINDOW_UNITS - len(found)]
        if not found:
            raise UnavailableError("unavailable.store", expected="a window of chunks")
        return found

    def kept(self) -> list[OpenUnit]:
        """All that is in memory, in the order of the walk."""
        with self._lock:
            return [self._kept[place] for place in sorted(self._kept)]
