"""Intake: resumable uploads of sealed objects, and reading them back (side: host; sees ciphertext).

An upload is judged before a byte of its chunks is taken: header, number of digests, quota. Each chunk must have the
size and digest that were stated; one that is there is not asked for again. Completing checks the Merkle root over what
lies on the disk. Everything may be repeated: it gives the same answer.
"""

from common.crypto.digests import sha256_raw
from common.errors import AuthenticityError, ConflictError, FormatError, NotFoundError
from common.identifiers import Digest, PartyKey, UploadId
from common.messages.service import BeginUpload, ObjectView, UploadState
from common.sealed_object.layout import ObjectHeader, ObjectKind, object_root
from common.untrusted.blobs import BlobStore, Staging
from common.untrusted.job_board import JobBoard
from common.untrusted.publications import Publications
from common.untrusted.registry import Registry, StoredObject, Upload

_DIGEST_BYTES = 32

LISTED_OBJECTS = 1000
"""A page is one message."""

STALE_UPLOAD_SECONDS = 7 * 86_400
"""An upload that is not completed within a week is forgotten."""


class Intake:
    """Uploads and objects of all parties."""

    def __init__(self, registry: Registry, publications: Publications, board: JobBoard, store: BlobStore) -> None:
        self._registry, self._publications, self._board, self._store = registry, publications, board, store

    def begin(self, party: PartyKey, wish: BeginUpload) -> UploadState:
        """Begin an upload or find it again. Raises `FormatError` (format.sealed_object), `QuotaError` (quota.bytes)."""
        header = ObjectHeader.parse(wish.header)
        if header.kind is ObjectKind.CHECKPOINT:  # a job's own, which its parameter server stores
            raise FormatError("format.sealed_object", expected="a data set, a bundle or a model", seen="a checkpoint")
        digests = _split(wish.chunk_digests)
        if len(digests) != header.chunk_count:
            raise FormatError("format.sealed_object", expected=f"{header.chunk_count} digests", seen=len(digests))
        upload = self._registry.begin_upload(party, object_root(wish.header, digests), wish.header, digests)
        return self._state(upload)

    def put_leaf(self, party: PartyKey, upload_id: UploadId, leaf: int, data: bytes) -> None:
        """Take one chunk, leaf 1 upwards. Raises `FormatError` for another size, `AuthenticityError` for another digest
        (both sealed_object), `NotFoundError` for a leaf that the object has not.
        """
        upload = self._registry.upload(upload_id, party)
        if not 1 <= leaf <= len(upload.chunk_digests):
            raise NotFoundError("not_found.object", expected=f"leaf 1 to {len(upload.chunk_digests)}", seen=leaf)
        if len(data) != ObjectHeader.parse(upload.header).stored_chunk_bytes:
            raise FormatError("format.sealed_object", expected="chunks of the size that the header states")
        if sha256_raw(data) != upload.chunk_digests[leaf - 1]:
            raise AuthenticityError("authenticity.sealed_object")
        if not upload.delivered:
            self._staging(upload).write(leaf, data)

    def state(self, party: PartyKey, upload_id: UploadId) -> UploadState:
        """Where an upload stands."""
        return self._state(self._registry.upload(upload_id, party))

    def complete(self, party: PartyKey, upload_id: UploadId) -> UploadState:
        """Commit the object. Raises `ConflictError` (conflict.incomplete) while leaves are missing."""
        upload = self._registry.upload(upload_id, party)
        if not upload.completed:
            if not upload.delivered:
                self._require_all_leaves(upload)
                self._staging(upload).write(0, upload.header)
                self._registry.mark_delivered(upload, delivered=True)
            self._commit(upload)
            self._registry.complete_upload(upload)
        return self._state(self._registry.upload(upload_id, party))

    def _require_all_leaves(self, upload: Upload) -> None:
        missing = self._missing(upload)
        if missing:
            raise ConflictError("conflict.incomplete", expected="all leaves", seen=f"{len(missing)} are missing")

    def _commit(self, upload: Upload) -> None:
        staging = self._staging(upload)
        if self._store.exists(upload.root):  # another party's, or committed before a crash
            staging.discard()
            return
        try:
            self._store.commit(upload.root, len(upload.chunk_digests) + 1, staging=staging)
        except (AuthenticityError, NotFoundError):
            if not self._store.exists(upload.root):  # else a second request was faster
                self._registry.mark_delivered(upload, delivered=False)
                staging.discard()
                raise

    def abandon(self, party: PartyKey, upload_id: UploadId) -> None:
        """Forget an upload that was not completed. A completed one: delete the object."""
        upload = self._registry.upload(upload_id, party)
        if upload.completed:
            raise ConflictError("conflict.object", expected="an upload that is not completed")
        self._abandon(upload)

    def abandon_stale(self) -> int:
        """Forget old uploads; how many there were."""
        stale = self._registry.stale_uploads(STALE_UPLOAD_SECONDS)
        for upload in stale:
            self._abandon(upload)
        return len(stale)

    def objects(self, party: PartyKey, after: str) -> list[ObjectView]:
        """A page of what this party holds, by root above `after`."""
        return [_view(one) for one in self._registry.objects_of(party, after=after, limit=LISTED_OBJECTS)]

    def read_leaf(self, party: PartyKey, root: Digest, leaf: int) -> bytes:
        """A leaf of an object that is this party's, or the model of a job of its own."""
        if not self._registry.holds(root, party) and not self._board.owns_model_object(root, party):
            raise NotFoundError("not_found.object")
        return self._store.read_leaf(root, leaf)

    def delete_object(self, party: PartyKey, root: Digest) -> None:
        """Delete an object that belongs to no registered data set or bundle of the party."""
        if not self._registry.holds(root, party):
            raise NotFoundError("not_found.object")
        if root in self._publications.roots_in_use(party):
            raise ConflictError("conflict.object", expected="an object that belongs to no data set or bundle")
        self.drop(party, root)

    def drop(self, party: PartyKey, root: Digest) -> None:
        """The party lets an object go; the last one's going deletes the bytes."""
        if self._registry.drop_object(root, party):
            self._store.delete(root)

    def _abandon(self, upload: Upload) -> None:
        self._registry.abandon_upload(upload)
        self._staging(upload).discard()

    def _staging(self, upload: Upload) -> Staging:
        return self._store.staging(upload.upload_id)

    def _missing(self, upload: Upload) -> tuple[int, ...]:
        present = self._staging(upload).leaves() | {0}
        return tuple(leaf for leaf in range(len(upload.chunk_digests) + 1) if leaf not in present)

    def _state(self, upload: Upload) -> UploadState:
        missing = () if upload.completed or upload.delivered else self._missing(upload)
        return UploadState(upload_id=upload.upload_id, root=upload.root, missing=missing, completed=upload.completed)


def _split(joined: bytes) -> tuple[bytes, ...]:
    if len(joined) % _DIGEST_BYTES:
        raise FormatError("format.sealed_object", expected="digests of 32 bytes")
    return tuple(joined[at : at + _DIGEST_BYTES] for at in range(0, len(joined), _DIGEST_BYTES))


def _view(one: StoredObject) -> ObjectView:
    kinds: dict[int, str] = {1: "dataset", 2: "bundle", 3: "model"}
    return ObjectView.model_validate(
        {"root": one.root, "kind": kinds[one.kind], "chunk_count": one.chunk_count, "bytes": one.bytes}
    )
