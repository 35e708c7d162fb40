"""Slots and workers of the board: reserve all or none, claim under a lease, requeue what lapsed (side: host).

States of a slot: waiting (reserved, nobody has it) -> claimed (a worker holds a lease) -> done. A worker that dies lets
its lease lapse and the slot waits again. Free capacity = capacity of live workers - slots that wait or are claimed; a
job gets all its trainer slots and one parameter server, or nothing. Jobs are served in the order of acceptance: one
that must wait holds back later ones, so that it does not starve, unless all live workers together are too few for it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from sqlalchemy import Connection, delete, func, insert, select, update

from common.identifiers import JobId
from common.untrusted.database import Database
from common.untrusted.job_records import ENDED_STATES, end_job, set_state
from common.untrusted.tables import jobs, slots, workers

TRAINER: Final = "trainer"
PARAMSERVER: Final = "paramserver"

HEARTBEAT_SECONDS: Final = 3.0
LIVE_SECONDS: Final = 5 * HEARTBEAT_SECONDS
"""A worker that was not heard of for so long gets nothing new."""

LEASE_SECONDS: Final = 20.0
RENEW_SECONDS: Final = 4.0

MAX_CLAIMS: Final = 8
"""Claims of a slot before its job is given up: the default of attempts in a policy (ARCHITECTURE, decision 5)."""

RETRY_SECONDS: Final = 1.0
LONGEST_RETRY_SECONDS: Final = 30.0

FINAL_FAMILIES: Final = frozenset({"policy", "appraisal", "authenticity", "confinement", "format", "not_found"})
"""A slot that was refused with such a code would be refused again: its job fails at once, with that code."""


@dataclass(frozen=True)
class Slot:
    """One seat in a job: role `trainer` with slots from 0, or `paramserver` with slot 0."""

    job_id: JobId
    role: str
    slot: int


class Lease(Enum):
    """What a worker hears of a slot that it held."""

    HELD = "held"
    OVER = "over"
    """Its job has ended: the holder hears that from the broker too, and ends by itself."""
    LOST = "lost"
    """The slot waits again, or another worker has it: the holder must end now."""


class SlotBoard:
    """The workers' and the scheduler's side of the board."""

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        self._database, self._now = database, now

    # -- workers

    def heartbeat(self, worker: str, role: str, capacity: int) -> None:
        """This worker lives and can hold `capacity` slots of `role`; say so every `HEARTBEAT_SECONDS`."""
        same = (workers.c.worker == worker, workers.c.role == role)
        values = {"capacity": capacity, "seen_at": self._now()}
        with self._database.writing() as connection:
            if not connection.execute(update(workers).where(*same).values(**values)).rowcount:
                connection.execute(insert(workers).values(worker=worker, role=role, **values))

    def retire(self, worker: str, role: str) -> None:
        """This worker ends, or begins anew under its name: what it held waits again."""
        with self._database.writing() as connection:
            for row in connection.execute(
                select(slots).where(slots.c.worker == worker, slots.c.role == role, slots.c.state == "claimed")
            ).all():
                self._requeue(connection, row, None)
            connection.execute(delete(workers).where(workers.c.worker == worker, workers.c.role == role))

    def claim(self, slot: Slot, worker: str, *, lease_seconds: float = LEASE_SECONDS) -> bool:
        """Take a waiting slot; False when it is taken, over or not reserved, or when this worker is full."""
        with self._database.writing() as connection:
            row = self._row(connection, slot)
            if row is None or row.state != "waiting" or not self._has_room(connection, worker, slot.role):
                return False
            connection.execute(
                update(slots)
                .where(*_is(slot))
                .values(state="claimed", worker=worker, claims=row.claims + 1, lease_until=self._now() + lease_seconds)
            )
            if row.job_state == "reserved":
                set_state(connection, slot.job_id, "running", self._now())
            return True

    def renew(self, slot: Slot, worker: str, *, lease_seconds: float = LEASE_SECONDS) -> Lease:
        """Hold it longer, unless the job is over or the slot is no longer this worker's."""
        held = (*_is(slot), slots.c.worker == worker, slots.c.state == "claimed")
        with self._database.writing() as connection:
            until = self._now() + lease_seconds
            if connection.execute(update(slots).where(*held).values(lease_until=until)).rowcount:
                return Lease.HELD
            row = self._row(connection, slot)
            return Lease.OVER if row is not None and row.job_state in ENDED_STATES else Lease.LOST

    def release(self, slot: Slot, worker: str, *, crashed: bool, code: str | None = None) -> None:
        """Give it back: done, or `crashed` and to be claimed again. A `code` that is final fails the job.

        A slot that is no longer this worker's is left alone.
        """
        with self._database.writing() as connection:
            row = self._row(connection, slot)
            if row is None or row.worker != worker or row.state != "claimed":
                return
            if crashed:
                self._requeue(connection, row, code)
            else:
                connection.execute(update(slots).where(*_is(slot)).values(state="done", worker=None, lease_until=None))

    # -- the scheduler

    def reserve(self) -> list[JobId]:
        """Reserve accepted jobs as far as live workers have room; the jobs that were."""
        with self._database.writing() as connection:
            free, total = self._free(connection), self._capacity(connection)
            reserved = []
            accepted = select(jobs.c.job_id, jobs.c.trainers).where(jobs.c.state == "accepted")
            for row in connection.execute(accepted.order_by(jobs.c.number)).all():
                need = {TRAINER: row.trainers, PARAMSERVER: 1}
                if any(total.get(role, 0) < count for role, count in need.items()):
                    continue
                if any(free.get(role, 0) < count for role, count in need.items()):
                    break
                self._reserve_job(connection, JobId(row.job_id), need)
                free = {role: free[role] - count for role, count in need.items()}
                reserved.append(JobId(row.job_id))
            return reserved

    def _reserve_job(self, connection: Connection, job_id: JobId, need: dict[str, int]) -> None:
        connection.execute(
            insert(slots),
            [
                {"job_id": job_id, "role": role, "slot": number, "state": "waiting", "claims": 0, "ready_at": 0.0}
                for role, count in need.items()
                for number in range(count)
            ],
        )
        set_state(connection, job_id, "reserved", self._now())

    def reap(self) -> list[Slot]:
        """Requeue slots whose lease lapsed, and fail jobs whose order is over; the slots that lapsed."""
        now = self._now()
        with self._database.writing() as connection:
            lapsed = connection.execute(
                select(slots).where(slots.c.state == "claimed", slots.c.lease_until < now)
            ).all()
            for row in lapsed:
                self._requeue(connection, row, None)
            live = jobs.c.state.in_(("accepted", "reserved", "running"))
            for row in connection.execute(select(jobs.c.job_id).where(live, jobs.c.not_after < now)).all():
                end_job(connection, JobId(row.job_id), "failed", "freshness.order", now)
            return [_slot(row) for row in lapsed]

    def due(self, *, resend_seconds: float) -> list[Slot]:
        """Waiting slots for which no task was sent within `resend_seconds`."""
        now = self._now()
        with self._database.reading() as connection:
            rows = connection.execute(
                select(slots)
                .join(jobs, jobs.c.job_id == slots.c.job_id)
                .where(
                    slots.c.state == "waiting",
                    slots.c.ready_at <= now,
                    func.coalesce(slots.c.sent_at, 0.0) <= now - resend_seconds,
                )
                .order_by(jobs.c.number, slots.c.role, slots.c.slot)
            )
            return [_slot(row) for row in rows]

    def mark_sent(self, slot: Slot) -> None:
        """A task for it is in the queue."""
        with self._database.writing() as connection:
            connection.execute(update(slots).where(*_is(slot)).values(sent_at=self._now()))

    # -- inside a transaction

    def _requeue(self, connection: Connection, row: Any, code: str | None) -> None:
        now = self._now()
        if code is not None and code.split(".", 1)[0] in FINAL_FAMILIES:
            end_job(connection, JobId(row.job_id), "failed", code, now)
        elif row.claims >= MAX_CLAIMS:
            end_job(connection, JobId(row.job_id), "failed", code or "policy.attempts", now)
        else:
            pause = min(RETRY_SECONDS * 2 ** (row.claims - 1), LONGEST_RETRY_SECONDS)
            connection.execute(
                update(slots)
                .where(*_is(_slot(row)))
                .values(state="waiting", worker=None, lease_until=None, sent_at=None, ready_at=now + pause)
            )

    def _row(self, connection: Connection, slot: Slot) -> Any:
        query = select(slots, jobs.c.state.label("job_state")).join(jobs, jobs.c.job_id == slots.c.job_id)
        return connection.execute(query.where(*_is(slot))).first()

    def _has_room(self, connection: Connection, worker: str, role: str) -> bool:
        mine = (workers.c.worker == worker, workers.c.role == role)
        capacity = connection.execute(select(workers.c.capacity).where(*mine)).scalar()
        held = (slots.c.worker == worker, slots.c.role == role, slots.c.state == "claimed")
        count = connection.execute(select(func.count()).select_from(slots).where(*held)).scalar_one()
        return capacity is not None and count < capacity

    def _capacity(self, connection: Connection) -> dict[str, int]:
        live = select(workers.c.role, func.sum(workers.c.capacity)).where(
            workers.c.seen_at > self._now() - LIVE_SECONDS
        )
        return {role: int(total) for role, total in connection.execute(live.group_by(workers.c.role))}

    def _free(self, connection: Connection) -> dict[str, int]:
        used_query = select(slots.c.role, func.count()).where(slots.c.state.in_(("waiting", "claimed")))
        used = {role: int(count) for role, count in connection.execute(used_query.group_by(slots.c.role))}
        return {role: total - used.get(role, 0) for role, total in self._capacity(connection).items()}


def _is(slot: Slot) -> tuple[Any, ...]:
    return slots.c.job_id == slot.job_id, slots.c.role == slot.role, slots.c.slot == slot.slot


def _slot(row: Any) -> Slot:
    return Slot(JobId(row.job_id), row.role, row.slot)
