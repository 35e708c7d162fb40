"""What both halves of the board do to a job inside a transaction of theirs (side: host)."""

import json
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from common.errors import NotFoundError
from common.identifiers import JobId
from common.untrusted.tables import job_events, jobs, slots

ENDED_STATES: Final = frozenset({"finished", "failed", "cancelled"})


def job_row(connection: Connection, job_id: JobId) -> Any:
    """The row of a job. Raises `NotFoundError` (not_found.job)."""
    row = connection.execute(select(jobs).where(jobs.c.job_id == job_id)).first()
    if row is None:
        raise NotFoundError("not_found.job")
    return row


def set_state(connection: Connection, job_id: JobId, state: str, now: float, **columns: str | float | None) -> None:
    """Enter a state and tell it."""
    connection.execute(update(jobs).where(jobs.c.job_id == job_id).values(state=state, **columns))
    told = {"code": columns["code"]} if columns.get("code") else {}
    add_event(connection, job_id, state, now, **told)


def end_job(connection: Connection, job_id: JobId, outcome: str, code: str | None, now: float) -> str:
    """End a job and free its slots, unless it has ended; the state it is in then."""
    state = str(job_row(connection, job_id).state)
    if state in ENDED_STATES:
        return state
    set_state(connection, job_id, outcome, now, code=code, ended_at=now)
    connection.execute(
        update(slots).where(slots.c.job_id == job_id).values(state="done", worker=None, lease_until=None)
    )
    return outcome


def add_event(
    connection: Connection, job_id: JobId, kind: str, now: float, **fields: str | float | bool | None
) -> None:
    """Append a public event."""
    text = json.dumps(fields, separators=(",", ":"), sort_keys=True)
    connection.execute(insert(job_events).values(job_id=job_id, time=now, kind=kind, fields=text))
