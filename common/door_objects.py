"""The object store as an enclave sees it through its door: untrusted bytes by root and leaf (side: enclave).

Nothing that comes back is believed: chunks are authenticated by the object's key (common/sealed_object).
"""

from collections.abc import Callable
from typing import Final, Protocol

from common.crypto.keys import SecretKey
from common.door import Answer
from common.identifiers import Digest
from common.messages.objects import ObjectRef
from common.sealed_object import ObjectKind, ObjectReader, SealedObject, require_header

READ: Final = "object.read"
PROOF: Final = "object.proof"
WRITE: Final = "object.write"
COMMIT: Final = "object.commit"

READ_SECONDS: Final = 60.0


class Caller(Protocol):
    """The enclave's end of its door, as far as objects need it."""

    def call(self, name: str, body: bytes, *, seconds: float = 60.0) -> bytes:
        """Ask the relay. Raises its refusal, `PeerClosedError` or `TimeoutError`."""
        ...

    def begin(self, name: str, body: bytes) -> Answer:
        """Ask it now, and wait later. Raises `PeerClosedError`."""
        ...


def _place(root: Digest, number: int) -> bytes:
    return root.raw() + number.to_bytes(4, "big")


class DoorObjects:
    """Leaves of sealed objects: leaf 0 is the header, leaf i + 1 is chunk i."""

    def __init__(self, door: Caller) -> None:
        self._door = door

    def read_leaf(self, root: Digest, leaf: int) -> bytes:
        """One leaf of a committed object."""
        return self._door.call(READ, _place(root, leaf))

    def begin_leaf(self, root: Digest, leaf: int) -> Callable[[], bytes]:
        """Ask for one leaf now; what is returned waits for it. Raises `PeerClosedError`."""
        answer = self._door.begin(READ, _place(root, leaf))
        return lambda: answer(READ_SECONDS)

    def read_header(self, reference: ObjectRef) -> bytes:
        """The header of a committed object, proven to be its leaf 0: every chunk that opens under it is the object's.

        So nobody needs all chunks to know that one of them belongs to this root. Raises `AuthenticityError`
        (authenticity.sealed_object), and what the store raises.
        """
        header = self.read_leaf(reference.root, 0)
        proof = self._door.call(PROOF, _place(reference.root, 0))
        require_header(header, reference.root, reference.chunk_count, proof)
        return header

    def write_leaf(self, root: Digest, leaf: int, data: bytes) -> None:
        """Store one leaf of an object that is not committed yet."""
        self._door.call(WRITE, _place(root, leaf) + data)

    def commit(self, root: Digest, leaf_count: int) -> None:
        """Make the object readable."""
        self._door.call(COMMIT, _place(root, leaf_count))

    def load(self, reference: ObjectRef, key: SecretKey, kind: ObjectKind) -> bytes:
        """The payload of a sealed object, authenticated by key and root. Raises what `ObjectReader` raises."""
        header = self.read_leaf(reference.root, 0)
        reader = ObjectReader(
            key,
            header,
            reference.chunk_count,
            lambda chunk: self.read_leaf(reference.root, chunk + 1),
            kind=kind,
            root=reference.root,
        )
        return reader.read_all()

    def store(self, sealed: SealedObject) -> ObjectRef:
        """Store a sealed object; doing it again is harmless."""
        for number, leaf in enumerate(sealed.leaves()):
            self.write_leaf(sealed.root, number, leaf)
        self.commit(sealed.root, sealed.chunk_count + 1)
        return ObjectRef(root=sealed.root, chunk_count=sealed.chunk_count)
