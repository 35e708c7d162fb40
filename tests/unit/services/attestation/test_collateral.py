"""Collateral that the host offers, and a broker that remembers how new it was."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.broker_channel import BrokerChannel
from common.dcap.collateral_memory import marks_of
from common.enclave.simulated_pki import CLOCK_MARGIN, Certified, SimulatedPki, issue_crl, sign_raw
from common.errors import AppraisalError, AuthenticityError, FormatError, FreshnessError, Refusal
from common.identifiers import JobId, MrEnclave
from common.key_retrieval import Launch, attest_and_fetch, renew_lease
from common.messages.evidence import Collateral, DcapQuote, SgxDcapEvidence
from common.messages.tcb_terms import TcbTerms
from services.attestation import state_anchor
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


def judged(world: BrokerWorld, collateral: Collateral, status: str) -> Collateral:
    """The same day's documents, in which Intel says this of the machine's TCB."""
    text = collateral.tcb_info.replace("UpToDate", status)
    signature = sign_raw(world.platform.pki.tcb_signing.key, text.encode())
    return collateral.model_copy(update={"tcb_info": text, "tcb_info_signature": signature})


def revoking(world: BrokerWorld, revoked: str) -> Collateral:
    """Today's documents, in which the certificate `revoked` of the platform is."""
    pki, at = world.platform.pki, datetime.fromtimestamp(world.time, UTC) - CLOCK_MARGIN
    issuer, crl = (pki.pck_ca, "pck_crl") if revoked == "pck" else (pki.root, "root_ca_crl")
    certified: Certified = getattr(pki, revoked)
    return issued(world).model_copy(update={crl: issue_crl(issuer, at, (certified.certificate.serial_number,))})


def stranger_at_the_signer(world: BrokerWorld) -> SimulatedPki:
    """A PKI whose certificates are this platform's, and whose keys are not."""
    other, pki = SimulatedPki.generate(datetime.now(UTC)), world.platform.pki
    return SimulatedPki(
        root=replace(pki.root, key=other.root.key),
        pck_ca=replace(pki.pck_ca, key=other.pck_ca.key),
        tcb_signing=replace(pki.tcb_signing, key=other.tcb_signing.key),
        pck=pki.pck,
    )


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


def test_what_a_refused_launch_was_verified_with_is_remembered(world: BrokerWorld, job_id: JobId) -> None:
    """Else the documents before those that refused it would be shown next."""
    with pytest.raises(AppraisalError, match=r"appraisal\.measurement"):
        launch(world, job_id, own=issued(world), measurement=MrEnclave("f" * 64))
    world.restart()
    assert remembered(world) == set(marks_of(issued(world)))
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        launch(world, job_id, own=issued(world, 3))
    assert launch(world, job_id, own=issued(world)).attempt == 1


@pytest.mark.parametrize("status", ["OutOfDate", "Revoked"])
def test_a_machine_that_the_newest_documents_refuse_does_not_pass_under_older_ones(
    world: BrokerWorld, job_id: JobId, status: str
) -> None:
    older, newest = issued(world, 1), judged(world, issued(world), status)
    with pytest.raises(AppraisalError, match=r"appraisal\.tcb_status"):
        launch(world, job_id, own=newest)
    world.restart()
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        launch(world, job_id, own=older)
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        launch(world, job_id, offered=older)


def test_a_party_that_refuses_is_no_less_a_reason_to_remember(world: BrokerWorld) -> None:
    """The release takes the machine; the owner's terms do not."""
    job_id = world.start_job(world.register_data(tcb=TcbTerms(min_tcb_evaluation=99)))
    with pytest.raises(AppraisalError, match=r"appraisal\.tcb_evaluation"):
        launch(world, job_id, own=issued(world))
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        launch(world, job_id, own=issued(world, 1))


@pytest.mark.parametrize("piece", ["qe_identity", "pck_crl", "root_ca_crl", "tcb_info"])
def test_what_calls_a_tcb_revoked_counts_only_with_everything_beside_it_authentic(
    world: BrokerWorld, job_id: JobId, piece: str
) -> None:
    """The engine judges a revoked TCB by itself: all signatures are verified before it does."""
    revoked = judged(world, issued(world), "Revoked")
    alien = judged(world, issued(world, pki=stranger_at_the_signer(world)), "Revoked")
    forged = {name: getattr(alien, name) for name in (piece, f"{piece}_signature") if name in Collateral.model_fields}
    if piece == "tcb_info":
        forged = {"tcb_info": revoked.tcb_info.replace('"tcbType":0', '"tcbType": 0')}
    with pytest.raises(AuthenticityError, match=r"authenticity\.quote"):
        launch(world, job_id, own=revoked.model_copy(update=forged))
    assert remembered(world) == set()
    assert launch(world, job_id, own=issued(world, 3)).attempt == 1


