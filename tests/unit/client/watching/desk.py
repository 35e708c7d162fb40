"""A host that tells a job's course step by step: public states, the order's clock, sealed reports (side: library)."""

from dataclasses import dataclass, field
from typing import Any

from client.context import Party
from common.crypto.wrapping import wrap
from common.errors import NotFoundError
from common.identifiers import JobId
from common.key_binding import report_info
from common.messages.order import TrainingOrder
from common.messages.policy import JobReport
from common.messages.service import JobProgress, JobView, ReportView
from common.messages.signed import Signed

BEGUN = 1000.0


def report(order: Signed, sequence: int, **told: Any) -> JobReport:
    """A report at tick 5 x sequence, with two rounds done in as many."""
    schedule = TrainingOrder.decode(order.payload).schedule
    values: dict[str, Any] = {
        "job_id": JobId.of(order.digest), "sequence": sequence, "tick": 5 * sequence,
        "total_ticks": schedule.total_ticks, "round": min(2, sequence), "loss": 1.0 / (1 + sequence), "members_live": 2,
        "real_frames": 4 * sequence, "dummy_frames": 6 * sequence, "refused_frames": 0,
    }  # fmt: skip
    return JobReport.model_validate(values | told)


@dataclass
class Desk:
    """As the service. Each look at the job goes one state on; with it comes one report, sealed to `owner`."""

    order: Signed
    owner: Party | None = None
    states: tuple[str, ...] = ("accepted", "running", "running", "failed")
    reports_told: list[JobReport] = field(default_factory=list)
    participants: bool = True
    looks: int = 0
    manifests: dict[str, Signed] = field(default_factory=dict)

    def dataset(self, dataset_id: str) -> Signed:
        if dataset_id not in self.manifests:
            raise NotFoundError("not_found.dataset")
        return self.manifests[dataset_id]

    @property
    def state(self) -> str:
        return self.states[min(self.looks, len(self.states)) - 1] if self.looks else self.states[0]

    def job(self, job_id: JobId) -> JobView:
        self.looks += 1
        code = "unavailable.rounds" if self.state == "failed" else None
        return JobView.model_validate({
            "job_id": job_id, "state": self.state, "code": code, "trainers": 2, "trust_level": "simulation",
            "accepted_at": BEGUN, "model_id": None,
        })  # fmt: skip

    def progress(self, job_id: JobId) -> JobProgress:
        if not self.participants:
            raise NotFoundError("not_found.job")
        if self.owner is None:
            self.looks += 1
        over, begun = self.state in {"failed", "finished"}, self.state != "accepted"
        return JobProgress.model_validate({
            "job_id": job_id, "state": self.state, "trainers": 2, "trust_level": "simulation",
            "schedule": TrainingOrder.decode(self.order.payload).schedule, "accepted_at": BEGUN,
            "begun_at": BEGUN if begun else None, "ended_at": BEGUN + 3 if over else None, "now": BEGUN + self.looks,
        })  # fmt: skip

    def reports(self, _job_id: JobId, after: int | None) -> tuple[ReportView, ...]:
        if self.owner is None:
            raise NotFoundError("not_found.job")
        told = [one for one in self.reports_told[: self.looks] if after is None or one.sequence > after]
        return tuple(ReportView(sequence=one.sequence, sealed=self._sealed(self.owner, one)) for one in told)

    def _sealed(self, owner: Party, one: JobReport) -> bytes:
        info = report_info(self.order.digest, owner.identity.signing_key.party, one.sequence)
        return wrap(one.encode(), owner.identity.report_key.public, info)
