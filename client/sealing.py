"""Sealing: a payload becomes a directory of ciphertext, its key stays in the identity directory (side: owner)."""

from collections.abc import Iterator
from pathlib import Path

from client.context import Party
from client.events import Event, Sealed
from client.objects import write_leaves, write_reference
from common.crypto import SecretKey
from common.messages.objects import ObjectRef
from common.sealed_object import ObjectKind, seal_object


def seal_to_directory(party: Party, payload: bytes, kind: ObjectKind, directory: Path) -> Iterator[Event]:
    """Seal `payload` under a fresh key into a new directory. Ends with `Sealed`."""
    key = SecretKey.generate()
    sealed = seal_object(payload, key, kind)
    written = write_leaves(directory, sealed.leaves())
    party.keep_key(sealed.root, key)
    write_reference(directory, ObjectRef(root=sealed.root, chunk_count=sealed.chunk_count))
    yield Sealed(directory=str(directory), root=sealed.root, chunks=sealed.chunk_count, ciphertext_bytes=written)
