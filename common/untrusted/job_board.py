"""The job board: what was accepted, where it stands, what came of it (side: host; durable truth of DESIGN decision 15).

States of a job: accepted -> reserved -> running -> finished | finished_short | failed | cancelled. It never leaves one
of the last four. What the board says is public and proves nothing: enclaves ask the broker who is a member.
Slots and workers are `board.slots` (common/untrusted/slot_board).
"""

import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, Self

from sqlalchemy import Connection, insert, select, update

from common.errors import ConflictError, NotFoundError
from common.identifiers import Digest, JobId, ModelId, PartyKey
from common.untrusted.database import Database
from common.untrusted.job_records import ENDED_STATES, add_event, end_job, job_row
from common.untrusted.slot_board import SlotBoard
from common.untrusted.tables import job_events, job_owners, jobs, models, reports

_PAGE: Final = 500
_REPORT_PAGE: Final = 64
"""A page of reports is one message (1 MiB)."""


@dataclass(frozen=True)
class NewJob:
    """An order that the broker has accepted. `order` is the encoded Signed order; `not_after` its last second."""

    job_id: JobId
    order: bytes
    owners: Collection[PartyKey]
    trainers: int
    not_after: int
    trust_level: str


@dataclass(frozen=True)
class JobRecord:
    """The public state of a job. `code` is a refusal's public code."""

    job_id: JobId
    state: str
    code: str | None
    trainers: int
    trust_level: str
    accepted_at: float
    model_id: ModelId | None


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


class JobBoard:
    """Jobs, their reports, events and models."""

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        self._database, self._now = database, now
        self.slots = SlotBoard(database, now=now)

    @classmethod
    def open(cls, database_url: str) -> Self:
        """The board in this database."""
        return cls(Database(database_url))

    def submit(self, job: NewJob) -> bool:
        """Put an accepted order on the board, durably; whether it is new. Idempotent."""
        with self._database.writing() as connection:
            if connection.execute(select(jobs.c.number).where(jobs.c.job_id == job.job_id)).first():
                return False
            connection.execute(
                insert(jobs).values(
                    job_id=job.job_id,
                    order=job.order,
                    trainers=job.trainers,
                    not_after=job.not_after,
                    trust_level=job.trust_level,
                    state="accepted",
                    accepted_at=self._now(),
                )
            )
            connection.execute(insert(job_owners), [{"job_id": job.job_id, "party": one} for one in set(job.owners)])
            add_event(connection, job.job_id, "accepted", self._now(), trainers=job.trainers)
            return True

    def order(self, job_id: JobId) -> bytes:
        """The encoded Signed order. Raises `NotFoundError` (not_found.job)."""
        with self._database.reading() as connection:
            return bytes(job_row(connection, job_id).order)

    def job(self, job_id: JobId, *, party: PartyKey | None = None) -> JobRecord:
        """One job. With `party`, another owner's job is as unknown as one that does not exist."""
        found = self._jobs(jobs.c.job_id == job_id, party)
        if not found:
            raise NotFoundError("not_found.job")
        return found[0]

    def jobs_of(self, party: PartyKey) -> list[JobRecord]:
        """A party's jobs in the order of acceptance."""
        return self._jobs(None, party)

    def state(self, job_id: JobId) -> str:
        """State of a job."""
        return self.job(job_id).state

    def _jobs(self, condition: Any, party: PartyKey | None) -> list[JobRecord]:
        query = select(jobs, models.c.model_id).outerjoin(models, models.c.job_id == jobs.c.job_id)
        if party is not None:
            query = query.join(job_owners, job_owners.c.job_id == jobs.c.job_id).where(job_owners.c.party == party)
        if condition is not None:
            query = query.where(condition)
        with self._database.reading() as connection:
            return [
                JobRecord(
                    JobId(row.job_id),
                    row.state,
                    row.code,
                    row.trainers,
                    row.trust_level,
                    row.accepted_at,
                    None if row.model_id is None else ModelId(row.model_id),
                )
                for row in connection.execute(query.order_by(jobs.c.number))
            ]

    def cancel(self, job_id: JobId) -> str:
        """End a job early; the state it is in then. A job that has ended stays as it is."""
        with self._database.writing() as connection:
            return end_job(connection, job_id, "cancelled", None, self._now())

    def finish(
        self,
        job_id: JobId,
        outcome: str,
        *,
        code: str | None = None,
        model: tuple[ModelId, bytes, Digest] | None = None,
    ) -> str:
        """Record a job's end, and its model (id, encoded Signed manifest, root of the object); the state it is in then.

        Idempotent; a job that has ended otherwise stays as it is (`ConflictError` if it would get a model).
        """
        if outcome not in ENDED_STATES:
            raise ValueError(f"{outcome} is no outcome of a job")
        with self._database.writing() as connection:
            state = end_job(connection, job_id, outcome, code, self._now())
            if model is not None:
                if state != outcome:
                    raise ConflictError("conflict.job_state", expected=outcome, seen=state)
                self._add_model(connection, job_id, *model)
            return state

    def _add_model(
        self, connection: Connection, job_id: JobId, model_id: ModelId, manifest: bytes, root: Digest
    ) -> None:
        if connection.execute(select(models).where(models.c.job_id == job_id)).first() is None:
            connection.execute(insert(models).values(model_id=model_id, job_id=job_id, manifest=manifest, root=root))
            add_event(connection, job_id, "model_sealed", self._now(), model_id=model_id)

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
            return [(row.sequence, bytes(row.sealed)) for row in rows]

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
        """All sealed models, for the workers that serve them."""
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
        query = select(models).where(*conditions)
        if party is not None:
            query = query.join(job_owners, job_owners.c.job_id == models.c.job_id).where(job_owners.c.party == party)
        with self._database.reading() as connection:
            return [
                ModelRecord(ModelId(row.model_id), JobId(row.job_id), bytes(row.manifest), Digest(row.root))
                for row in connection.execute(query.order_by(models.c.model_id))
            ]
