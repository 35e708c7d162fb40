"""What a party may know of its jobs: public states and events, reports sealed to it, manifests (side: host)."""

from common.identifiers import JobId, ModelId, PartyKey
from common.messages.service import JobEvent, JobView, ProviderReportView, ReportView
from common.untrusted.job_board import EventRecord, JobBoard, JobRecord


class JobDesk:
    """Reads the board for one party at a time. Another party's job or model is unknown (not_found.*)."""

    def __init__(self, board: JobBoard) -> None:
        self._board = board

    def jobs(self, party: PartyKey) -> list[JobView]:
        """The party's jobs."""
        return [view_of(one) for one in self._board.jobs_of(party)]

    def job(self, party: PartyKey, job_id: JobId) -> JobView:
        """One job."""
        return view_of(self._board.job(job_id, party=party))

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


def event_of(record: EventRecord) -> JobEvent:
    """A board event as a message."""
    return JobEvent(
        number=record.number, job_id=record.job_id, time=record.time, kind=record.kind, fields=record.fields
    )
