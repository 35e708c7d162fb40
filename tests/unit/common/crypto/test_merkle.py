"""The frontier gives the root that RFC 9162 section 2.1.1 defines recursively."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.crypto.merkle import MerkleFrontier, merkle_root


def root_by_definition(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162, written as the RFC writes it."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + root_by_definition(leaves[:split]) + root_by_definition(leaves[split:])).digest()


@given(st.lists(st.binary(max_size=8), max_size=40))
def test_root_is_the_rfcs(leaves: list[bytes]) -> None:
    assert merkle_root(leaves).raw() == root_by_definition(leaves)


def test_a_stored_frontier_goes_on() -> None:
    first = MerkleFrontier()
    for i in range(5):
        first.append(bytes([i]))
    again = MerkleFrontier(first.size, first.peaks)
    again.append(b"\x05")
    assert again.root() == merkle_root([bytes([i]) for i in range(6)])
    with pytest.raises(ValueError, match="peaks"):
        MerkleFrontier(5, first.peaks[:1])