@pytest.mark.parametrize(
    ("revoked", "silent"), [("pck", ()), ("pck_ca", ("pck-crl",)), ("tcb_signing", ("tcb-info", "qe-identity"))]
)
def test_documents_that_revoke_a_machine_count_though_its_quote_is_refused(
    world: BrokerWorld, job_id: JobId, revoked: str, silent: tuple[str, ...]
) -> None:
    """Those of a revoked signer do not: a thief of its key could have signed them."""
    newest = revoking(world, revoked)
    with pytest.raises(AuthenticityError, match=r"authenticity\.quote"):
        launch(world, job_id, own=newest)
    world.restart()
    assert remembered(world) == {mark for mark in marks_of(newest) if not mark.subject.startswith(silent)}
    for days in (1, 3, 29):
        with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
            launch(world, job_id, own=issued(world, days))
        with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
            launch(world, job_id, offered=issued(world, days))
    with pytest.raises(AuthenticityError, match=r"authenticity\.quote"):
        launch(world, job_id, own=newest)


@pytest.mark.parametrize("piece", ["qe_identity", "pck_crl", "root_ca_crl", "tcb_info"])
def test_a_revocation_counts_only_with_everything_beside_it_authentic(
    world: BrokerWorld, job_id: JobId, piece: str
) -> None:
    alien = issued(world, pki=stranger_at_the_signer(world))
    forged = {name: getattr(alien, name) for name in (piece, f"{piece}_signature") if name in Collateral.model_fields}
    if piece == "pck_crl":
        stranger = replace(world.platform.pki.pck_ca, key=stranger_at_the_signer(world).pck_ca.key)
        serial = world.platform.pki.pck.certificate.serial_number
        forged = {"pck_crl": issue_crl(stranger, datetime.fromtimestamp(world.time, UTC) - CLOCK_MARGIN, (serial,))}
    with pytest.raises(AuthenticityError, match=r"authenticity\.quote"):
        launch(world, job_id, own=revoking(world, "pck").model_copy(update=forged))
    assert remembered(world) == set()
    assert launch(world, job_id, own=issued(world, 3)).attempt == 1


def test_refusals_write_marks_as_often_as_they_grow_and_no_more(world: BrokerWorld, job_id: JobId) -> None:
    """Also those that the log only counts, because it has enough of them."""

    def refused(days_ago: float) -> int:
        before = world.head.size
        with pytest.raises(AppraisalError):
            launch(world, job_id, own=issued(world, days_ago), measurement=MrEnclave("f" * 64))
        return world.head.size - before

    assert [refused(days) for days in (9, 9, 9, 8, 7, 7, 6)] == [1, 0, 0, 1, 1, 0, 1]
    world.restart()
    assert remembered(world) == set(marks_of(issued(world, 6)))


def test_marks_that_find_no_room_in_the_log_count_at_once_and_are_written_with_the_next_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = BrokerWorld(tmp_path, witnesses=1)
    world.confirm(world.witnesses[0])
    job_id = world.start_job()
    monkeypatch.setattr(state_anchor, "ROOM", 1)
    size = world.head.size
    with pytest.raises(AppraisalError):
        launch(world, job_id, own=issued(world), measurement=MrEnclave("f" * 64))
    assert world.head.size == size
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        launch(world, job_id, own=issued(world, 3))
    world.register_bundle()
    world.restart()
    assert remembered(world) == set(marks_of(issued(world)))


def test_a_forged_future_does_not_shut_out_the_present(world: BrokerWorld, job_id: JobId) -> None:
    stranger = replace(world.platform.pki, tcb_signing=SimulatedPki.generate(datetime.now(UTC)).tcb_signing)
    with pytest.raises(Refusal):
        launch(world, job_id, own=issued(world, -5, pki=stranger))
    assert launch(world, job_id, own=issued(world)).attempt == 1


def test_renewals_are_held_to_the_same_and_teach_as_well(world: BrokerWorld, job_id: JobId) -> None:
    held = launch(world, job_id, own=issued(world, 1))

    def renew(own: Collateral | None, offered: Collateral | None = None) -> int:
        channel = BrokerChannel(lambda raw: world.core.handle(raw, world.time, offered))
        return renew_lease(Showing(world.runtime(TRAINER), own), channel, held)

    size = world.head.size
    assert renew(issued(world))
    assert renew(None, issued(world))
    assert world.head.size == size + 1, "entered once, for the newer documents"
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        renew(issued(world, 1))
    with pytest.raises(FormatError, match=r"format\.collateral"):
        renew(None)
    world.restart()
    assert remembered(world) == set(marks_of(issued(world)))


def test_a_refused_renewal_teaches_as_well(world: BrokerWorld, job_id: JobId) -> None:
    held = launch(world, job_id, own=issued(world, 1))
    with pytest.raises(AppraisalError, match=r"appraisal\.tcb_status"):
        renew_lease(Showing(world.runtime(TRAINER), judged(world, issued(world), "OutOfDate")), world.channel(), held)
    world.restart()
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        launch(world, job_id, own=issued(world, 1), slot=1)


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
