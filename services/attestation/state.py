"""The broker's sealed state: a chain of entries that the host keeps and cannot read, change, mix or cut unseen (side:
enclave).

Each entry is a blob under the platform's sealing key for this measurement, bound to its number and to the digest of the
entry before it. A start writes everything anew as a snapshot; each decision then appends one entry, which the host must
have stored before a reply leaves that knows of it (`settle`), together with the decision's entry in the log, which it
may read: neither is ever there without the other. Decisions that fall while the host stores are stored together. What
sealing cannot give is freshness: a shorter chain is as authentic as the whole (see `state_anchor`). A host that kept an
old chain also keeps, sealed, what was revoked since.

Earlier roots of the log are kept with it, across starts: a witness objects with a head that it remembers, and if that
is one of them, this state is not older.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from common.crypto.aead import open_blob, open_ring, seal_blob, seal_ring
from common.crypto.digests import sha256_raw
from common.crypto.keys import KeyRing, SecretKey
from common.crypto.labels import RECORD_KEYS, SEALED_STATE
from common.errors import AuthenticityError, FormatError
from common.identifiers import DatasetId, Digest
from common.messages.base import Message
from services.attestation.decision_log import Decision, DecisionLog
from services.attestation.records import IdentityRecord, Record, StateEntry, TallyRecord

_CODE: Final = "authenticity.sealed_state"
_SNAPSHOT_ENTRY_BYTES: Final = 4 << 20
MAX_ENTRY_BYTES: Final = 24 << 20
"""More is not written (format.too_large), for it could not be read back: a frame of the door holds it. A job over
64 data sets under the longest policies needs 16 MiB, the roots at the end of a snapshot 3 MiB."""

COMPACT_AFTER: Final = 20_000
"""Entries after a snapshot before the next one: reading them back takes a few seconds."""

ROOTS_KEPT: Final = 1 << 16
"""Earlier roots of the log that are known. To a witness that is further behind the host proves the newest head."""

_ROOT_BYTES: Final = 32

RecordT = TypeVar("RecordT", bound=Message)


class StateStore(Protocol):
    """Where the host keeps the blobs. What it says it has stored, survives a crash of the host.

    `replace` and `keep_package` come after all that was appended before them, and are stored when they return.
    """

    def load(self) -> Iterable[bytes]:
        """All blobs of the newest chain, in order; none at the very first start."""

    def append(self, entry: bytes, blob: bytes) -> None:
        """One more entry of the log and one more blob, to be stored in this order, both or neither."""

    def settle(self) -> None:
        """All that was appended so far is stored when this returns. From any thread."""

    def replace(self, first: int, entries: Sequence[bytes], blobs: Iterable[bytes]) -> None:
        """Begin a new chain with these blobs; the old one counts until all of them are stored.

        `first` entries of the log are stored already; `entries` come next, with the new chain.
        """

    def keep_package(self, dataset_id: DatasetId, package: bytes) -> None:
        """Keep a data set's recovery package in place of the one before; an empty one: none."""


@dataclass(frozen=True)
class Restored:
    """A chain that was read back: who the broker is, its log as it was, and that log's earlier roots by size.

    `unstored` are entries of that log that the host does not have yet: a new broker's first.
    """

    identity: IdentityRecord
    log: DecisionLog
    time: int
    records: dict[str, Record]
    roots: dict[int, Digest] = field(default_factory=dict)
    unstored: tuple[bytes, ...] = ()


