"""The job board: what was accepted, where it stands, what came of it (side: host; ARCHITECTURE, decision 2).

States of a job: accepted -> reserved -> running -> finished | failed | cancelled. It never leaves one of the last
three. What the board says is public and proves nothing: enclaves ask the broker who is a member.
Slots and workers are `board.slots` (common/untrusted/slot_board).
"""

import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

from sqlalchemy import delete, insert, select

from common.errors import ConflictError, NotFoundError
from common.identifiers import Digest, JobId, ModelId, PartyKey
from common.untrusted.database import Database
from common.untrusted.job_records import ENDED_STATES, add_event, end_job, job_row
from common.untrusted.job_results import EventRecord, JobResults, ModelRecord
from common.untrusted.slot_board import SlotBoard
from common.untrusted.tables import frame_routes, job_owners, jobs, models

__all__ = ["EventRecord", "JobBoard", "JobRecord", "ModelRecord", "NewJob"]

LISTED_JOBS: Final = 1000
"""A listing is one message; older jobs can still be asked for by their identifier."""


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
class FrameRoute:
    """Where a job's parameter server takes frames straight, and the token that it wants there."""

    host: str
    port: int
    token: bytes = field(repr=False)


class JobBoard(JobResults):
    """Jobs, and what came of them."""

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        super().__init__(database, now=now)
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
        """A party's newest `LISTED_JOBS` jobs, in the order of acceptance."""
        return self._jobs(None, party)

    def state(self, job_id: JobId) -> str:
        """State of a job."""
        return self.job(job_id).state

    def open_frame_route(self, job_id: JobId, route: FrameRoute) -> None:
        """Trainers of this job are to come there, and nowhere else. Raises `NotFoundError`."""
        with self._database.writing() as connection:
            job_row(connection, job_id)
            connection.execute(delete(frame_routes).where(frame_routes.c.job_id == job_id))
            connection.execute(insert(frame_routes).values(job_id=job_id, **asdict(route)))

    def close_frame_route(self, job_id: JobId, token: bytes) -> None:
        """They are to come there no more; a route of another token is another's."""
        with self._database.writing() as connection:
            own = (frame_routes.c.job_id == job_id) & (frame_routes.c.token == token)
            connection.execute(delete(frame_routes).where(own))

    def frame_route(self, job_id: JobId) -> FrameRoute | None:
        """Where they are to come; None while no parameter server has the job."""
        with self._database.reading() as connection:
            row = connection.execute(select(frame_routes).where(frame_routes.c.job_id == job_id)).first()
            return None if row is None else FrameRoute(row.host, row.port, bytes(row.token))

    def _jobs(self, condition: Any, party: PartyKey | None) -> list[JobRecord]:
        query = select(jobs, models.c.model_id).outerjoin(models, models.c.job_id == jobs.c.job_id)
        if party is not None:
            query = query.join(job_owners, job_owners.c.job_id == jobs.c.job_id).where(job_owners.c.party == party)
        if condition is not None:
            query = query.where(condition)
        query = query.order_by(jobs.c.number.desc()).limit(LISTED_JOBS)
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
                for row in reversed(connection.execute(query).all())
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
