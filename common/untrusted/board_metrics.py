"""What the job board says of itself to whoever watches an installation: numbers, no identifiers (side: host)."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from sqlalchemy import Connection, func, select

from common.messages.order import TrainingOrder
from common.messages.signed import Signed
from common.untrusted.database import Database
from common.untrusted.metrics import gauge, plain_gauge
from common.untrusted.slot_board import LIVE_SECONDS
from common.untrusted.tables import job_events, jobs, slots, workers

STATES: Final = ("accepted", "reserved", "running", "finished", "failed", "cancelled")
_OPEN: Final = STATES[:3]

OVERDUE_SECONDS: Final = 600.0
"""Behind the public end of its schedule a running job is stuck. A member that dies and goes on from a checkpoint takes
a few minutes of these."""


class BoardMetrics:
    """Reads the board; each call is one transaction."""

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        self._database, self._now = database, now

    def __call__(self) -> Iterator[Metric]:
        """Jobs, slots and workers. Raises `UnavailableError`."""
        with self._database.reading() as connection:
            counted = dict.fromkeys(STATES, 0.0) | self._jobs(connection)
            yield gauge("cloister_jobs", "Jobs, by state.", "state", counted)
            told = "Since the oldest job that is accepted, reserved or running came to be so; 0 without one."
            yield gauge("cloister_oldest_job_seconds", told, "state", self._oldest(connection))
            told = f"Jobs that run {OVERDUE_SECONDS:.0f} s beyond the public end of their schedules."
            yield plain_gauge("cloister_overdue_jobs", told, self._overdue(connection))
            yield self._slots(connection)
            yield self._capacity(connection)

    def _jobs(self, connection: Connection) -> dict[str, float]:
        rows = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state))
        return {state: float(count) for state, count in rows}

    def _oldest(self, connection: Connection) -> dict[str, float]:
        entered = (
            select(jobs.c.state, func.min(job_events.c.time))
            .join(job_events, (job_events.c.job_id == jobs.c.job_id) & (job_events.c.kind == jobs.c.state))
            .where(jobs.c.state.in_(_OPEN))
            .group_by(jobs.c.state)
        )
        ages = {state: max(0.0, self._now() - since) for state, since in connection.execute(entered)}
        return dict.fromkeys(_OPEN, 0.0) | ages

    def _overdue(self, connection: Connection) -> float:
        began = (
            select(jobs.c.order, func.min(job_events.c.time))
            .join(job_events, (job_events.c.job_id == jobs.c.job_id) & (job_events.c.kind == "running"))
            .where(jobs.c.state == "running")
            .group_by(jobs.c.number, jobs.c.order)
        )
        return float(sum(self._now() > _ends(bytes(order), at) for order, at in connection.execute(began)))

    def _slots(self, connection: Connection) -> GaugeMetricFamily:
        family = GaugeMetricFamily("cloister_slots", "Slots of jobs, by role and state.", labels=("role", "state"))
        found = {(role, state): 0.0 for role in ("trainer", "paramserver") for state in ("waiting", "claimed")}
        query = select(slots.c.role, slots.c.state, func.count()).where(slots.c.state.in_(("waiting", "claimed")))
        for role, state, count in connection.execute(query.group_by(slots.c.role, slots.c.state)):
            found[role, state] = float(count)
        for labels, count in found.items():
            family.add_metric(labels, count)
        return family

    def _capacity(self, connection: Connection) -> GaugeMetricFamily:
        live = workers.c.seen_at > self._now() - LIVE_SECONDS
        totals: dict[str, float] = defaultdict(float, trainer=0.0, paramserver=0.0)
        for role, capacity in connection.execute(select(workers.c.role, workers.c.capacity).where(live)):
            totals[role] += capacity
        return gauge("cloister_capacity", "Slots that live workers have, by role.", "role", totals)


def _ends(order: bytes, began: float) -> float:
    schedule = TrainingOrder.decode(Signed.decode(order).payload).schedule
    return began + schedule.total_ticks * schedule.tick_seconds + OVERDUE_SECONDS
