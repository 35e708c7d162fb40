"""The registry: who may send what, and whose each stored thing is (side: host; durable truth, public values).

A foreign thing is as unknown as one that does not exist. An object that two parties uploaded belongs to both; its bytes
go when the last of them lets it go. Quota counts objects and open uploads, before a byte of them is taken.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from common.crypto.digests import sha256
from common.errors import NotFoundError, QuotaError
from common.identifiers import Digest, PartyKey, UploadId
from common.messages.objects import ObjectRef
from common.sealed_object.layout import ObjectHeader, ObjectKind
from common.untrusted.database import Database
from common.untrusted.tables import identities, objects, uploads, withdrawn


@dataclass(frozen=True)
class Usage:
    """A party's quota and what is used of it, in bytes."""

    quota_bytes: int
    used_bytes: int


@dataclass(frozen=True)
class Upload:
    """A resumable upload. `chunk_digests`: SHA-256 of each stored chunk, in order.

    `delivered`: the party has sent every leaf; `completed`: the object is committed and the party holds it.
    """

    upload_id: UploadId
    party: PartyKey
    root: Digest
    header: bytes
    chunk_digests: tuple[bytes, ...]
    delivered: bool
    completed: bool


@dataclass(frozen=True)
class StoredObject:
    """An object as one of its holders sees it."""

    root: Digest
    kind: ObjectKind
    chunk_count: int
    bytes: int


def upload_id_of(party: PartyKey, root: Digest) -> UploadId:
    """A party's upload of an object has one name, however often it begins."""
    return UploadId.of(sha256(party.raw() + root.raw()))


