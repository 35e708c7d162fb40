"""A sealed directory is complete and intact, or it is refused."""

from pathlib import Path

import pytest

from client.objects import leaf_path, read_reference, require_intact, write_leaves, write_reference
from common.crypto.digests import sha256_raw
from common.crypto.merkle import merkle_root
from common.errors import AuthenticityError, ConflictError, FormatError
from common.messages.objects import ObjectRef

LEAVES = [b"header", b"first chunk", b"second chunk"]


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A directory with a header and two chunks."""
    directory = tmp_path / "sealed"
    assert write_leaves(directory, LEAVES) == sum(map(len, LEAVES))
    root = merkle_root([LEAVES[0], *map(sha256_raw, LEAVES[1:])])
    write_reference(directory, ObjectRef(root=root, chunk_count=2))
    return directory


def test_an_intact_directory_passes(sealed: Path) -> None:
    assert require_intact(sealed) == read_reference(sealed)


@pytest.mark.parametrize("leaf", [0, 1, 2])
def test_one_changed_byte_is_noticed(sealed: Path, leaf: int) -> None:
    path = leaf_path(sealed, leaf)
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    with pytest.raises(AuthenticityError):
        require_intact(sealed)


def test_a_missing_leaf_is_noticed(sealed: Path) -> None:
    leaf_path(sealed, 2).unlink()
    with pytest.raises(FormatError, match="format.sealed_object"):
        require_intact(sealed)


def test_an_interrupted_sealing_is_no_object(sealed: Path) -> None:
    (sealed / "object.json").unlink()
    with pytest.raises(FormatError, match="format.sealed_object"):
        require_intact(sealed)


def test_a_used_directory_is_not_written_over(sealed: Path) -> None:
    with pytest.raises(ConflictError, match="conflict.sealed_directory"):
        write_leaves(sealed, LEAVES)
