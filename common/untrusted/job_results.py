"""What came of jobs: events, sealed reports, models (side: host; public values and ciphertext).

A half of the job board (common/untrusted/job_board).
"""

import itertools
import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from common.errors import NotFoundError
from common.identifiers import Digest, JobId, ModelId, PartyKey
from common.untrusted.database import Database
from common.untrusted.job_records import add_event, job_row
from common.untrusted.tables import checkpoints, job_events, job_owners, jobs, models, provider_reports, reports

_PAGE: Final = 500
_REPORT_PAGE: Final = 64
_PAGE_BYTES: Final = 512 << 10
"""A page of reports is one message (1 MiB, base64): so many at most, and no more bytes unless it is one."""


@dataclass(frozen=True)
class ModelRecord:
    """A sealed model; `manifest` is the encoded Signed manifest, `root` names the sealed object."""

    model_id: ModelId
    job_id: JobId
    manifest: bytes
    root: Digest


@dataclass(frozen=True)
class EventRecord:
    """One event of a job; numbers grow, with gaps. `fields` are public."""

    number: int
    job_id: JobId
    time: float
    kind: str
    fields: dict[str, Any]


class JobResults:
    """Events, reports and models of all jobs."""

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        self._database, self._now = database, now

    def add_report(self, job_id: JobId, owner: PartyKey, sequence: int, sealed: bytes) -> None:
        """Keep a report that is sealed to an owner of the job; the first one of a sequence number stays.

        Raises `NotFoundError` for a party that is no owner of this job.
        """
        with self._database.writing() as connection:
            who = (job_owners.c.job_id == job_id, job_owners.c.party == owner)
            if connection.execute(select(job_owners).where(*who)).first() is None:
                raise NotFoundError("not_found.job")
            values = {"job_id": job_id, "party": owner, "sequence": sequence}
            same = [reports.c[name] == value for name, value in values.items()]
            if connection.execute(select(reports.c.sequence).where(*same)).first() is None:
                connection.execute(insert(reports).values(sealed=sealed, **values))

    def reports(self, job_id: JobId, owner: PartyKey, *, after: int = -1) -> list[tuple[int, bytes]]:
        """The owner's reports with a sequence number above `after`, at most a page of them, ascending."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(reports.c.sequence, reports.c.sealed)
                .where(reports.c.job_id == job_id, reports.c.party == owner, reports.c.sequence > after)
                .order_by(reports.c.sequence)
                .limit(_REPORT_PAGE)
            )
            return _page([(row.sequence, bytes(row.sealed)) for row in rows])

    def keep_checkpoint(self, job_id: JobId, root: Digest) -> Digest | None:
        """Note the object that holds the job's newest checkpoint; the one before, if any. Raises `NotFoundError`."""
        with self._database.writing() as connection:
            job_row(connection, job_id)
            before = _take_checkpoint(connection, job_id)
            connection.execute(insert(checkpoints).values(job_id=job_id, root=root))
            return before

    def forget_checkpoint(self, job_id: JobId) -> Digest | None:
        """The job needs none any more: the one that it had."""
        with self._database.writing() as connection:
            return _take_checkpoint(connection, job_id)

    def keep_provider_report(self, job_id: JobId, provider: PartyKey, sealed: bytes) -> None:
        """Keep the report of a job's end to its provider; the first one counts. Raises `NotFoundError`."""
        with self._database.writing() as connection:
            job_row(connection, job_id)
            if connection.execute(select(provider_reports).where(provider_reports.c.job_id == job_id)).first() is None:
                values = {"job_id": job_id, "party": provider, "sealed": sealed}
                connection.execute(insert(provider_reports).values(**values))

    def provider_report(self, job_id: JobId, provider: PartyKey) -> bytes:
        """The report to this provider. Raises `NotFoundError` (not_found.report), also for another's."""
        wanted = (provider_reports.c.job_id == job_id, provider_reports.c.party == provider)
        with self._database.reading() as connection:
            row = connection.execute(select(provider_reports.c.sealed).where(*wanted)).first()
        if row is None:
            raise NotFoundError("not_found.report")
        return bytes(row.sealed)

    def add_event(self, job_id: JobId, kind: str, **fields: str | float | bool | None) -> None:
        """Tell the owner something public about a job. Raises `NotFoundError`."""
        with self._database.writing() as connection:
            job_row(connection, job_id)
            add_event(connection, job_id, kind, self._now(), **fields)

    def events(self, job_id: JobId, *, after: int = 0) -> list[EventRecord]:
        """A job's events with a number above `after`, at most a page of them, ascending."""
        return self._events(job_events.c.job_id == job_id, job_events.c.number > after)

    def unpublished_events(self) -> list[EventRecord]:
        """Events that the event feed has not published yet, oldest first."""
        return self._events(job_events.c.published.is_(False))

    def mark_published(self, events: Collection[EventRecord]) -> None:
        """They are on the feed."""
        with self._database.writing() as connection:
            numbers = [one.number for one in events]
            connection.execute(update(job_events).where(job_events.c.number.in_(numbers)).values(published=True))

    def _events(self, *conditions: Any) -> list[EventRecord]:
        query = select(job_events).where(*conditions).order_by(job_events.c.number).limit(_PAGE)
        with self._database.reading() as connection:
            return [
                EventRecord(row.number, JobId(row.job_id), row.time, row.kind, json.loads(row.fields))
                for row in connection.execute(query)
            ]

    def models(self) -> list[ModelRecord]:
        """All sealed models, for the workers that serve them, in the order in which their jobs were accepted."""
        return self._models()

    def model(self, model_id: ModelId, *, party: PartyKey | None = None) -> ModelRecord:
        """One model. With `party`, a model of another owner's job is unknown. Raises `NotFoundError`."""
        found = self._models(models.c.model_id == model_id, party=party)
        if not found:
            raise NotFoundError("not_found.model")
        return found[0]

    def owns_model_object(self, root: Digest, party: PartyKey) -> bool:
        """Whether this object is the sealed model of a job of this party."""
        return bool(self._models(models.c.root == root, party=party))

    def unannounced_models(self) -> list[ModelId]:
        """Models that no query worker was told of yet."""
        return [one.model_id for one in self._models(models.c.announced.is_(False))]

    def mark_announced(self, model_id: ModelId) -> None:
        """The query workers' queue has it."""
        with self._database.writing() as connection:
            connection.execute(update(models).where(models.c.model_id == model_id).values(announced=True))

    def _models(self, *conditions: Any, party: PartyKey | None = None) -> list[ModelRecord]:
        query = select(models).join(jobs, jobs.c.job_id == models.c.job_id).where(*conditions)
        if party is not None:
            query = query.join(job_owners, job_owners.c.job_id == models.c.job_id).where(job_owners.c.party == party)
        with self._database.reading() as connection:
            return [
                ModelRecord(ModelId(row.model_id), JobId(row.job_id), bytes(row.manifest), Digest(row.root))
                for row in connection.execute(query.order_by(jobs.c.number))
            ]

    def _add_model(
        self, connection: Connection, job_id: JobId, model_id: ModelId, manifest: bytes, root: Digest
    ) -> None:
        if connection.execute(select(models).where(models.c.job_id == job_id)).first() is None:
            connection.execute(insert(models).values(model_id=model_id, job_id=job_id, manifest=manifest, root=root))
            add_event(connection, job_id, "model_sealed", self._now(), model_id=model_id)


def _take_checkpoint(connection: Connection, job_id: JobId) -> Digest | None:
    row = connection.execute(select(checkpoints.c.root).where(checkpoints.c.job_id == job_id)).first()
    connection.execute(delete(checkpoints).where(checkpoints.c.job_id == job_id))
    return None if row is None else Digest(row.root)


def _page(found: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    ends = itertools.accumulate(len(sealed) for _, sealed in found)
    within = sum(end <= _PAGE_BYTES for end in ends)
    return found[: max(1, within)]