class StateKeys:
    """The platform's sealing key for this measurement, in its three uses."""

    def __init__(self, sealing_key: SecretKey) -> None:
        self._key = sealing_key

    def seal_ring(self, owner: str, **keys: SecretKey) -> bytes:
        """Keys for the record named `owner`."""
        return seal_ring(KeyRing(keys), self._key, RECORD_KEYS, owner.encode())

    def open_ring(self, owner: str, sealed: bytes) -> KeyRing:
        """Keys of that record."""
        return open_ring(self._key, RECORD_KEYS, sealed, owner.encode())

    def seal_seed(self, name: str, seed: bytes) -> bytes:
        """The seed of one of the broker's own keys."""
        return seal_blob(self._key, RECORD_KEYS, seed, b"seed", name.encode())

    def open_seed(self, name: str, sealed: bytes) -> bytes:
        """That seed."""
        return open_blob(self._key, RECORD_KEYS, sealed, b"seed", name.encode(), code=_CODE)

    def seal_entry(self, entry: StateEntry, number: int, previous: bytes) -> bytes:
        """Entry `number` of a chain, after the blob whose SHA-256 is `previous`. Raises `FormatError`."""
        plain = entry.encode()
        if len(plain) > MAX_ENTRY_BYTES:
            raise FormatError("format.too_large", expected=f"a decision of {MAX_ENTRY_BYTES} bytes", seen=len(plain))
        return seal_blob(self._key, SEALED_STATE, plain, number.to_bytes(8, "big"), previous)

    def open_entry(self, blob: bytes, number: int, previous: bytes) -> StateEntry:
        """That entry. Raises `AuthenticityError` (authenticity.sealed_state)."""
        plain = open_blob(self._key, SEALED_STATE, blob, number.to_bytes(8, "big"), previous, code=_CODE)
        return StateEntry.decode(plain, limit=MAX_ENTRY_BYTES)


def restore(store: StateStore, keys: StateKeys) -> Restored | None:
    """Read the chain back; None when the host has none. Raises `AuthenticityError` (authenticity.sealed_state)."""
    identity, records, entry, previous = None, dict[str, Record](), None, bytes(32)
    roots: dict[int, Digest] = {}
    for number, blob in enumerate(store.load()):
        entry = keys.open_entry(blob, number, previous)
        previous = sha256_raw(blob)
        identity = identity or entry.identity
        records.update({record.key: record for record in entry.records})
        roots |= _roots_of(entry)
    if entry is None:
        return None
    if identity is None:
        raise AuthenticityError(_CODE, expected="a whole snapshot")
    return Restored(identity, _log_of(entry), entry.time, records, dict(sorted(roots.items())))


def _log_of(entry: StateEntry) -> DecisionLog:
    return DecisionLog(entry.epoch, entry.log_size, entry.log_peaks)


def _roots_of(entry: StateEntry) -> dict[int, Digest]:
    """The log's root at this entry, and those before it that it carries."""
    raw, log = entry.log_roots, _log_of(entry)
    first = entry.log_size - len(raw) // _ROOT_BYTES
    earlier = (Digest.of(raw[at : at + _ROOT_BYTES]) for at in range(0, len(raw), _ROOT_BYTES))
    return dict(enumerate(earlier, first)) | {log.size: log.head.root}


