"""What a party may know of its jobs: public states and events, reports sealed to it, manifests (side: host)."""

import time
from collections.abc import Callable

from common.errors import NotFoundError
from common.identifiers import JobId, ModelId, PartyKey
from common.messages.order import TrainingOrder
from common.messages.service import JobEvent, JobProgress, JobView, ProviderReportView, ReportView
from common.messages.service import Machines as MachineList
from common.messages.signed import Signed
from common.untrusted.job_board import EventRecord, JobBoard, JobRecord
from common.untrusted.job_records import ENDED_STATES
from common.untrusted.machines import Machines
from common.untrusted.publications import Publications


class JobDesk:
    """Reads the board for one party at a time. Another party's job or model is unknown (not_found.*)."""

    def __init__(
        self, board: JobBoard, publications: Publications, machines: Machines, *, now: Callable[[], float] = time.time
    ) -> None:
        self._board, self._publications, self._machines, self._now = board, publications, machines, now

    def machines(self) -> MachineList:
        """The trainers' machines, for whoever sizes an order."""
        return MachineList(trainers=tuple(self._machines.live()))

    def jobs(self, party: PartyKey) -> list[JobView]:
        """The party's jobs."""
        return [view_of(one) for one in self._board.jobs_of(party)]

    def job(self, party: PartyKey, job_id: JobId) -> JobView:
        """One job."""
        return view_of(self._board.job(job_id, party=party))

    def progress(self, party: PartyKey, job_id: JobId) -> JobProgress:
        """One job beside its schedule, for its owners and for the provider of its bundle. Raises `NotFoundError`."""
        order = TrainingOrder.decode(Signed.decode(self._board.order(job_id)).payload)
        if not self._is_provider(party, order):
            self._board.job(job_id, party=party)
        return progress_of(self._board.job(job_id), order, self._board.events(job_id), self._now())

    def _is_provider(self, party: PartyKey, order: TrainingOrder) -> bool:
        try:
            return self._publications.bundle(order.bundle).party == party
        except NotFoundError:
            return False

    def events(self, party: PartyKey, job_id: JobId, after: int) -> list[JobEvent]:
        """Public events with a number above `after`."""
        self._board.job(job_id, party=party)
        return [event_of(one) for one in self._board.events(job_id, after=after)]

    def reports(self, party: PartyKey, job_id: JobId, after: int) -> list[ReportView]:
        """Reports that are sealed to this party, with a sequence number above `after`."""
        self._board.job(job_id, party=party)
        return [
            ReportView(sequence=number, sealed=sealed)
            for number, sealed in self._board.reports(job_id, party, after=after)
        ]

    def provider_report(self, party: PartyKey, job_id: JobId) -> ProviderReportView:
        """The report of a job's end that is sealed to this party as its provider."""
        return ProviderReportView(sealed=self._board.provider_report(job_id, party))

    def cancel(self, party: PartyKey, job_id: JobId) -> JobView:
        """End a job; one that has ended stays as it is."""
        self._board.job(job_id, party=party)
        self._board.cancel(job_id)
        return self.job(party, job_id)

    def manifest(self, party: PartyKey, model_id: ModelId) -> bytes:
        """The encoded Signed manifest of a model of the party."""
        return self._board.model(model_id, party=party).manifest


def view_of(record: JobRecord) -> JobView:
    """A board record as a message."""
    return JobView.model_validate(
        {
            "job_id": record.job_id,
            "state": record.state,
            "code": record.code,
            "trainers": record.trainers,
            "trust_level": record.trust_level,
            "accepted_at": record.accepted_at,
            "model_id": record.model_id,
        }
    )


def progress_of(record: JobRecord, order: TrainingOrder, events: list[EventRecord], now: float) -> JobProgress:
    """A board record, the order's schedule, and the times of the events between."""
    times = {one.kind: one.time for one in events}
    return JobProgress.model_validate(
        {
            "job_id": record.job_id,
            "state": record.state,
            "trainers": record.trainers,
            "trust_level": record.trust_level,
            "schedule": order.schedule,
            "accepted_at": record.accepted_at,
            "begun_at": times.get("running"),
            "ended_at": times.get(record.state) if record.state in ENDED_STATES else None,
            "now": now,
        }
    )


def event_of(record: EventRecord) -> JobEvent:
    """A board event as a message."""
    return JobEvent(
        number=record.number, job_id=record.job_id, time=record.time, kind=record.kind, fields=record.fields
    )
