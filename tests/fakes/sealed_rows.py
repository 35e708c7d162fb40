"""Data in small units behind a door, and what is asked of it: for the reads of a trainer.

Row i of part p has `x` = [i, p, i, ...] and `y` = i, so that every row tells where it is from.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common.crypto.digests import sha256
from common.crypto.keys import SecretKey
from common.crypto.signing import SigningKey
from common.data_shares import Unit
from common.dataset_payload import encode_pieces
from common.dataset_units import UNIT_CHUNKS
from common.door_objects import DoorObjects
from common.errors import UnavailableError
from common.identifiers import BundleId, DatasetId, Digest
from common.messages.objects import ObjectRef
from common.messages.order import TrainingOrder
from common.sealed_object import ObjectKind, seal_object
from services.trainer_enclave.reading import ChunkReads
from services.trainer_enclave.tables import Tables
from services.trainer_enclave.window_rows import WindowRows
from tests.fakes.answering import AnswersAtOnce
from tests.fakes.in_memory_job import make_schedule
from tests.fakes.training_world import Store

CHUNK_BYTES = 2048
UNIT_BYTES = UNIT_CHUNKS * CHUNK_BYTES
WIDTH = 100
SEED = SecretKey(bytes(range(32)))

WINDOWED = {
    "rounds": 60, "steps_per_round": 4, "batch_rows": 16, "ticks_per_round": 3, "warmup_ticks": 80, "reads_per_tick": 8,
}  # fmt: skip
"""A schedule that reads a unit a tick: the first window is there in time, and three units more each round."""


def numbered(rows: int, part: int = 0) -> dict[str, np.ndarray]:
    """The columns of a part."""
    x = np.repeat(np.arange(rows, dtype=np.float32)[:, None], WIDTH, axis=1)
    x[:, 1] = part
    return {"x": x, "y": np.arange(rows, dtype=np.int64)}


def order_of(trainers: int, sandbox: Any = "native", **schedule: int) -> TrainingOrder:
    """An order of these data; nothing of it is looked at but what is public and concerns reads."""
    key, digest = SigningKey.generate().party, sha256(b"")
    return TrainingOrder(
        nonce=bytes(16), owners=(key,), broker=key, release=digest, datasets=(DatasetId.of(digest),),
        bundle=BundleId.of(digest), sandbox=sandbox, trainers=trainers, schedule=make_schedule(**schedule),
        not_after=1, secret=b"",
    )  # fmt: skip


def read_tick(reads: ChunkReads, tick: int) -> None:
    """Ask for the chunks of a tick, and take them."""
    for asked in reads.ask(tick):
        reads.take(asked)


@dataclass
class SealedRows(AnswersAtOnce):
    """Parts of one data set: one for each of `parts`, with so many rows, under one key.

    `asked` is what a host sees. What `spoils` returns is served in place of a leaf.
    """

    parts: tuple[int, ...]
    key: SecretKey = field(default_factory=SecretKey.generate)
    store: Store = field(default_factory=Store)
    asked: list[tuple[Digest, int]] = field(default_factory=list)
    spoils: Callable[[int, int, bytes], bytes | None] = lambda _part, _leaf, data: data

    def __post_init__(self) -> None:
        self.references = [self.add(numbered(rows, part)) for part, rows in enumerate(self.parts)]

    def add(self, columns: dict[str, np.ndarray], unit_bytes: int = UNIT_BYTES) -> ObjectRef:
        """Seal columns into the store."""
        payload = b"".join(encode_pieces(columns, unit_bytes))
        return self.store.add(seal_object(payload, self.key, ObjectKind.DATASET, chunk_bytes=CHUNK_BYTES))

    def call(self, name: str, body: bytes, *, seconds: float = 60.0) -> bytes:  # noqa: ARG002 - nothing here waits
        """The relay."""
        data = self.store.handle(name, body)
        if name != "object.read":
            return data
        root, leaf = Digest.of(body[:32]), int.from_bytes(body[32:], "big")
        self.asked.append((root, leaf))
        roots = [one.root for one in self.references]
        spoilt = self.spoils(roots.index(root), leaf, data)
        if spoilt is None:
            raise UnavailableError("unavailable.store")
        return spoilt

    def reads(self, slot: int = 0, trainers: int = 2, **order: Any) -> ChunkReads:
        """The reads of a launch, before the clock."""
        objects = [(reference, self.key) for reference in self.references]
        return ChunkReads(objects, DoorObjects(self), SEED, order_of(trainers, **order), slot)

    def tables(self, reads: ChunkReads) -> Tables:
        """All columns of what was read."""
        return Tables(reads.parts, [None] * len(self.references), {"x", "y"})

    def rows(self, reads: ChunkReads, rows_per_round: int = 64, slot: int = 0, held_out: int = 0) -> WindowRows:
        """Rounds over what is too large to keep."""
        return WindowRows(reads, self.tables(reads), SEED, slot, rows_per_round, held_out)


def chunks_of(unit: Unit) -> Iterator[int]:
    """Leaves of a unit in its part."""
    yield from range(unit.first_chunk + 1, unit.first_chunk + unit.chunks + 1)
