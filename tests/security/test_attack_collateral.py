"""A collateral server that lies, errs or stalls, and a host that keeps old documents: nothing opens.

The host is the real one: PCS client, cache, service, and the relay's rule for what to lay beside a request. What it
brings is judged by the real broker.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.broker_channel import BrokerChannel
from common.errors import FreshnessError, Refusal, UnavailableError
from common.identifiers import JobId
from common.key_retrieval import Launch, attest_and_fetch
from common.messages.evidence import AllowedRoot, Collateral, DcapQuote
from common.untrusted.collateral_cache import CollateralCache
from common.untrusted.collateral_service import DAY_SECONDS, CollateralLimits, CollateralService
from common.untrusted.pcs_client import PcsClient
from services.attestation.records import CollateralRecord
from services.attestation.relay import collateral_needed
from tests.fakes.broker_world import TRAINER, BrokerWorld, TestRuntime
from tests.fakes.pcs_server import LIES, PcsDouble, future_number, other_fmspc, serving, slow


@dataclass(frozen=True)
class Bare:
    """An enclave on a platform that hands out quotes without collateral, as hardware does."""

    runtime: TestRuntime

    def evidence(self, report_data: bytes) -> DcapQuote:
        return DcapQuote(quote=self.runtime.evidence(report_data).quote)


class Site:
    """A broker, its host, and a PCS on the test root."""

    def __init__(self, world: BrokerWorld, pcs: PcsDouble, directory: Path) -> None:
        self.world, self.pcs, self.directory = world, pcs, directory
        self.roots: tuple[AllowedRoot, ...] = world.trust.allowed_roots
        self.days = 0.0
        self.hostile: Collateral | None = None  # what a host without scruples offers instead
        self.job_id: JobId = world.start_job()
        self.start()

    def now(self) -> float:
        return self.world.time + self.days * DAY_SECONDS

    def start(self) -> None:
        """The host's process anew; its disk stays."""
        cache, source = CollateralCache(self.directory, self.roots), PcsClient(self.pcs.url, seconds=1.0)
        self.service = CollateralService(cache, source, CollateralLimits(), self.now)

    def issue(self, days_ago: float = 0.0) -> Collateral:
        return self.world.platform.pki.collateral(datetime.fromtimestamp(self.now(), UTC) - timedelta(days=days_ago))

    def carry(self, raw: bytes) -> bytes:
        name = collateral_needed(raw)
        offered = self.hostile or (None if name is None else self.service.get(name))
        return self.world.core.handle(raw, int(self.now()), offered)

    def launch(self, slot: int = 0) -> Launch:
        runtime = Bare(self.world.runtime("trainer"))
        return attest_and_fetch(runtime, BrokerChannel(self.carry), TRAINER, self.job_id, slot)

    def admitted(self) -> int:
        return len(self.world.context.job(self.job_id).launches)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    world = BrokerWorld(tmp_path)
    pki = world.platform.pki
    with serving(PcsDouble(lambda: pki.collateral(datetime.fromtimestamp(world.time, UTC)))) as pcs:
        yield Site(world, pcs, tmp_path / "collateral")


def test_a_quote_without_collateral_is_admitted_with_what_the_host_fetched(site: Site) -> None:
    assert site.launch().keys
    assert site.launch(slot=1).keys
    assert len(site.pcs.asked) == 4


LYING = {**LIES, "slow": slow}


@pytest.mark.parametrize("lie", LYING.values(), ids=LYING.keys())
def test_a_broken_server_opens_nothing(site: Site, lie: Callable[..., None]) -> None:
    site.pcs.lie = lie
    with pytest.raises(UnavailableError, match=r"unavailable\.collateral"):
        site.launch()
    assert site.admitted() == 0


@pytest.mark.parametrize("which", ["another FMSPC", "a number that nobody can surpass"])
def test_a_lying_server_opens_nothing_and_spoils_nothing(site: Site, which: str) -> None:
    pki = site.world.platform.pki
    site.pcs.lie = (
        other_fmspc(pki) if which == "another FMSPC" else future_number(BrokerWorld(site.directory).platform.pki)
    )
    with pytest.raises(UnavailableError):
        site.launch()
    assert not list(site.world.context.state.all(CollateralRecord))
    site.pcs.lie, site.days = None, 0.01
    assert site.launch().keys


def test_a_lie_that_the_hosts_filter_lets_pass_is_refused_inside(site: Site) -> None:
    """A hostile host has no filter."""
    good = site.issue()
    forged = good.model_copy(update={"qe_identity_signature": good.tcb_info_signature})
    site.hostile = forged
    with pytest.raises(Refusal, match=r"authenticity\.quote"):
        site.launch()
    assert site.admitted() == 0


def test_a_host_that_serves_old_documents_is_refused_once_newer_ones_were_seen(site: Site) -> None:
    old = site.issue(days_ago=4)
    site.launch()
    site.hostile = old
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        site.launch(slot=1)
    site.world.restart()
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        site.launch(slot=1)
    assert site.admitted() == 1


def test_a_server_that_goes_back_is_not_followed(site: Site) -> None:
    site.launch()
    old = site.issue(days_ago=4)
    site.pcs.collateral = lambda: old
    site.days = 2
    assert site.service.refresh() == 0


def test_an_outage_is_bridged_for_a_while_and_no_longer(site: Site) -> None:
    site.launch()
    name = site.service.stored()[0].name
    site.pcs.lie = LIES["errors"]
    site.start()
    site.days = 13
    assert site.service.get(name)
    site.days = 14.1
    with pytest.raises(UnavailableError, match=r"unavailable\.collateral"):
        site.service.get(name)
