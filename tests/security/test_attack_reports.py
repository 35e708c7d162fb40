"""Attacks on what the owner reads of a job: the host keeps sealed reports and serves them as it likes."""

from pathlib import Path

import pytest

from client.context import Party
from client.services import IngestService
from client.watching.reports import Reports
from common.crypto.wrapping import wrap
from common.errors import FreshnessError
from common.identifiers import JobId
from common.key_binding import report_info
from common.messages.policy import JobReport
from common.messages.service import ReportView
from common.messages.signed import Signed, sign
from tests.security.test_attack_sizes import pinned_party


def sealed_report(party: Party, order: Signed, sequence: int) -> ReportView:
    report = JobReport(
        job_id=JobId.of(order.digest), sequence=sequence, tick=sequence, total_ticks=99, round=sequence, loss=None,
        members_live=2, real_frames=0, dummy_frames=0, refused_frames=0,
    )  # fmt: skip
    info = report_info(order.digest, party.identity.signing_key.party, sequence)
    return ReportView(sequence=sequence, sealed=wrap(report.encode(), party.identity.report_key.public, info))


@pytest.mark.parametrize("again", [1, 2], ids=["an older one", "the same one"])
def test_a_report_that_was_read_does_not_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: int
) -> None:
    """Else a host shows an earlier round for the newest, or keeps the owner reading for ever."""
    world, party = pinned_party(tmp_path)
    order = sign(world.order(world.register_data(), world.register_bundle()), party.identity.signing_key)
    pages = iter([(1, 2), (again,), (again,), ()])

    def serve(_service: IngestService, _job: JobId, _after: int | None) -> tuple[ReportView, ...]:
        return tuple(sealed_report(party, order, number) for number in next(pages))

    monkeypatch.setattr(IngestService, "reports", serve)
    reports, read = Reports(party, order, lambda _: None), []
    with pytest.raises(FreshnessError, match="freshness.report"):
        read += [event.report.sequence for event in reports.read()]
    assert reports.newest is not None
    assert reports.newest.sequence == 2
