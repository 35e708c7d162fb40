"""Collateral that the host offers, and a broker that remembers how new it was."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from common.broker_channel import BrokerChannel
from common.dcap.collateral_memory import marks_of
from common.enclave.simulated_pki import SimulatedPki
from common.errors import AppraisalError, AuthenticityError, FormatError, FreshnessError, Refusal
from common.identifiers import JobId, MrEnclave
from common.key_retrieval import Launch, attest_and_fetch, renew_lease
from common.messages.evidence import Collateral, DcapQuote, SgxDcapEvidence
from services.attestation.records import CollateralRecord
from tests.fakes.broker_world import TRAINER, BrokerWorld, TestRuntime


@dataclass(frozen=True)
class Showing:
    """An enclave whose evidence carries this collateral, or none."""

    runtime: TestRuntime
    collateral: Collateral | None

    def evidence(self, report_data: bytes) -> SgxDcapEvidence | DcapQuote:
        quote = self.runtime.evidence(report_data).quote
        return DcapQuote(quote=quote) if self.collateral is None else SgxDcapEvidence(
            quote=quote, collateral=self.collateral
        )  # fmt: skip


@pytest.fixture
def job_id(world: BrokerWorld) -> JobId:
    return world.start_job()


def issued(world: BrokerWorld, days_ago: float = 0.0, pki: SimulatedPki | None = None) -> Collateral:
    at = datetime.fromtimestamp(world.time, UTC) - timedelta(days=days_ago)
    return (pki or world.platform.pki).collateral(at)


def launch(
    world: BrokerWorld,
    job_id: JobId,
    *,
    own: Collateral | None = None,
    offered: Collateral | None = None,
    slot: int = 0,
    measurement: MrEnclave | None = None,
) -> Launch:
    runtime = Showing(world.runtime(TRAINER, measurement), own)
    channel = BrokerChannel(lambda raw: world.core.handle(raw, world.time, offered))
    return attest_and_fetch(runtime, channel, TRAINER, job_id, slot)


def remembered(world: BrokerWorld) -> set[object]:
    return {record.mark for record in world.context.state.all(CollateralRecord)}


def test_a_bare_quote_is_admitted_with_what_the_host_offers(world: BrokerWorld, job_id: JobId) -> None:
    offered = issued(world)
    assert launch(world, job_id, offered=offered).attempt == 1
    assert remembered(world) == set(marks_of(offered))


def test_a_bare_quote_without_an_offer_is_refused(world: BrokerWorld, job_id: JobId) -> None:
    with pytest.raises(FormatError, match=r"format\.collateral"):
        launch(world, job_id)


def test_evidence_keeps_its_own_collateral(world: BrokerWorld, job_id: JobId) -> None:
    stranger = SimulatedPki.generate(datetime.now(UTC))
    assert launch(world, job_id, own=issued(world), offered=issued(world, pki=stranger)).attempt == 1


def test_what_the_host_offers_is_verified_like_any_other(world: BrokerWorld, job_id: JobId) -> None:
    stranger = SimulatedPki.generate(datetime.now(UTC))
    good = issued(world)
    for offered, kind in (
        (issued(world, pki=stranger), FormatError),  # another root than the quote's
        (good.model_copy(update={"tcb_info": good.tcb_info.replace("UpToDate", "UpToDatE")}), AuthenticityError),
        (issued(world, 31), FreshnessError),
    ):
        with pytest.raises(kind):
            launch(world, job_id, offered=offered)
    assert remembered(world) == set()


def test_older_collateral_is_refused_whoever_brings_it(world: BrokerWorld, job_id: JobId) -> None:
    launch(world, job_id, own=issued(world))
    older = issued(world, 3)
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        launch(world, job_id, own=older, slot=1)
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        launch(world, job_id, offered=older, slot=1)
    assert launch(world, job_id, offered=issued(world), slot=1).attempt == 1


def test_each_piece_alone_cannot_be_rolled_back(world: BrokerWorld, job_id: JobId) -> None:
    newest, older = issued(world), issued(world, 3)
    launch(world, job_id, own=newest)
    documents = {name: getattr(older, name) for name in ("tcb_info", "tcb_info_signature")}
    identity = {name: getattr(older, name) for name in ("qe_identity", "qe_identity_signature")}
    for pieces in (documents, identity, {"pck_crl": older.pck_crl}, {"root_ca_crl": older.root_ca_crl}):
        with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
            launch(world, job_id, own=newest.model_copy(update=pieces), slot=1)


def test_the_memory_survives_a_restart_and_grows(world: BrokerWorld, job_id: JobId) -> None:
    launch(world, job_id, own=issued(world, 2))
    launch(world, job_id, own=issued(world, 1), slot=1)
    world.restart()
    assert remembered(world) == set(marks_of(issued(world, 1)))
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        launch(world, job_id, own=issued(world, 2))


def test_a_refused_launch_teaches_the_broker_nothing(world: BrokerWorld, job_id: JobId) -> None:
    """Else whoever may ask for a challenge could shut out everybody with collateral of another day."""
    with pytest.raises(AppraisalError):
        launch(world, job_id, own=issued(world), measurement=MrEnclave("f" * 64))
    assert remembered(world) == set()
    assert launch(world, job_id, own=issued(world, 3)).attempt == 1


def test_a_forged_future_does_not_shut_out_the_present(world: BrokerWorld, job_id: JobId) -> None:
    stranger = replace(world.platform.pki, tcb_signing=SimulatedPki.generate(datetime.now(UTC)).tcb_signing)
    with pytest.raises(Refusal):
        launch(world, job_id, own=issued(world, -5, pki=stranger))
    assert launch(world, job_id, own=issued(world)).attempt == 1


def test_renewals_are_held_to_the_same_and_taught_nothing(world: BrokerWorld, job_id: JobId) -> None:
    held = launch(world, job_id, own=issued(world, 1))

    def renew(own: Collateral | None, offered: Collateral | None = None) -> int:
        channel = BrokerChannel(lambda raw: world.core.handle(raw, world.time, offered))
        return renew_lease(Showing(world.runtime(TRAINER), own), channel, held)

    assert renew(issued(world))
    assert renew(None, issued(world))
    assert remembered(world) == set(marks_of(issued(world, 1)))
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        renew(issued(world, 2))
    with pytest.raises(FormatError, match=r"format\.collateral"):
        renew(None)


def test_usual_launches_go_on(world: BrokerWorld, job_id: JobId) -> None:
    world.launch(TRAINER, job_id, 0)
    world.launch(TRAINER, job_id, 1)
    assert world.finish(job_id)


@pytest.mark.parametrize("name", ["tcb_info", "qe_identity"])
def test_documents_that_are_nested_too_deeply_are_refused_like_others(
    world: BrokerWorld, job_id: JobId, name: str
) -> None:
    """Nobody has signed them when they are read, and every answer of the broker is signed."""
    deep = issued(world).model_copy(update={name: 50_000 * "["})
    with pytest.raises(FormatError, match=r"format\.collateral"):
        attest_and_fetch(Showing(world.runtime("trainer"), deep), world.channel(), TRAINER, job_id, 0)
