"""A header that is proven to be the root's stands for all chunks that open under it."""

import pytest

from common.crypto.digests import sha256_raw
from common.crypto.keys import SecretKey
from common.crypto.merkle import MerkleTree
from common.errors import AuthenticityError
from common.sealed_object import ObjectKind, SealedObject, require_header, seal_object

KEY = SecretKey.generate()


def proof_of(sealed: SealedObject) -> bytes:
    tree = MerkleTree()
    for number, leaf in enumerate(sealed.leaves()):
        tree.append(sha256_raw(leaf) if number else leaf)
    return b"".join(tree.inclusion(0, tree.size))


@pytest.mark.parametrize("size", [0, 1000, 5000, 40_000])
def test_a_header_is_proven_for_its_own_root_and_size(size: int) -> None:
    sealed, other = (seal_object(bytes(size), KEY, ObjectKind.DATASET, chunk_bytes=1024) for _ in range(2))
    proof = proof_of(sealed)
    require_header(sealed.header, sealed.root, sealed.chunk_count, proof)
    wrong = [
        (other.header, sealed.root, sealed.chunk_count, proof),
        (other.header, sealed.root, sealed.chunk_count, proof_of(other)),
        (sealed.header, other.root, sealed.chunk_count, proof),
        (sealed.header, sealed.root, 2 * sealed.chunk_count + 1, proof),
        (sealed.header, sealed.root, sealed.chunk_count, proof[:-32]),
        (sealed.header, sealed.root, sealed.chunk_count, proof[:-1]),
        (sealed.header, sealed.root, sealed.chunk_count, proof + bytes(32)),
        (sealed.header, sealed.root, sealed.chunk_count, bytes([proof[0] ^ 1]) + proof[1:]),
    ]
    for header, root, count, hashes in wrong:
        with pytest.raises(AuthenticityError, match=r"authenticity\.sealed_object"):
            require_header(header, root, count, hashes)
