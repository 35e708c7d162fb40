"""Is this the key broker's whole log, and does it extend what was seen before? (side: verifier)

Pure: a bundle, a pinned broker and earlier heads in; the verified log out, or an exception. In this order:

  (1) the tree head is signed by the pinned broker's key and names its genesis;
  (2) there are as many leaves as it says, and they hash to its root (RFC 9162 section 2.1);
  (3) each entry that is told is the one to which its leaf commits, in its place, made after the one before;
  (4) every entry that concerns the reader, or everybody, is told: the host may not keep one back;
  (5) the log begins with this broker's genesis, each start begins the next epoch, and the head is of the last;
  (6) every head that was seen before is one of this log, and not later than its end.

A leaf = transcript(LOG_LEAF, number, tags, SHA-256 of the entry); for each party whom it concerns there is a tag =
SHA-256(transcript(LOG_TAG, number, party key)), cut to 16 bytes. So whoever knows a party's key can tell which entries
concern it; what they say, only who is told.

What is *not* checked: that there is no later head. Whoever wants the newest asks the broker over a nonce of his own.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from common.broker_channel import require_not_older
from common.crypto.digests import sha256_raw, transcript
from common.crypto.labels import LOG_LEAF, LOG_TAG
from common.crypto.merkle import MerkleTree
from common.errors import AuthenticityError, FormatError, FreshnessError
from common.identifiers import PartyKey
from common.messages.broker_identity import Genesis
from common.messages.decision_log import MAX_ENTRY_BYTES, AuditBundle, LogEntry, LogItem, TreeHead
from common.messages.log_heads import LogHead
from common.messages.signed import Signed, open_signed

TAG_BYTES: Final = 16


@dataclass(frozen=True)
class VerifiedLog:
    """A log that passed all checks: its head, the entries that were told, in order, and how many were not."""

    head: TreeHead
    entries: tuple[LogEntry, ...]
    untold: int


def log_leaf(entry: bytes) -> bytes:
    """The leaf of an encoded entry. Raises `FormatError`."""
    return leaf_of(LogEntry.decode(entry, limit=MAX_ENTRY_BYTES), entry)


def leaf_of(entry: LogEntry, raw: bytes) -> bytes:
    """The leaf of an entry that these bytes encode."""
    return _leaf(entry.number, (log_tag(entry.number, one) for one in entry.subjects.parties), raw)


def log_tag(number: int, party: PartyKey) -> bytes:
    """That entry `number` concerns `party`."""
    return sha256_raw(transcript(LOG_TAG, number.to_bytes(8, "big"), party.raw()))[:TAG_BYTES]


def tags_of(leaf: bytes, number: int) -> frozenset[bytes]:
    """The tags of the leaf in this place. Raises `AuthenticityError` (authenticity.log) for bytes that are none."""
    beginning = transcript(LOG_LEAF, number.to_bytes(8, "big"))
    length_end = len(beginning) + 8
    count = int.from_bytes(leaf[len(beginning) : length_end], "big")
    digest_at = length_end + count
    if not leaf.startswith(beginning) or count % TAG_BYTES or len(leaf) != digest_at + 8 + 32:
        raise _refused(f"leaf {number} of a decision log")
    return frozenset(leaf[at : at + TAG_BYTES] for at in range(length_end, digest_at, TAG_BYTES))


def open_tree_head(signed: Signed, broker: Genesis) -> TreeHead:
    """Check (1). Raises `AuthenticityError` or `FormatError`."""
    head = open_signed(signed, TreeHead, [broker.signing_public])
    if head.broker != broker.digest:
        raise _refused(f"a head of broker {broker.digest}")
    return head


def open_entry(raw: bytes, leaf: bytes, number: int) -> LogEntry:
    """The entry to which the leaf in this place commits. Raises `AuthenticityError` (authenticity.log)."""
    try:
        entry = LogEntry.decode(raw, limit=MAX_ENTRY_BYTES)
    except FormatError as cause:
        raise _refused(f"entry {number} of version 1") from cause
    if entry.number != number or leaf_of(entry, raw) != leaf:
        raise _refused(f"the entry to which leaf {number} commits")
    return entry


def verify_log(
    bundle: AuditBundle, broker: Genesis, seen: Sequence[LogHead] = (), reader: PartyKey | None = None
) -> VerifiedLog:
    """Make all six checks. `seen`: heads that this party, its witnesses or anybody else has kept.

    Raises `AuthenticityError` (authenticity.log, authenticity.signature), `FormatError` or `FreshnessError` (6:
    freshness.state, the log was rewound).
    """
    head = open_tree_head(bundle.head, broker)  # (1)
    tree = MerkleTree()
    for item in bundle.items:
        tree.append(item.leaf)
    if (tree.size, tree.root(tree.size)) != (head.head.size, head.head.root):  # (2)
        raise _refused(f"{head.head.size} leaves under root {head.head.root}", f"{tree.size} leaves")
    entries = tuple(_told(bundle.items, reader))  # (3), (4)
    _require_life_of(broker, head, entries)  # (5)
    for one in seen:
        _require_extends(tree, head.head, one)  # (6)
    return VerifiedLog(head, entries, tree.size - len(entries))


def _told(items: Iterable[LogItem], reader: PartyKey | None) -> Iterator[LogEntry]:
    """Checks (3) and (4)."""
    before: LogEntry | None = None
    for number, item in enumerate(items):
        tags = tags_of(item.leaf, number)
        if item.entry is None:
            if not tags or (reader is not None and log_tag(number, reader) in tags):  # (4)
                raise _refused(f"entry {number}, which concerns {reader if tags else 'everybody'}", "its leaf alone")
            continue
        entry = open_entry(item.entry, item.leaf, number)
        if before is not None and (entry.epoch, entry.time) < (before.epoch, before.time):
            raise _refused(f"entry {number} after the one before it")
        before = entry
        yield entry


def _require_life_of(broker: Genesis, head: TreeHead, entries: Sequence[LogEntry]) -> None:
    """Check (5)."""
    if not entries or (entries[0].decision, entries[0].subjects.document) != ("genesis", broker.digest):
        raise _refused(f"a log that begins with genesis {broker.digest}")
    starts = [entry.epoch for entry in entries if entry.decision == "start"]
    if starts != list(range(1, head.head.epoch + 1)):
        raise _refused(f"{head.head.epoch} starts, one for each epoch", len(starts))


def _require_extends(tree: MerkleTree, head: LogHead, seen: LogHead) -> None:
    """Check (6)."""
    require_not_older(head, seen)
    if tree.root(seen.size) != seen.root:
        raise FreshnessError("freshness.state", expected=f"root {seen.root} at size {seen.size}", seen="a fork of it")


def _leaf(number: int, tags: Iterable[bytes], entry: bytes) -> bytes:
    return transcript(LOG_LEAF, number.to_bytes(8, "big"), b"".join(sorted(tags)), sha256_raw(entry))


def _refused(expected: object, seen: object = None) -> AuthenticityError:
    return AuthenticityError("authenticity.log", expected=expected, seen=seen)
