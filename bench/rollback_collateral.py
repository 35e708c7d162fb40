"""Older collateral, authentic and current, shown to the key broker (side: owner)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from bench.rollback_tally import Tally
from common.broker_channel import BrokerChannel
from common.enclave.simulated_pki import CLOCK_MARGIN, issue_crl, sign_raw
from common.key_retrieval import Launch, attest_and_fetch, renew_lease
from common.messages.evidence import Collateral, DcapQuote, SgxDcapEvidence
from tests.fakes.broker_world import TRAINER, BrokerWorld, TestRuntime

PIECES: Final = (
    ("tcb_info", "tcb_info_signature"),
    ("qe_identity", "qe_identity_signature"),
    ("pck_crl",),
    ("root_ca_crl",),
)
"""What Intel signs by itself: each may be rolled back alone."""


@dataclass(frozen=True)
class _Showing:
    """An enclave whose evidence carries this collateral, or none."""

    runtime: TestRuntime
    collateral: Collateral | None

    def evidence(self, report_data: bytes) -> SgxDcapEvidence | DcapQuote:
        quote = self.runtime.evidence(report_data).quote
        return DcapQuote(quote=quote) if self.collateral is None else SgxDcapEvidence(
            quote=quote, collateral=self.collateral
        )  # fmt: skip


class _Site:
    """A job in which a launch was admitted under collateral of so many days ago."""

    def __init__(self, directory: Path, admitted_under: int = 0) -> None:
        self.world = BrokerWorld(directory)
        self.job_id, self.today = self.world.start_job(), self.issued(0)
        self.held = self.launch(self.issued(admitted_under), None, 0)

    def issued(self, days_ago: int) -> Collateral:
        """What Intel gave out on that day."""
        at = datetime.fromtimestamp(self.world.time, UTC) - timedelta(days=days_ago)
        return self.world.platform.pki.collateral(at)

    def out_of_date(self) -> Collateral:
        """What Intel gives out today if it has found this machine's TCB wanting."""
        text = self.today.tcb_info.replace("UpToDate", "OutOfDate")
        signature = sign_raw(self.world.platform.pki.tcb_signing.key, text.encode())
        return self.today.model_copy(update={"tcb_info": text, "tcb_info_signature": signature})

    def revoked(self) -> Collateral:
        """What Intel gives out today if it has revoked this machine's PCK certificate."""
        pki, at = self.world.platform.pki, datetime.fromtimestamp(self.world.time, UTC) - CLOCK_MARGIN
        crl = issue_crl(pki.pck_ca, at, (pki.pck.certificate.serial_number,))
        return self.today.model_copy(update={"pck_crl": crl})

    def launch(self, own: Collateral | None, offered: Collateral | None, slot: int = 1) -> Launch:
        """A launch whose evidence carries its own collateral, or for which the host offers some."""
        channel = BrokerChannel(lambda raw: self.world.core.handle(raw, self.world.time, offered))
        runtime = _Showing(self.world.runtime(TRAINER), own)
        return attest_and_fetch(runtime, channel, TRAINER, self.job_id, slot)

    def ways(self, older: Collateral) -> dict[str, Callable[[], Any]]:
        """How it reaches the broker."""
        runtime = _Showing(self.world.runtime(TRAINER), older)
        return {
            "its own": lambda: self.launch(older, None),
            "the host's": lambda: self.launch(None, older),
            "at a renewal": lambda: renew_lease(runtime, self.world.channel(), self.held),
        }

    def rolled_back(self, days_ago: int) -> Iterator[tuple[str, Collateral]]:
        """Everything of that day, and each document alone."""
        older = self.issued(days_ago)
        yield "everything", older
        for names in PIECES:
            yield names[0], self.today.model_copy(update={name: getattr(older, name) for name in names})


def collateral(directory: Path, length: int) -> Tally:
    """Documents of `length` earlier days, whoever brings them, before and after a start of the broker.

    Three times: today's documents admitted a launch; or they refused one, which those of the days before would admit,
    because they call its TCB wanting, or because they revoke its PCK certificate.
    """
    tally, site = Tally(), _Site(directory / "admitted")
    _show_older(tally, site, "admitted", length)
    site.launch(site.today, None)
    for newest, code, place in (
        (_Site.out_of_date, "appraisal.tcb_status", "refused"),
        (_Site.revoked, "authenticity.quote", "revoked"),
    ):
        site = _Site(directory / place, length)
        tally.refuses("today's documents", code, site.launch, newest(site), None)
        _show_older(tally, site, place, length)
        tally.refuses("today's documents again", code, site.launch, newest(site), None)
    return tally


def _show_older(tally: Tally, site: _Site, newest: str, length: int) -> None:
    for starts in range(2):
        for days in range(1, length + 1):
            for pieces, older in site.rolled_back(days):
                for way, show in site.ways(older).items():
                    what = f"{pieces} of {days} days ago, {way}, {starts} starts later; today's {newest}"
                    tally.refuses(what, "freshness.collateral", show)
        site.world.restart()
