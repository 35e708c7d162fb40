"""Cache and service on a clock of the test's own, against a PCS double that can lie."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.certificate_links import root_key_sha256
from common.dcap.collateral_authenticity import next_update
from common.dcap.collateral_name import name_of_collateral
from common.enclave.simulated_pki import SimulatedPki, encode_document, sign_raw
from common.errors import AppraisalError, AuthenticityError, FormatError, FreshnessError, Refusal, UnavailableError
from common.messages.collateral import StoredCollateral
from common.messages.evidence import AllowedRoot
from common.untrusted.collateral_cache import CollateralCache
from common.untrusted.collateral_service import DAY_SECONDS, CollateralLimits, CollateralService
from common.untrusted.pcs_client import PcsClient
from tests.fakes.pcs_server import LIES, PcsDouble, future_number, other_fmspc, serving

PKI = SimulatedPki.generate(datetime.now(UTC))
STRANGER = SimulatedPki.generate(datetime.now(UTC))
ROOTS = (AllowedRoot(platform="sgx", root_key_sha256=root_key_sha256(PKI.root.certificate)),)
NAME = name_of_collateral(PKI.collateral(datetime.now(UTC)))
LIMITS = CollateralLimits()


class Clock:
    def __init__(self) -> None:
        self.time = float(int(time.time()))

    def __call__(self) -> float:
        return self.time

    def pass_days(self, days: float) -> None:
        self.time += days * DAY_SECONDS


@dataclass
class Site:
    """A PCS, a host with a cache, and their clock."""

    pcs: PcsDouble
    clock: Clock
    directory: Path

    @property
    def cache(self) -> CollateralCache:
        return CollateralCache(self.directory, ROOTS)

    def service(self, *, offline: bool = False) -> CollateralService:
        source = None if offline else PcsClient(self.pcs.url, seconds=2.0)
        return CollateralService(self.cache, source, LIMITS, self.clock)

    @property
    def obtained(self) -> int:
        stored = self.cache.read(NAME)
        assert stored is not None
        return stored.obtained


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    clock = Clock()
    with serving(PcsDouble.of(PKI, clock)) as pcs:
        yield Site(pcs, clock, tmp_path / "collateral")


def test_fetched_once_and_kept_over_a_restart(site: Site) -> None:
    first = site.service().get(NAME)
    assert len(site.pcs.asked) == 4
    assert site.service().get(NAME) == first
    assert len(site.pcs.asked) == 4


def test_refreshed_before_it_expires(site: Site) -> None:
    service = site.service()
    old = service.get(NAME)
    assert service.refresh() == 0
    site.clock.pass_days(1)
    assert service.refresh() == 1
    assert service.get(NAME) != old
    assert site.obtained == int(site.clock())


def test_near_its_next_update_it_is_due_whenever_it_was_obtained(site: Site) -> None:
    limits = CollateralLimits(refresh_after_seconds=13 * DAY_SECONDS)
    aged = PKI.collateral(datetime.fromtimestamp(site.clock() - 22 * DAY_SECONDS, UTC))
    stored = site.cache.put(aged, "a slow mirror", int(site.clock()))
    assert not limits.is_due(stored, site.clock())
    assert limits.is_due(stored, next_update(aged) - limits.refresh_before_seconds)


@pytest.mark.parametrize(
    "lie",
    [*LIES.values(), other_fmspc(PKI), future_number(STRANGER)],
    ids=[*LIES, "another FMSPC", "a number that nobody can surpass"],
)
def test_a_lying_server_displaces_nothing_and_the_last_good_ends(site: Site, lie: object) -> None:
    service = site.service()
    good = service.get(NAME)
    site.pcs.lie = lie  # type: ignore[assignment]
    site.clock.pass_days(2)
    assert service.refresh() == 0
    assert service.get(NAME) == good
    site.clock.time = site.obtained + LIMITS.last_good_seconds
    assert service.get(NAME) == good
    site.clock.time += 1
    with pytest.raises(UnavailableError, match=r"unavailable\.collateral"):
        service.get(NAME)
    site.pcs.lie = None
    site.clock.pass_days(1)  # beyond any pause after failures
    assert service.get(NAME) != good


def test_before_the_limit_it_says_how_long_is_left(site: Site) -> None:
    service = site.service()
    service.get(NAME)
    name, half = f"collateral {NAME}", LIMITS.last_good_seconds // 2
    site.pcs.lie = LIES["errors"]
    for days, noted in ((1, False), (6, False), (6.9, False), (7.1, True), (13, True)):
        site.clock.time = site.obtained + days * DAY_SECONDS
        service.refresh()
        left = int(LIMITS.last_good_seconds - days * DAY_SECONDS)
        assert service.ending() == ({name: f"unavailable.collateral in {left} s"} if noted else {})
    site.clock.time = site.obtained + LIMITS.last_good_seconds + 1
    assert service.ending() == {name: "unavailable.collateral"}
    site.clock.time += half  # beyond any pause after failures
    site.pcs.lie = None
    assert service.refresh() == 1
    site.clock.time += 61
    assert service.ending() == {}


def test_what_ends_soon_is_looked_up_once_a_minute(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks in a loop whether the service is ready reads no files."""
    service, looked = site.service(offline=True), list[int]()

    def look(_: CollateralCache) -> list[StoredCollateral]:
        looked.append(1)
        return []

    monkeypatch.setattr(CollateralCache, "all", look)
    for _ in range(100):
        service.ending()
        site.clock.time += 1
    assert len(looked) == 2