class BrokerState:
    """All records and the log, as of the last decision; the host has stored it when `settle` returns.

    Made by `begin`, which writes a snapshot. Not for several threads at once, but for `settle`.
    """

    def __init__(self, store: StateStore, keys: StateKeys, restored: Restored) -> None:
        self._store, self.keys, self._records = store, keys, dict(restored.records)
        self.identity, self.log, self.time = restored.identity, restored.log, restored.time
        self._previous, self._next = bytes(32), 0
        self._roots, self._unstored = dict(restored.roots), restored.unstored
        self._enclosed: dict[str, Record] = {}
        self.follower: Callable[[Decision], None] | None = None
        """Told of each decision, before anybody hears of it."""

    @property
    def roots(self) -> Mapping[int, Digest]:
        """Root of the log by size, of this boot and before it; sizes follow each other, the newest is the last."""
        return self._roots

    @property
    def records(self) -> Collection[Record]:
        """Every record."""
        return self._records.values()

    def begin(self, decision: Decision, at: int) -> None:
        """Log the start of this epoch and store a snapshot of everything."""
        self._roots[self.log.size] = self.log.head.root
        self.time = max(self.time, at)
        stored, entry = self.log.size - len(self._unstored), self.log.entry(decision, self.time)
        self.log = self.log.extended(entry)
        self._store.replace(stored, (*self._unstored, entry.raw), self.snapshot())
        self._roots[self.log.size] = self.log.head.root

    def find(self, kind: type[RecordT], name: str) -> RecordT | None:
        """The record of this name, if it is there and of this kind."""
        record = self._records.get(name)
        return record if isinstance(record, kind) else None

    def find_enclosed(self, kind: type[RecordT], name: str) -> RecordT | None:
        """That record as the next decision's entry leaves it: what is enclosed counts."""
        record = self._enclosed.get(name)
        return record if isinstance(record, kind) else self.find(kind, name)

    def encloses(self, kind: type[Record]) -> bool:
        """Whether a record of this kind waits for the next decision."""
        return any(isinstance(record, kind) for record in self._enclosed.values())

    def all(self, kind: type[RecordT]) -> Iterator[RecordT]:
        """Every record of a kind."""
        return (record for record in list(self._records.values()) if isinstance(record, kind))

    def tally(self, name: str) -> int:
        """A counter's value; 0 when it never counted."""
        record = self.find(TallyRecord, name)
        return 0 if record is None else record.count

    def tally_after(self, name: str, more: int) -> TallyRecord:
        """The counter's record once `more` is added, to be committed."""
        return TallyRecord(name=name, count=self.tally(name) + more)

    def enclose(self, record: Record) -> None:
        """Let the next decision's entry carry this record too: it is true now, and no decision of its own."""
        self._enclosed[record.key] = record

    def commit(self, decision: Decision, at: int, *records: Record) -> None:
        """Log a decision and what it changes. Nobody may hear of it before `settle` has returned."""
        records = (*records, *self._enclosed.values())
        time = max(self.time, at)
        entry = self.log.entry(decision, time)
        log = self.log.extended(entry)
        if self._next >= COMPACT_AFTER:
            self._previous, self._next = bytes(32), 0
            self._store.replace(self.log.size, (), self.snapshot())
        blob = self._seal(self._entry(log, time, records))
        self._store.append(entry.raw, blob)
        self._follow(blob)
        self.log, self.time = log, time
        self._records.update({record.key: record for record in records})
        self._enclosed.clear()
        self._roots[log.size] = log.head.root
        while len(self._roots) > ROOTS_KEPT:  # never while frozen: then nothing is decided
            del self._roots[next(iter(self._roots))]
        if self.follower is not None:
            self.follower(decision)

    def settle(self) -> None:
        """Wait until the host has stored all decisions made so far. From any thread."""
        self._store.settle()

    def keep_package(self, dataset_id: DatasetId, package: bytes) -> None:
        """Have the host keep a recovery package (`recovery_packages`)."""
        self._store.keep_package(dataset_id, package)

    def _entry(self, log: DecisionLog, time: int, records: Iterable[Record], *, last: bool = False) -> StateEntry:
        return StateEntry(
            epoch=log.epoch,
            time=time,
            log_size=log.size,
            log_peaks=log.peaks,
            log_roots=self._earlier_roots() if last else b"",
            identity=self.identity if last else None,
            records=tuple(records),
        )

    def _earlier_roots(self) -> bytes:
        return b"".join(root.raw() for size, root in self._roots.items() if size < self.log.size)

    def _seal(self, entry: StateEntry) -> bytes:
        return self.keys.seal_entry(entry, self._next, self._previous)

    def _follow(self, blob: bytes) -> None:
        self._previous, self._next = sha256_raw(blob), self._next + 1

    def snapshot(self) -> Iterator[bytes]:
        """Everything, in entries of a few MiB or of one larger record; the last one makes it whole."""
        batch: list[Record] = []
        size = 0
        for record in self._records.values():
            length = len(record.encode())
            if batch and size + length > _SNAPSHOT_ENTRY_BYTES:
                yield self._sealed_batch(batch)
                batch, size = [], 0
            batch.append(record)
            size += length
        yield self._sealed_batch(batch, last=True)

    def _sealed_batch(self, batch: list[Record], *, last: bool = False) -> bytes:
        blob = self._seal(self._entry(self.log, self.time, batch, last=last))
        self._follow(blob)
        return blob
