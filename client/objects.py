"""A sealed object as a directory on its maker's disk: `object.json` and one file for each leaf (side: owner).

Only ciphertext lies there, so it may be kept, copied or mailed. `leaf-00000000` is the header, `leaf-00000001` the
first chunk: the numbers under which the operator's object store keeps them.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from common.crypto.digests import sha256_raw
from common.crypto.merkle import merkle_root
from common.errors import AuthenticityError, ConflictError, FormatError
from common.messages.objects import ObjectRef

REFERENCE_FILE = "object.json"


def leaf_path(directory: Path, leaf: int) -> Path:
    """File of one leaf: 0 is the header, i + 1 chunk i."""
    return directory / f"leaf-{leaf:08d}"


def read_reference(directory: Path) -> ObjectRef:
    """Root and size of the object in this directory. Raises `FormatError`."""
    path = directory / REFERENCE_FILE
    if not path.is_file():
        raise FormatError("format.sealed_object", expected=f"a directory with {REFERENCE_FILE}", seen=directory)
    return ObjectRef.decode(path.read_bytes())


def read_leaves(directory: Path, reference: ObjectRef) -> Iterator[bytes]:
    """Header, then chunks. A missing file is a `FormatError`."""
    for leaf in range(reference.chunk_count + 1):
        path = leaf_path(directory, leaf)
        if not path.is_file():
            raise FormatError("format.sealed_object", expected=f"{reference.chunk_count + 1} leaves", seen=path.name)
        yield path.read_bytes()


def write_leaves(directory: Path, leaves: Iterable[bytes]) -> int:
    """Write leaves as they come; returns their bytes. The directory must be new or empty (`ConflictError`)."""
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise ConflictError("conflict.sealed_directory", expected="a new or empty directory", seen=directory)
    total = 0
    for number, leaf in enumerate(leaves):
        leaf_path(directory, number).write_bytes(leaf)
        total += len(leaf)
    return total


def write_reference(directory: Path, reference: ObjectRef) -> None:
    """Write last: a directory without it is an interrupted sealing."""
    beside = directory / f".{REFERENCE_FILE}.new"
    beside.write_bytes(reference.encode())
    beside.replace(directory / REFERENCE_FILE)


def require_intact(directory: Path) -> ObjectRef:
    """The reference, if the Merkle root over header and chunk digests is the stated one (common/sealed_object).

    Raises `AuthenticityError` (authenticity.sealed_object). What is inside only the key's holder can check.
    """
    reference = read_reference(directory)
    leaves = read_leaves(directory, reference)
    header = next(leaves)
    root = merkle_root([header, *(sha256_raw(chunk) for chunk in leaves)])
    if root != reference.root:
        raise AuthenticityError("authenticity.sealed_object", expected=reference.root, seen=root)
    return reference