def test_an_older_document_displaces_nothing(site: Site) -> None:
    service = site.service()
    good = service.get(NAME)
    was = PKI.collateral(datetime.fromtimestamp(site.clock() - 5 * DAY_SECONDS, UTC))
    site.pcs.collateral = lambda: was
    site.clock.pass_days(2)
    assert service.refresh() == 0
    assert service.get(NAME) == good
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        site.cache.put(was, "an old file", int(site.clock()))


def test_the_limit_is_never_later_than_the_next_update(site: Site) -> None:
    aged = PKI.collateral(datetime.fromtimestamp(site.clock() - 25 * DAY_SECONDS, UTC))
    site.cache.put(aged, "a slow mirror", int(site.clock()))
    service = site.service(offline=True)
    assert service.get(NAME) == aged
    site.clock.time = next_update(aged) + 1
    assert site.clock() < site.obtained + LIMITS.last_good_seconds
    with pytest.raises(UnavailableError):
        service.get(NAME)


def test_after_a_failure_there_is_a_pause_that_grows(site: Site) -> None:
    service = site.service()
    site.pcs.lie = LIES["errors"]
    for _ in range(3):
        with pytest.raises(UnavailableError):
            service.get(NAME)
    assert len(site.pcs.asked) == 1
    site.clock.time += 61
    with pytest.raises(UnavailableError):
        service.get(NAME)
    site.clock.time += 61
    with pytest.raises(UnavailableError):
        service.get(NAME)
    assert len(site.pcs.asked) == 2


def test_many_at_once_fetch_once(site: Site) -> None:
    service, found = site.service(), []
    threads = [threading.Thread(target=lambda: found.append(service.get(NAME))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(site.pcs.asked) == 4


def test_the_background_thread_refreshes_and_stops(site: Site) -> None:
    service, stopped = site.service(), threading.Event()
    service.get(NAME)
    site.clock.pass_days(1)
    thread = threading.Thread(target=service.run, args=(stopped, 0.01))
    thread.start()
    while site.obtained != int(site.clock()):
        time.sleep(0.01)
    stopped.set()
    thread.join(5)
    assert not thread.is_alive()


def test_limits_are_bounded() -> None:
    with pytest.raises(ValueError, match="30 days"):
        CollateralLimits(last_good_seconds=31 * DAY_SECONDS)
    with pytest.raises(ValueError, match="refresh"):
        CollateralLimits(refresh_after_seconds=15 * DAY_SECONDS)


def _refused(site: Site, **changes: object) -> Refusal:
    good = PKI.collateral(datetime.fromtimestamp(site.clock(), UTC))
    with pytest.raises(Refusal) as refused:
        site.cache.put(good.model_copy(update=changes), "a test", int(site.clock()))
    return refused.value


def test_a_cache_takes_only_what_is_authentic(site: Site) -> None:
    at = datetime.fromtimestamp(site.clock(), UTC)
    foreign, text = STRANGER.collateral(at), encode_document({"id": "QE"})
    with pytest.raises(AppraisalError, match=r"appraisal\.root"):
        site.cache.put(foreign, "a stranger", int(site.clock()))
    assert isinstance(_refused(site, tcb_info_signature=foreign.tcb_info_signature), AuthenticityError)
    assert isinstance(_refused(site, qe_identity_signature=foreign.qe_identity_signature), AuthenticityError)
    assert isinstance(_refused(site, pck_crl=foreign.pck_crl), AuthenticityError)
    assert isinstance(_refused(site, root_ca_crl=foreign.root_ca_crl), AuthenticityError)
    assert isinstance(_refused(site, tcb_info_issuer_chain="nothing"), FormatError)
    signed = sign_raw(PKI.tcb_signing.key, text.encode())
    assert isinstance(_refused(site, qe_identity=text, qe_identity_signature=signed), FormatError)
    expired = PKI.collateral(at - timedelta(days=31))
    with pytest.raises(FreshnessError):
        site.cache.put(expired, "a museum", int(site.clock()))
    assert site.cache.all() == []


def test_a_damaged_file_counts_as_none(site: Site) -> None:
    service = site.service()
    service.get(NAME)
    (path,) = site.directory.glob("*.json")
    path.write_text(json.dumps({"type": "stored-collateral"}))
    assert site.cache.all() == []
    assert service.get(NAME) == site.service().get(NAME)
