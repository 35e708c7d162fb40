"""Merkle tree hashing of RFC 9162 section 2.1, for object roots and for the key broker's log (side: library).

Leaf hash = SHA-256(00 || leaf), node hash = SHA-256(01 || left || right); the split is the largest power of two below
the number of leaves. The empty tree's root is SHA-256 of nothing.

`MerkleFrontier` is all that whoever only appends must keep; `MerkleTree` keeps every hash and makes proofs, which
`merkle_proofs` verifies.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

from common.identifiers import Digest

HASH_BYTES: Final = 32


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of one leaf."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of two subtrees side by side."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class MerkleFrontier:
    """An append-only tree that keeps only the roots of its perfect subtrees, largest first (log2(size) hashes)."""

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)
        if len(self.peaks) != size.bit_count():
            raise ValueError("a frontier of this size has another number of peaks")

    def append(self, leaf: bytes) -> None:
        """Add one leaf."""
        node, carry = leaf_hash(leaf), self.size
        while carry & 1:
            node, carry = node_hash(self.peaks.pop(), node), carry >> 1
        self.peaks.append(node)
        self.size += 1

    def root(self) -> Digest:
        """The root of all leaves so far."""
        if not self.peaks:
            return Digest.of(hashlib.sha256(b"").digest())
        node = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            node = node_hash(peak, node)
        return Digest.of(node)


class MerkleTree:
    """An append-only tree with the hashes of all its perfect subtrees: two a leaf. Proofs of any size that it had."""

    def __init__(self) -> None:
        self._levels = [bytearray()]
        """Level k holds, 32 bytes each, the roots of the perfect subtrees of 2^k leaves, from the left."""

    @property
    def size(self) -> int:
        """Number of leaves."""
        return len(self._levels[0]) // HASH_BYTES

    def append(self, leaf: bytes) -> None:
        """Add one leaf."""
        node, position = leaf_hash(leaf), self.size
        for level in range(position.bit_length() + 1):
            if level == len(self._levels):
                self._levels.append(bytearray())
            self._levels[level] += node
            if not position >> level & 1:
                return
            node = node_hash(self._perfect(level, (position >> level) - 1), node)

    def root(self, size: int) -> Digest:
        """The root when the tree had `size` leaves."""
        self._require(0, size)
        return Digest.of(self._range(0, size) if size else hashlib.sha256(b"").digest())

    def inclusion(self, number: int, size: int) -> tuple[bytes, ...]:
        """PATH of RFC 9162 section 2.1.3.1: that leaf `number` is in the tree of `size` leaves."""
        self._require(number + 1, size)
        start, end, path = 0, size, list[bytes]()
        while end - start > 1:
            middle = start + _split(end - start)
            if number < middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(start, middle))
                start = middle
        return tuple(reversed(path))

    def consistency(self, earlier: int, size: int) -> tuple[bytes, ...]:
        """PROOF of RFC 9162 section 2.1.4.1: that the tree of `size` leaves begins with that of `earlier` leaves."""
        self._require(earlier, size)
        if earlier in (0, size):
            return ()
        start, end, path = 0, size, list[bytes]()
        while earlier != end:
            middle = start + _split(end - start)
            if earlier <= middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(start, middle))
                start = middle
        if start > 0:  # else the verifier knows this subtree: it is the whole earlier tree
            path.append(self._range(start, end))
        return tuple(reversed(path))

    def _require(self, first: int, size: int) -> None:
        if not 0 <= first <= size <= self.size:
            raise ValueError(f"the tree never had these sizes: {first} of {size}, now {self.size}")

    def _range(self, start: int, end: int) -> bytes:
        """Root of the subtree over leaves `start` to `end` - 1, as the splits cut it."""
        count = end - start
        if count & count - 1 == 0:
            return self._perfect(count.bit_length() - 1, start // count)
        middle = start + _split(count)
        return node_hash(self._range(start, middle), self._range(middle, end))

    def _perfect(self, level: int, place: int) -> bytes:
        return bytes(self._levels[level][place * HASH_BYTES : (place + 1) * HASH_BYTES])


def merkle_root(leaves: Iterable[bytes]) -> Digest:
    """Root over `leaves`."""
    frontier = MerkleFrontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def _split(count: int) -> int:
    """The largest power of two below `count`, which is at least 2."""
    return 1 << (count - 1).bit_length() - 1
