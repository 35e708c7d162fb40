"""The decision log as the host serves it: entries, leaves and proofs (side: host).

Nothing here is trusted: whoever asks verifies what he gets against a head that the enclave signed. What the host does
decide is who reads an entry: those parties whom it concerns, and of entries that concern nobody in particular anybody.
A tree of all leaves' hashes is kept in memory, 64 bytes a decision, and follows the files.
"""

import threading
from typing import Final, Protocol

from common.crypto.merkle import MerkleTree
from common.errors import FormatError
from common.identifiers import PartyKey
from common.messages.decision_log import MAX_ENTRY_BYTES, ConsistencyProof, InclusionProof, LogEntry, LogItem, LogPage
from common.transparency import leaf_of, log_leaf

PAGE_ITEMS: Final = 512
_PAGE_BYTES: Final = 1 << 19
"""A page ends behind this many bytes; base64 makes a third more of them, and a message is 1 MiB at most."""


class StoredEntries(Protocol):
    """Where the entries are (`state_files.StateFiles`)."""

    @property
    def entry_count(self) -> int:
        """How many there are; never fewer than before."""

    def read_entry(self, number: int) -> bytes:
        """One of them."""


class LogStore:
    """One broker's log. Thread-safe. Raises `FormatError` (format.message) for numbers that are not in it."""

    def __init__(self, entries: StoredEntries) -> None:
        self._entries, self._tree, self._lock = entries, MerkleTree(), threading.Lock()

    @property
    def size(self) -> int:
        """How many entries are stored."""
        return self._entries.entry_count

    def page(self, first: int, reader: PartyKey | None) -> LogPage:
        """Leaves from `first` on, as many as go into one answer, with the entries that `reader` may read."""
        size = self.size
        _require(first <= size)
        items, length = list[LogItem](), 0
        while first + len(items) < size and len(items) < PAGE_ITEMS and length < _PAGE_BYTES:
            item = _item(self._entries.read_entry(first + len(items)), reader)
            items.append(item)
            length += len(item.leaf) + len(item.entry or b"")
        return LogPage(first=first, size=size, items=tuple(items))

    def inclusion(self, number: int, size: int) -> InclusionProof:
        """That entry `number` is in the log of `size` entries."""
        with self._lock:
            tree = self._grown(size)
            _require(number < size)
            return InclusionProof(number=number, size=size, path=tree.inclusion(number, size))

    def consistency(self, earlier: int, size: int) -> ConsistencyProof:
        """That the log of `size` entries begins with that of `earlier` entries."""
        with self._lock:
            tree = self._grown(size)
            _require(earlier <= size)
            return ConsistencyProof(earlier=earlier, size=size, path=tree.consistency(earlier, size))

    def _grown(self, size: int) -> MerkleTree:
        _require(size <= self.size)
        while self._tree.size < size:
            self._tree.append(log_leaf(self._entries.read_entry(self._tree.size)))
        return self._tree


def _item(raw: bytes, reader: PartyKey | None) -> LogItem:
    entry = LogEntry.decode(raw, limit=MAX_ENTRY_BYTES)
    parties = entry.subjects.parties
    return LogItem(leaf=leaf_of(entry, raw), entry=raw if not parties or reader in parties else None)


def _require(within: bool) -> None:
    if not within:
        raise FormatError("format.message", expected="numbers within the log")
