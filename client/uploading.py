"""Uploading a sealed directory: continues where an earlier try stopped (side: owner)."""

from collections.abc import Iterator
from pathlib import Path

from client.events import UploadAdvanced
from client.objects import leaf_path, read_leaves
from client.services import IngestService
from common.crypto.digests import sha256_raw
from common.messages.objects import ObjectRef


def upload_object(ingest: IngestService, directory: Path, reference: ObjectRef) -> Iterator[UploadAdvanced]:
    """Send the leaves that the operator lacks. One event for each, at least one; `bytes_sent` grows.

    The operator sees header, ciphertext and digests. It refuses a leaf with another digest, and more bytes than the
    identity's quota (413), before anything is sent twice.
    """
    header, *chunks = (
        sha256_raw(leaf) if number else leaf for number, leaf in enumerate(read_leaves(directory, reference))
    )
    state = ingest.begin_upload(header, b"".join(chunks))
    leaves, sent = reference.chunk_count + 1, 0
    resumed = leaves - len(state.missing)
    for number, leaf in enumerate(state.missing):
        data = leaf_path(directory, leaf).read_bytes()
        ingest.put_leaf(state.upload_id, leaf, data)
        sent += len(data)
        yield UploadAdvanced(
            root=reference.root, leaves=resumed + number + 1, of=leaves, resumed=resumed, bytes_sent=sent
        )
    if not state.completed:
        ingest.complete_upload(state.upload_id)
    yield UploadAdvanced(root=reference.root, leaves=leaves, of=leaves, resumed=resumed, bytes_sent=sent)
