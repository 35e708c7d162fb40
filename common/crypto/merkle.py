"""Merkle tree hashing of RFC 9162 section 2.1, for object roots and for the key broker's log (side: library).

Leaf hash = SHA-256(00 || leaf), node hash = SHA-256(01 || left || right); the split is the largest power of two below
the number of leaves. The empty tree's root is SHA-256 of nothing.
"""

import hashlib
from collections.abc import Iterable

from common.identifiers import Digest


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of one leaf."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
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
            node, carry = _node_hash(self.peaks.pop(), node), carry >> 1
        self.peaks.append(node)
        self.size += 1

    def root(self) -> Digest:
        """The root of all leaves so far."""
        if not self.peaks:
            return Digest.of(hashlib.sha256(b"").digest())
        node = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            node = _node_hash(peak, node)
        return Digest.of(node)


def merkle_root(leaves: Iterable[bytes]) -> Digest:
    """Root over `leaves`."""
    frontier = MerkleFrontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()
