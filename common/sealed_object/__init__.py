"""Sealed objects: Cloister's container for bulk data under a data key (side: library).

A sealed object is one header and equal chunks of ciphertext, padded to a size class. Its name is its *root*: the Merkle
root over the header and the digests of the chunks. Stores number the leaves: 0 is the header, i + 1 is chunk i.

    layout    header and size classes: what the host may parse without any key
    sealing   payload -> leaves
    reading   leaves -> payload, by random access
"""

from common.sealed_object.layout import CHUNK_BYTES, ObjectHeader, ObjectKind, object_root, padded_chunk_count
from common.sealed_object.reading import ObjectReader, require_header
from common.sealed_object.sealing import SealedObject, seal_leaves, seal_object

__all__ = [
    "CHUNK_BYTES",
    "ObjectHeader",
    "ObjectKind",
    "ObjectReader",
    "SealedObject",
    "object_root",
    "padded_chunk_count",
    "require_header",
    "seal_leaves",
    "seal_object",
]
