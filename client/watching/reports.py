"""The reports of a job, each opened once (side: owner)."""

import functools
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from client import events as e
from client.context import Party
from client.services import IngestService
from common.errors import AuthenticityError, FreshnessError, UnavailableError
from common.identifiers import JobId
from common.key_binding import report_info
from common.messages.policy import JobReport
from common.messages.signed import Signed

POLL_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 60
"""How long watching goes on while a service does not answer."""

LAST_REPORT_LOOKS: Final = 10
"""The host learns that a job is over a moment before it is given the report that says how it went."""

T = TypeVar("T")


class Reports:
    """The reports of one job, each opened once; `newest` is the one that was opened last."""

    def __init__(self, party: Party, order: Signed, pause: Callable[[float], None]) -> None:
        self.ingest = IngestService.of(party)
        self._party, self._order, self._pause = party, order, pause
        self.newest: JobReport | None = None

    def read(self) -> Iterator[e.ReportOpened]:
        """All that are there and were not read yet. Raises `FreshnessError` for one that is not newer than the last."""
        job_id = JobId.of(self._order.digest)
        while True:
            after = None if self.newest is None else self.newest.sequence
            page = patiently(functools.partial(self.ingest.reports, job_id, after), self._pause)
            if not page:
                return
            for sealed in page:
                if self.newest is not None and sealed.sequence <= self.newest.sequence:
                    raise FreshnessError("freshness.report", expected=self.newest.sequence + 1, seen=sealed.sequence)
                self.newest = open_report(self._party, self._order, sealed.sequence, sealed.sealed)
                yield e.ReportOpened(report=self.newest)

    def read_last(self) -> Iterator[e.ReportOpened]:
        """The one that says how the job went, unless it is lost."""
        for _ in range(LAST_REPORT_LOOKS):
            if self.newest is not None and self.newest.outcome is not None:
                return
            self._pause(POLL_SECONDS)
            yield from self.read()


def open_report(party: Party, order: Signed, sequence: int, sealed: bytes) -> JobReport:
    """A report of the parameter server's enclave. Raises `AuthenticityError` for another job's or a forged one."""
    info = report_info(order.digest, party.identity.signing_key.party, sequence)
    report = JobReport.decode(party.identity.report_key.open(sealed, info))
    if (report.job_id, report.sequence) != (JobId.of(order.digest), sequence):
        raise AuthenticityError("authenticity.wrapped_key", expected=f"report {sequence}", seen=report.sequence)
    return report


def patiently(ask: Callable[[], T], pause: Callable[[float], None]) -> T:
    """Ask again while a service is away, `PATIENCE_SECONDS` at most."""
    for _ in range(int(PATIENCE_SECONDS / POLL_SECONDS)):
        try:
            return ask()
        except UnavailableError:
            pause(POLL_SECONDS)
    return ask()
