"""RFC 9162 proofs: another implementation's vectors, and every pair of sizes against the definition by brute force."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.crypto.merkle import MerkleTree, leaf_hash
from common.crypto.merkle_proofs import verify_consistency, verify_inclusion
from common.errors import AuthenticityError
from common.identifiers import Digest
from tests.unit.common.crypto.test_merkle import root_by_definition
from tests.vectors.each_vector import each_vector
from tests.vectors.vector_file import OPENS

Vector = dict[str, Any]
INPUTS = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                                           "606162636465666768696a6b6c6d6e6f")]  # fmt: skip
"""The eight leaves of the reference tests of RFC 6962, on which those vectors are built."""


def tree_of(leaves: list[bytes]) -> MerkleTree:
    tree = MerkleTree()
    for leaf in leaves:
        tree.append(leaf)
    return tree


def verify(vector: Vector) -> None:
    path = [bytes.fromhex(node) for node in vector["path"]]
    root = Digest(vector["root"])
    if "earlier" in vector:
        verify_consistency(vector["earlier"], Digest(vector["earlier_root"]), vector["size"], root, path)
    else:
        verify_inclusion(bytes.fromhex(vector["leaf_hash"]), vector["number"], vector["size"], root, path)


@each_vector("crypto/merkle_proofs.json")
def test_vectors_of_another_implementation(vector: Vector) -> None:
    if vector["outcome"] != OPENS:
        with pytest.raises((AuthenticityError, ValueError)):
            verify(vector)
        return
    verify(vector)
    made, tree = [bytes.fromhex(node) for node in vector["path"]], tree_of(INPUTS)
    if "earlier" in vector and vector["size"] <= 8 and vector["root"] == tree.root(vector["size"]):
        assert list(tree.consistency(vector["earlier"], vector["size"])) == made
    elif "number" in vector and vector["size"] <= 8 and vector["root"] == tree.root(vector["size"]):
        assert list(tree.inclusion(vector["number"], vector["size"])) == made


def test_published_root() -> None:
    assert tree_of(INPUTS).root(8) == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def path_by_definition(number: int, leaves: list[bytes]) -> list[bytes]:
    """PATH, written as the RFC writes it."""
    if len(leaves) == 1:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if number < split:
        return [*path_by_definition(number, leaves[:split]), root_by_definition(leaves[split:])]
    return [*path_by_definition(number - split, leaves[split:]), root_by_definition(leaves[:split])]


def subproof_by_definition(earlier: int, leaves: list[bytes], *, known: bool = True) -> list[bytes]:
    """SUBPROOF, written as the RFC writes it."""
    if earlier == len(leaves):
        return [] if known else [root_by_definition(leaves)]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if earlier <= split:
        return [*subproof_by_definition(earlier, leaves[:split], known=known), root_by_definition(leaves[split:])]
    return [
        *subproof_by_definition(earlier - split, leaves[split:], known=False), root_by_definition(leaves[:split])
    ]  # fmt: skip


def test_every_size_up_to_forty_is_the_definitions() -> None:
    leaves = [b"leaf %d" % number for number in range(40)]
    tree = tree_of(leaves)
    for size in range(1, 41):
        root = tree.root(size)
        assert root.raw() == root_by_definition(leaves[:size])
        for number in range(size):
            path = tree.inclusion(number, size)
            assert list(path) == path_by_definition(number, leaves[:size])
            verify_inclusion(leaf_hash(leaves[number]), number, size, root, path)
        for earlier in range(1, size + 1):
            proof = tree.consistency(earlier, size)
            assert list(proof) == subproof_by_definition(earlier, leaves[:size])
            verify_consistency(earlier, tree.root(earlier), size, root, proof)


@settings(max_examples=200)
@given(st.integers(2, 300), st.data())
def test_no_proof_of_another_thing_is_taken(size: int, data: st.DataObject) -> None:
    tree = tree_of([b"%d" % number for number in range(size)])
    earlier, number = data.draw(st.integers(1, size - 1)), data.draw(st.integers(0, size - 1))
    consistency, inclusion, root = tree.consistency(earlier, size), tree.inclusion(number, size), tree.root(size)
    with pytest.raises(AuthenticityError, match="authenticity.log"):
        verify_inclusion(leaf_hash(b"forged"), number, size, root, inclusion)
    with pytest.raises(AuthenticityError, match="authenticity.log"):
        verify_consistency(earlier, tree.root(earlier - 1), size, root, consistency)
    flipped = list(consistency)
    at = data.draw(st.integers(0, len(flipped) - 1))
    flipped[at] = bytes([flipped[at][0] ^ 1]) + flipped[at][1:]
    for wrong in (flipped, consistency[:-1], (*consistency, bytes(32))):
        with pytest.raises(AuthenticityError, match="authenticity.log"):
            verify_consistency(earlier, tree.root(earlier), size, root, wrong)
    with pytest.raises(AuthenticityError, match="authenticity.log"):
        verify_inclusion(leaf_hash(b"%d" % number), number, size, root, (*inclusion, bytes(32)))


def test_a_tree_makes_no_proof_of_what_it_never_was() -> None:
    tree = tree_of([b"one", b"two"])
    for ask in (lambda: tree.root(3), lambda: tree.inclusion(2, 2), lambda: tree.consistency(3, 2)):
        with pytest.raises(ValueError, match="never had"):
            ask()
    assert tree.consistency(0, 2) == tree.consistency(2, 2) == ()
