"""Chunk reads on the job's clock, in an order that public parameters and the seed determine (side: enclave).

Holds: the data keys' ciphers.  Reads: leaves of sealed objects.  Sends: requests for them.

Every chunk of every data set is read over and over until the clock stops: each time it is opened; the first time it is
kept (sealed, as it came), then dropped, so work and traffic stay the same. The order is a fresh permutation in each
pass. What is kept is bounded by `MAX_KEPT_BYTES`, checked before anything is read; it is a public size class.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from common.crypto.aead import ChunkCipher
from common.crypto.keys import SecretKey
from common.crypto.labels import SEED_READS
from common.errors import PeerClosedError, QuotaError, Refusal, UnavailableError
from common.identifiers import Digest
from common.messages.objects import ObjectRef
from common.sealed_object import CHUNK_BYTES, ObjectKind, ObjectReader

MAX_KEPT_BYTES: Final = 4 << 30
"""Chunks of one job's data sets together."""

MAX_BEHIND: Final = 4
"""Ticks by which reads may lag behind the clock while the store is slow; what is beyond is skipped, not made up for."""

FetchLeaf = Callable[[Digest, int], bytes]


@dataclass
class _Part:
    """One sealed object on its way."""

    reference: ObjectRef
    key: SecretKey = field(repr=False)
    header: bytes
    cipher: ChunkCipher
    chunks: dict[int, bytes] = field(default_factory=dict)

    def payload(self) -> bytes:
        """Opened from what was kept, checked against the root that the manifest names."""
        reference = self.reference
        reader = ObjectReader(
            self.key,
            self.header,
            reference.chunk_count,
            self.chunks.__getitem__,
            kind=ObjectKind.DATASET,
            root=reference.root,
        )
        return reader.read_all()


def read_order(seed: SecretKey, slot: int, chunk_count: int) -> Iterator[int]:
    """Chunk numbers, pass after pass, without end."""
    generator = np.random.default_rng(seed.derive_number(SEED_READS, slot.to_bytes(8, "big")))
    while True:
        yield from generator.permutation(chunk_count).tolist()


class ChunkReads:
    """The reads of one trainer. `read_next` belongs to one thread; `complete` and `failure` may be asked from any."""

    def __init__(
        self, objects: Sequence[tuple[ObjectRef, SecretKey]], fetch: FetchLeaf, seed: SecretKey, slot: int
    ) -> None:
        if sum(reference.chunk_count for reference, _ in objects) * CHUNK_BYTES > MAX_KEPT_BYTES:
            raise QuotaError("quota.window", expected=f"at most {MAX_KEPT_BYTES} bytes of data sets")
        self._fetch = fetch
        self._parts = [self._begin(reference, key) for reference, key in objects]
        self._places = [(part, index) for part in self._parts for index in range(part.reference.chunk_count)]
        self._order = read_order(seed, slot, len(self._places))
        self.complete = False
        self.failure: str | None = None

    def _begin(self, reference: ObjectRef, key: SecretKey) -> _Part:
        header = self._fetch(reference.root, 0)
        return _Part(reference, key, header, ChunkCipher(key, header, reference.chunk_count))

    def read_next(self) -> None:
        """Read and open one chunk. A store that is away is asked again in the next pass; a false chunk is a failure."""
        part, index = self._places[next(self._order)]
        try:
            chunk = self._fetch(part.reference.root, index + 1)
            part.cipher.open(index, chunk)
        except (UnavailableError, TimeoutError):
            return
        except Refusal as refusal:
            self.failure = None if self.complete else refusal.code
            return
        if not self.complete:
            part.chunks[index] = chunk
            self.complete = all(len(one.chunks) == one.reference.chunk_count for one in self._parts)

    def take_payloads(self) -> list[bytes]:
        """The payload of each object, once all chunks are there; the sealed chunks are let go.

        Raises `UnavailableError` before, `FormatError` and `AuthenticityError` as `ObjectReader` does.
        """
        if not self.complete:
            raise UnavailableError("unavailable.store", expected="all chunks")
        payloads = []
        for part in self._parts:
            payloads.append(part.payload())
            part.chunks.clear()
        return payloads


class ReadClock:
    """Does the reads of each tick on a thread that lives as long as the enclave: a slow store holds no clock."""

    def __init__(self, reads: ChunkReads, reads_per_tick: int) -> None:
        self._reads, self._per_tick = reads, reads_per_tick
        self._due = threading.Semaphore(0)
        self._behind = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="chunk-reads", daemon=True)

    def start(self) -> None:
        """Begin; nothing is read before the first tick."""
        self._thread.start()

    def tick(self) -> None:
        """The reads of one tick are due, unless too many are still to do."""
        with self._lock:
            if self._per_tick == 0 or self._behind >= MAX_BEHIND * self._per_tick:
                return
            self._behind += self._per_tick
        self._due.release(self._per_tick)

    def _run(self) -> None:
        while self._due.acquire():
            try:
                self._reads.read_next()
            except PeerClosedError:
                return
            with self._lock:
                self._behind -= 1
