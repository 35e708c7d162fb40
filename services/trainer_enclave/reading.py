"""Chunk reads on the job's clock, in an order that public parameters and the seed determine (side: enclave).

Holds: the data keys' ciphers.  Reads: leaves of sealed objects.  Sends: requests for them.

Before the clock: header and proof of each object; of data that are not whole here (common/data_shares) also the first
chunk of each, where its schema is, and for design code the units of the profile. Then `reads_per_tick` chunks a tick
along the walk, whatever became of those before: every chunk is fetched and opened, and then kept or dropped. Each is
authenticated on its own: by its key, under a header that is proven to be the root's.

It goes on until the schedule ends. Of a share that is kept, which is read for the first round alone, it ends with the
first pass in which the store had an answer to every question, right or wrong: the host knows that anyway.

All chunks of a tick are asked for at once, by the clock's own thread and right behind its frames (`ask`); another one
waits for them, opens and keeps them (`take`). So no work of training shows in when a chunk is asked for.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from common.crypto.aead import ChunkCipher
from common.crypto.keys import SecretKey
from common.crypto.labels import SEED_READS
from common.data_shares import SAMPLE_UNITS, share_of, units_of
from common.errors import AuthenticityError, FormatError, NotFoundError, PeerClosedError, Refusal, UnavailableError
from common.identifiers import Digest
from common.messages.objects import ObjectRef
from common.messages.order import TrainingOrder
from common.sealed_object import ObjectHeader, ObjectKind
from services.trainer_enclave.keeping import KeptShare, NewestUnits, OpenUnit
from services.trainer_enclave.walking import Walk, Windows

MAX_BEHIND: Final = 4
"""Ticks by which reads may lag behind the clock while the store is slow; what is beyond is skipped, not made up for."""

MAX_ASKED: Final = 64
"""Chunks that may be asked for at once, 64 MiB on their way here, unless a single tick of the order has more."""


class ReadsLeaves(Protocol):
    """The object store behind the door (common/door_objects)."""

    def read_leaf(self, root: Digest, leaf: int) -> bytes:
        """One leaf. Raises a `Refusal`, or `TimeoutError`."""
        ...

    def begin_leaf(self, root: Digest, leaf: int) -> Callable[[], bytes]:
        """Ask for one leaf; what is returned waits for it, and raises as `read_leaf` does."""
        ...

    def read_header(self, reference: ObjectRef) -> bytes:
        """The header, proven to be the root's. Raises `AuthenticityError`, and as `read_leaf` does."""
        ...


@dataclass
class SealedPart:
    """One sealed object of the data. `cipher` is None where its header is false: then none of its chunks opens."""

    reference: ObjectRef
    chunk_bytes: int = 0
    cipher: ChunkCipher | None = field(default=None, repr=False)
    first_chunk: bytes | None = field(default=None, repr=False)
    """Opened before the clock where data are not whole here."""

    def open(self, index: int, chunk: bytes) -> bytes:
        """The plaintext of a chunk. Raises `AuthenticityError`."""
        if self.cipher is None:
            raise AuthenticityError("authenticity.sealed_object", expected="the header of this root")
        return self.cipher.open(index, chunk)


@dataclass(frozen=True)
class Asked:
    """One chunk that was asked for. `position` is its place in the walk; `anew`: nothing before it counts any more."""

    position: int
    anew: bool
    leaf: Callable[[], bytes]


