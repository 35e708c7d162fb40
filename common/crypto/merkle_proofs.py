"""Merkle proofs as whoever distrusts the log's host verifies them: RFC 9162 section 2.1 (side: verifier).

Pure. A proof that is wrong, too short or too long raises `AuthenticityError` (authenticity.log).
"""

from collections.abc import Sequence

from common.crypto.merkle import node_hash
from common.errors import AuthenticityError
from common.identifiers import Digest


def verify_inclusion(leaf: bytes, number: int, size: int, root: Digest, path: Sequence[bytes]) -> None:
    """The tree of `size` leaves with this root has this leaf hash as leaf `number` (section 2.1.3.2, its steps)."""
    if not 0 <= number < size:  # 1
        raise _refused(f"a leaf below {size}")
    at, last, node = number, size - 1, leaf  # 2, 3
    for beside in path:  # 4
        if last == 0:
            raise _refused("a shorter path")
        if at & 1 or at == last:
            node = node_hash(beside, node)
            at, last = _up_to_right_child(at, last)
        else:
            node = node_hash(node, beside)
        at, last = at >> 1, last >> 1
    if last != 0 or node != root.raw():  # 5
        raise _refused("the signed root")


def verify_consistency(earlier: int, earlier_root: Digest, size: int, root: Digest, path: Sequence[bytes]) -> None:
    """The tree of `size` leaves begins with the tree of `earlier` leaves (section 2.1.4.2, its steps).

    Of two equal sizes the roots must be the same and the path empty. Nothing is said about an empty earlier tree.
    """
    if not 0 < earlier <= size:
        raise _refused(f"an earlier size from 1 to {size}")
    if earlier == size:
        if path or earlier_root != root:
            raise _refused("the same root for the same size")
        return
    if not path:  # 1
        raise _refused("a path")
    rest = [earlier_root.raw(), *path] if earlier & earlier - 1 == 0 else list(path)  # 2
    at, last = earlier - 1, size - 1  # 3
    while at & 1:  # 4
        at, last = at >> 1, last >> 1
    old = new = rest[0]  # 5
    for beside in rest[1:]:  # 6
        if last == 0:
            raise _refused("a shorter path")
        if at & 1 or at == last:
            old, new = node_hash(beside, old), node_hash(beside, new)
            at, last = _up_to_right_child(at, last)
        else:
            new = node_hash(new, beside)
        at, last = at >> 1, last >> 1
    if (last, old, new) != (0, earlier_root.raw(), root.raw()):  # 7
        raise _refused("a path from the earlier root to the signed one")


def _up_to_right_child(at: int, last: int) -> tuple[int, int]:
    """Rise, at the right border, until `at` is a right child (or the root): levels without a node beside it."""
    while at and not at & 1:
        at, last = at >> 1, last >> 1
    return at, last


def _refused(expected: str) -> AuthenticityError:
    return AuthenticityError("authenticity.log", expected=expected)