class Registry:
    """Identities, uploads and objects."""

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        self._database, self._now = database, now

    def enrol(self, party: PartyKey, quota_bytes: int) -> None:
        """Know this party; one that is known keeps its quota."""
        with self._database.writing() as connection:
            if connection.execute(select(identities).where(identities.c.party == party)).first() is None:
                connection.execute(
                    insert(identities).values(party=party, enrolled_at=self._now(), quota_bytes=quota_bytes)
                )

    def is_enrolled(self, party: PartyKey) -> bool:
        """Whether this party is known, and its enrolment not withdrawn (`enrolment`)."""
        known = select(identities).where(identities.c.party == party)
        over = select(withdrawn.c.party).where(withdrawn.c.party == party)
        with self._database.reading() as connection:
            return connection.execute(known.where(~over.exists())).first() is not None

    def usage(self, party: PartyKey) -> Usage:
        """What this party may and does store. Raises `NotFoundError` (not_found.identity)."""
        with self._database.reading() as connection:
            return _usage(connection, party)

    def begin_upload(self, party: PartyKey, root: Digest, header: bytes, chunk_digests: tuple[bytes, ...]) -> Upload:
        """Take note of an upload, or find the one that was begun. Raises `QuotaError` (quota.bytes)."""
        size = ObjectHeader.parse(header).stored_bytes
        upload_id = upload_id_of(party, root)
        with self._database.writing() as connection:
            row = connection.execute(select(uploads).where(uploads.c.upload_id == upload_id)).first()
            if row is not None:
                return _upload(row)
            usage = _usage(connection, party)
            if usage.used_bytes + size > usage.quota_bytes:
                left = usage.quota_bytes - usage.used_bytes
                raise QuotaError("quota.bytes", expected=f"at most {left} bytes", seen=f"{size} bytes")
            connection.execute(
                insert(uploads).values(
                    upload_id=upload_id,
                    party=party,
                    root=root,
                    header=header,
                    chunk_digests=b"".join(chunk_digests),
                    bytes=size,
                    delivered=False,
                    completed=False,
                    begun_at=self._now(),
                )
            )
        return Upload(upload_id, party, root, header, chunk_digests, delivered=False, completed=False)

    def upload(self, upload_id: UploadId, party: PartyKey) -> Upload:
        """A party's upload. Raises `NotFoundError` (not_found.upload)."""
        with self._database.reading() as connection:
            row = connection.execute(
                select(uploads).where(uploads.c.upload_id == upload_id, uploads.c.party == party)
            ).first()
        if row is None:
            raise NotFoundError("not_found.upload")
        return _upload(row)

    def mark_delivered(self, upload: Upload, *, delivered: bool) -> None:
        """Every leaf was sent; or, where the store lost some, it was not."""
        with self._database.writing() as connection:
            connection.execute(
                update(uploads).where(uploads.c.upload_id == upload.upload_id).values(delivered=delivered)
            )

    def complete_upload(self, upload: Upload) -> StoredObject:
        """The object is committed and this party holds it. Idempotent."""
        header = ObjectHeader.parse(upload.header)
        stored = StoredObject(upload.root, header.kind, header.chunk_count, header.stored_bytes)
        with self._database.writing() as connection:
            connection.execute(update(uploads).where(uploads.c.upload_id == upload.upload_id).values(completed=True))
            if not _holds(connection, upload.root, upload.party):
                connection.execute(
                    insert(objects).values(
                        root=stored.root,
                        party=upload.party,
                        kind=int(stored.kind),
                        chunk_count=stored.chunk_count,
                        bytes=stored.bytes,
                    )
                )
        return stored

    def abandon_upload(self, upload: Upload) -> None:
        """Forget an upload that was not completed; its bytes are free again."""
        with self._database.writing() as connection:
            connection.execute(
                delete(uploads).where(uploads.c.upload_id == upload.upload_id, uploads.c.completed.is_(False))
            )

    def stale_uploads(self, older_than_seconds: float) -> list[Upload]:
        """Uploads that were begun so long ago and not completed."""
        before = self._now() - older_than_seconds
        with self._database.reading() as connection:
            query = select(uploads).where(uploads.c.completed.is_(False), uploads.c.begun_at < before)
            return [_upload(row) for row in connection.execute(query)]

    def objects_of(self, party: PartyKey, *, after: str = "", limit: int | None = None) -> list[StoredObject]:
        """What this party holds, by root above `after`."""
        with self._database.reading() as connection:
            query = select(objects).where(objects.c.party == party, objects.c.root > after)
            return [_object(row) for row in connection.execute(query.order_by(objects.c.root).limit(limit))]

    def holds(self, root: Digest, party: PartyKey) -> bool:
        """Whether this party holds this object."""
        with self._database.reading() as connection:
            return _holds(connection, root, party)

    def require_objects(self, party: PartyKey, kind: ObjectKind, wanted: Collection[ObjectRef]) -> None:
        """Raise `NotFoundError` (not_found.object) unless the party uploaded exactly these."""
        held = {(one.root, one.chunk_count) for one in self.objects_of(party) if one.kind == kind}
        missing = {(one.root, one.chunk_count) for one in wanted} - held
        if missing:
            raise NotFoundError("not_found.object", expected=f"{kind.name.lower()} objects {sorted(missing)}")

    def drop_object(self, root: Digest, party: PartyKey) -> bool:
        """The party lets it go; whether nobody holds it any more."""
        with self._database.writing() as connection:
            connection.execute(delete(objects).where(objects.c.root == root, objects.c.party == party))
            connection.execute(delete(uploads).where(uploads.c.root == root, uploads.c.party == party))
            return connection.execute(select(objects).where(objects.c.root == root)).first() is None


def _usage(connection: Connection, party: PartyKey) -> Usage:
    quota = connection.execute(select(identities.c.quota_bytes).where(identities.c.party == party)).scalar()
    if quota is None:
        raise NotFoundError("not_found.identity")
    held = select(func.coalesce(func.sum(objects.c.bytes), 0)).where(objects.c.party == party)
    open_bytes = select(func.coalesce(func.sum(uploads.c.bytes), 0)).where(
        uploads.c.party == party, uploads.c.completed.is_(False)
    )
    used = connection.execute(held).scalar_one() + connection.execute(open_bytes).scalar_one()
    return Usage(int(quota), int(used))


def _holds(connection: Connection, root: Digest, party: PartyKey) -> bool:
    query = select(objects.c.root).where(objects.c.root == root, objects.c.party == party)
    return connection.execute(query).first() is not None


def _upload(row: Any) -> Upload:
    joined = bytes(row.chunk_digests)
    digests = tuple(joined[at : at + 32] for at in range(0, len(joined), 32))
    return Upload(
        UploadId(row.upload_id),
        PartyKey(row.party),
        Digest(row.root),
        bytes(row.header),
        digests,
        row.delivered,
        row.completed,
    )


def _object(row: Any) -> StoredObject:
    return StoredObject(Digest(row.root), ObjectKind(row.kind), row.chunk_count, row.bytes)