class ChunkReads:
    """The reads of one trainer. `ask` belongs to one thread, `take` to one; all else may be asked from any.

    Raises `QuotaError` (quota.window), and what the store raises before the clock.
    """

    def __init__(
        self,
        objects: Sequence[tuple[ObjectRef, SecretKey]],
        store: ReadsLeaves,
        seed: SecretKey,
        order: TrainingOrder,
        slot: int,
    ) -> None:
        counts = [reference.chunk_count for reference, _ in objects]
        self.share = share_of(counts, *order.place(slot))
        self.walk = Walk(self.share, seed, slot)
        self.windows = Windows(order.schedule, self.walk)
        self.failure: str | None = None
        self.asked = 0
        """Chunks, on the clock."""
        self.kept = KeptShare(self.share) if self.share.kept else None
        self.newest: NewestUnits | None = None
        self.sample: list[OpenUnit] = []
        """What the profile is of where data are not whole here."""
        self._store, self._per_tick, self._position = store, order.schedule.reads_per_tick, 0
        self._last_asked, self._taken, self._answered = -1, 0, True
        self.parts = [self._begin(reference, key) for reference, key in objects]
        if not self.share.whole:
            for part in self.parts:
                part.first_chunk = self._open(part, 0)
            if order.sandbox == "wasm":
                self._read_sample(counts, seed)

    def _begin(self, reference: ObjectRef, key: SecretKey) -> SealedPart:
        try:
            raw = self._store.read_header(reference)
            header = ObjectHeader.parse(raw)
            if (header.kind, header.chunk_count) != (ObjectKind.DATASET, reference.chunk_count):
                raise FormatError("format.sealed_object", expected=f"data of {reference.chunk_count} chunks")
        except (AuthenticityError, FormatError):
            self.failure = "authenticity.sealed_object"
            return SealedPart(reference)
        return SealedPart(reference, header.chunk_bytes, ChunkCipher(key, raw, reference.chunk_count))

    def _read_sample(self, counts: Sequence[int], seed: SecretKey) -> None:
        units = units_of(counts)
        generator = np.random.default_rng(seed.derive_number(SEED_READS))  # the same at every slot
        for place, index in enumerate(generator.permutation(len(units))[:SAMPLE_UNITS]):
            unit = units[index]
            opened = OpenUnit.begin(place, unit, self.parts[unit.part].chunk_bytes)
            for chunk in range(unit.chunks):
                plain = self._open(self.parts[unit.part], unit.first_chunk + chunk)
                if plain is not None:
                    opened.put(chunk, plain)
            self.sample.append(opened)

    @property
    def complete(self) -> bool:
        """Whether all of a share that is kept is there."""
        return self.kept is not None and self.kept.complete

    def take_kept(self) -> list[OpenUnit]:
        """A share that is kept, in the order of the data; it is let go here. Raises `UnavailableError` before."""
        if self.kept is None:
            raise UnavailableError("unavailable.store", expected="a share that is kept")
        return self.kept.take()

    def ready(self, number: int | None) -> bool:
        """Whether round `number` can begin; for None: whether a design can be made."""
        if number is None and not self.share.whole:
            return True
        if number is None or self.kept is not None:
            return self.complete
        return self.newest is not None and self.newest.ready(number)

    def ask(self, tick: int) -> list[Asked]:
        """Ask for the chunks of one tick, if there are more. Raises `PeerClosedError`."""
        anew = False
        if self.kept is None:
            position = tick * self._per_tick
            anew = self._last_asked < 0 or position <= self._last_asked  # the first tick, or the job began anew
            self._position = position
        asked = list[Asked]()
        for _ in range(self._per_tick):
            if self.kept is not None and self._waits_for_a_pass():
                break
            _, unit, chunk = self.walk.at(self._position)
            root = self.parts[unit.part].reference.root
            leaf = self._store.begin_leaf(root, unit.first_chunk + chunk + 1)
            asked.append(Asked(self._position, anew and not asked, leaf))
            self.asked += 1
            self._last_asked, self._position = self._position, self._position + 1
        return asked

    def _waits_for_a_pass(self) -> bool:
        """Whether a pass over a share that is kept is over, and still to be judged, or was the last one."""
        if self._position == 0 or self._position % self.share.chunks:
            return False
        return self._taken < self._position or self._answered

    def take(self, asked: Asked) -> None:
        """Wait for a chunk, open it, and keep or drop it. What is not there now is asked for in the next pass."""
        place, unit, chunk = self.walk.at(asked.position)
        if self.kept is not None and asked.position % self.share.chunks == 0:
            self._answered = True
        plain = self._read(self.parts[unit.part], unit.first_chunk + chunk, asked.leaf)
        if self.kept is not None:
            self.kept.put(place, unit, chunk, plain)
            self._taken = asked.position + 1
            return
        if self.newest is None or asked.anew:
            self.newest = NewestUnits(self.walk, self.windows, asked.position)
        self.newest.put(place, unit, chunk, plain)
        if self.newest.missed:
            self._fail("unavailable.store")

    def _read(self, part: SealedPart, index: int, leaf: Callable[[], bytes]) -> bytes | None:
        try:
            return self._open(part, index, leaf)
        except (Refusal, TimeoutError):
            self._answered = False
            return None

    def _open(self, part: SealedPart, index: int, leaf: Callable[[], bytes] | None = None) -> bytes | None:
        """A chunk's plaintext; None where it is false or not there, which is a failure."""
        try:
            return part.open(index, self._store.read_leaf(part.reference.root, index + 1) if leaf is None else leaf())
        except (AuthenticityError, NotFoundError) as refusal:
            self._fail(refusal.code)
            return None

    def _fail(self, code: str) -> None:
        """The first failure stays; a share that is all there has none any more."""
        if not self.complete:
            self.failure = self.failure or code


class ReadClock:
    """Asks for the chunks of each tick, and takes them on a thread of its own: a slow store holds no clock."""

    def __init__(self, reads: ChunkReads, reads_per_tick: int) -> None:
        self._reads, self._per_tick = reads, reads_per_tick
        self._most = max(reads_per_tick, min(MAX_BEHIND * reads_per_tick, MAX_ASKED))
        self._due = queue.Queue[Asked]()
        self._behind = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="chunk-reads", daemon=True)

    def start(self) -> None:
        """Begin; nothing is read before the first tick."""
        self._thread.start()

    def tick(self, tick: int) -> None:
        """The chunks of this tick are due, unless too many are still on their way. Raises `PeerClosedError`."""
        if self._per_tick == 0 or self._behind + self._per_tick > self._most:
            return
        for asked in self._reads.ask(tick):
            with self._lock:
                self._behind += 1
            self._due.put(asked)

    def _run(self) -> None:
        while True:
            asked = self._due.get()
            try:
                self._reads.take(asked)
            except PeerClosedError:
                return
            with self._lock:
                self._behind -= 1
