"""Trust domains get keys by what a release states of them; each value that is another is refused by its own step."""

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from client.query_verification import QueryPins, verify_query_enclave
from common.broker_channel import BrokerChannel
from common.broker_verification import verify_broker
from common.dcap import NO_PLATFORM_RULES, PlatformRules, TdxClaims, verify_quote
from common.enclave.simulated_pki import issue_crl
from common.errors import AppraisalError, AuthenticityError, FreshnessError, PolicyError, Refusal
from common.identifiers import CodeMeasurement, Fmspc, HexBytes48, JobId, MrEnclave, PlatformId
from common.key_retrieval import attest_and_fetch, renew_lease
from common.messages.broker_exchange import BrokerRequest
from common.messages.broker_identity import DescribeBroker
from common.messages.decision_log import LogEntry
from common.messages.evidence import Collateral, DcapQuote, TdxDcapEvidence, TrustLevel
from common.messages.jobs import Completed, ListMembers, Members
from common.messages.objects import SlotRecord
from common.messages.placement import QueryEnclaveProof
from common.messages.platform_inventory import NO_INVENTORY, InventoryTaken, PlatformInventory, TakeInventory
from common.messages.policy import QueryGrant
from common.messages.reference_values import (
    TD_MIGRATABLE,
    TD_PROFILING,
    TD_SEPT_VE_DISABLE,
    ReferenceValue,
    TdxReferenceValue,
)
from common.messages.release import Release
from common.messages.signed import read_document, sign
from common.messages.tcb_terms import Exposure, TcbTerms
from tests.fakes.broker_world import MEASUREMENTS, PARAMSERVER, QUERY, TRAINER, BrokerWorld
from tests.fakes.domain_world import MODULE, Domain, DomainWorld, TdxRuntime, made_at, report_of, value_of
from tests.fakes.handover_world import LATER, Heir
from tests.fakes.tdx_quotes import TEE_SVN, tdx_collateral

OTHER = b"\x5a" * 48
MRTD = {role: report_of(measured).mr_td.hex() for role, measured in MEASUREMENTS.items()}
KINDS = [Domain(), Domain(version=5), Domain(version=5, extended=True)]


@pytest.fixture
def world(tmp_path: Path) -> DomainWorld:
    """Trainer, parameter server and query enclave are released as domains."""
    return DomainWorld(tmp_path, mr_seams=(HexBytes48("33" * 48),), min_module_version=MODULE)


@pytest.fixture
def job_id(world: DomainWorld) -> JobId:
    return world.start_job()


def finish(world: DomainWorld, job_id: JobId) -> None:
    """The parameter server's domain ends the job; the manifest names its trainer."""
    server = world.launch_domain(PARAMSERVER, job_id)
    trainer = SlotRecord(role="trainer", slot=0, attempt=1, mr_enclave=CodeMeasurement(MRTD["trainer"]))
    world.channel().ask(world.completion(server, members=(trainer,)), Completed)


@pytest.mark.parametrize("asked", KINDS, ids=str)
def test_domains_get_the_keys_of_their_roles(world: DomainWorld, job_id: JobId, asked: Domain) -> None:
    trainer = world.launch_domain(TRAINER, job_id, 0, asked)
    assert set(trainer.keys) == {"job", "seed", "bundle", f"data/{trainer.order.datasets[0]}"}
    listed = world.channel().ask(ListMembers(job_id=job_id), Members)
    assert [one.mr_enclave for one in listed.members] == [MRTD["trainer"]]
    assert renew_lease(world.domain("trainer", asked), world.channel(), trainer)
    finish(world, job_id)
    query = world.launch_domain(QUERY, job_id, 0, asked)
    assert set(query.keys) == {"bundle", "model"}
    assert query.terms.mr_enclaves == MRTD | {"broker": MEASUREMENTS["broker"]}
    world.restart()
    assert [one.mr_enclave for one in world.channel().ask(ListMembers(job_id=job_id), Members).members] == [
        MRTD["paramserver"], MRTD["trainer"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("appraisal.measurement", {"mr_td": OTHER}),
        ("appraisal.measurement", {"rtmrs": (bytes(48), OTHER, b"\x23" * 48, bytes(48))}),
        ("appraisal.measurement", {"rtmrs": (bytes(48), b"\x22" * 48, OTHER, bytes(48))}),
        ("appraisal.measurement", {"mr_config_id": OTHER}),
        ("appraisal.measurement", {"mr_owner": OTHER}),
        ("appraisal.measurement", {"mr_owner_config": OTHER}),
        ("appraisal.attributes", {"attributes": TD_SEPT_VE_DISABLE | 1 << 30}),
        ("appraisal.attributes", {"xfam": 0x618E7 | 1 << 63}),
        ("appraisal.attributes", {"xfam": 0x618E4}),
        ("appraisal.attributes", {"mr_seam": OTHER}),
        ("appraisal.debug", {"attributes": TD_SEPT_VE_DISABLE | 1}),
        ("appraisal.td_attributes", {"attributes": 0}),
        ("appraisal.td_attributes", {"attributes": TD_SEPT_VE_DISABLE | TD_PROFILING}),
        ("appraisal.td_attributes", {"attributes": TD_SEPT_VE_DISABLE | TD_MIGRATABLE}),
        ("appraisal.service_td", {"mr_service_td": OTHER}),
        ("authenticity.quote", {"mr_signer_seam": OTHER}),
        ("authenticity.quote", {"tee_svn": bytes([3, *TEE_SVN[1:]])}),
    ],
    ids=str,
)
def test_each_wrong_value_is_refused_by_its_own_step(
    world: DomainWorld, job_id: JobId, code: str, fields: dict[str, Any]
) -> None:
    """In admission and, of a launch that was right when it was admitted, in the renewal of its lease."""
    held = world.launch_domain(TRAINER, job_id, 1, KINDS[2])
    wrong = Domain(fields, version=5, extended=True)
    with pytest.raises(Refusal) as refused:
        world.launch_domain(TRAINER, job_id, 0, wrong)
    assert refused.value.code == code
    with pytest.raises(Refusal) as refused:
        renew_lease(world.domain("trainer", wrong), world.channel(), held)
    assert refused.value.code == code
    assert world.launch_domain(TRAINER, job_id).attempt == 1


def test_an_earlier_module_is_refused_and_a_later_one_is_not(tmp_path: Path) -> None:
    world = DomainWorld(tmp_path, min_module_version=(MODULE[0], MODULE[1] + 1))
    job_id = world.start_job()
    with pytest.raises(AppraisalError, match=r"appraisal\.attributes"):
        world.launch_domain(TRAINER, job_id)
    later = Domain({"tee_svn": bytes([TEE_SVN[0] + 1, *TEE_SVN[1:]])})
    assert world.launch_domain(TRAINER, job_id, 0, later).attempt == 1


def test_registers_that_a_release_leaves_open_may_be_anything(world: DomainWorld, job_id: JobId) -> None:
    shape = Domain({"rtmrs": (OTHER, b"\x22" * 48, b"\x23" * 48, OTHER)})
    assert world.launch_domain(TRAINER, job_id, 0, shape).attempt == 1


@pytest.mark.parametrize("place", [1, 2])
def test_a_release_cannot_leave_the_kernel_open(place: int) -> None:
    """Then MRTD, which is the firmware's, would vouch for whatever it boots."""
    value = value_of(report_of(MEASUREMENTS["trainer"])).model_dump()
    value["rtmrs"] = tuple(None if number == place else one for number, one in enumerate(value["rtmrs"]))
    with pytest.raises(ValueError, match=f"rtmrs.{place}"):
        TdxReferenceValue.model_validate(value)


class EnclaveWorld(DomainWorld):
    """Domains run here, and enclaves are released."""

    def references(self, measurements: dict[str, MrEnclave]) -> dict[str, ReferenceValue]:
        return BrokerWorld.references(self, measurements)


def test_a_domain_is_no_enclave_and_an_enclave_no_domain(world: DomainWorld, job_id: JobId, tmp_path: Path) -> None:
    with pytest.raises(AppraisalError, match=r"appraisal\.measurement"):
        world.launch(TRAINER, job_id)
    enclaves = EnclaveWorld(tmp_path / "enclaves")
    job_id = enclaves.start_job()
    with pytest.raises(AppraisalError, match=r"appraisal\.measurement"):
        enclaves.launch_domain(TRAINER, job_id)
    assert enclaves.launch(TRAINER, job_id).attempt == 1


def test_a_root_that_is_not_allowed_for_domains_gives_them_nothing(world: DomainWorld, job_id: JobId) -> None:
    world.trust = world.trust.model_copy(update={"allowed_roots": (world.platform.allowed_root,)})
    world.restart()
    with pytest.raises(AppraisalError, match=r"appraisal\.root"):
        world.launch_domain(TRAINER, job_id)


@pytest.mark.parametrize(
    ("code", "terms"),
    [
        (r"appraisal\.tcb_evaluation", {"tcb": TcbTerms(min_tcb_evaluation=99)}),
        (r"appraisal\.platform:", {"tcb": TcbTerms(denied_fmspcs=(Fmspc("c0ffee000000"),))}),
        (r"appraisal\.platform:", {"tcb": TcbTerms(platforms=(PlatformId("ab" * 16),))}),
        (r"appraisal\.platform:", {"tcb": TcbTerms(inventory=True)}),
        (r"policy\.measurement", {"measurements": (MEASUREMENTS["trainer"],)}),
    ],
    ids=str,
)
def test_an_owners_terms_hold_for_domains(world: DomainWorld, code: str, terms: dict[str, Any]) -> None:
    job_id = world.start_job(world.register_data(**terms))
    with pytest.raises((AppraisalError, PolicyError), match=code):
        world.launch_domain(TRAINER, job_id)


@pytest.mark.parametrize("term", ["dynamic_platform", "cached_keys", "smt"])
def test_cloud_hosts_are_accepted_unless_terms_say_otherwise(world: DomainWorld, term: str) -> None:
    """Several packages, cached platform keys, SMT: by default they pass, and each is one term."""
    world.become_a_cloud_host()
    assert world.launch_domain(TRAINER, world.start_job()).attempt == 1
    job_id = world.start_job(world.register_data(tcb=TcbTerms.model_validate({term: False})))
    with pytest.raises(AppraisalError, match=r"appraisal\.platform_configuration"):
        world.launch_domain(TRAINER, job_id)


def test_an_owner_may_list_domains_by_what_they_measure(world: DomainWorld) -> None:
    job_id = world.start_job(world.register_data(measurements=tuple(MRTD.values())))
    assert world.launch_domain(TRAINER, job_id).attempt == 1


def test_a_revoked_machine_gets_nothing_for_its_domains(world: DomainWorld, job_id: JobId) -> None:
    evidence = world.domain("trainer").evidence(bytes(64))
    machine = verify_quote(evidence, world.trust.allowed_roots, world.time).machine
    inventory = PlatformInventory(number=1, platforms=(), revoked=machine.platform_ids, created=1)
    world.channel().ask(TakeInventory(inventory=sign(inventory, *world.release_keys)), InventoryTaken)
    with pytest.raises(AppraisalError, match=r"appraisal\.platform_revoked"):
        world.launch_domain(TRAINER, job_id)


@dataclass(frozen=True)
class Showing:
    """A domain whose quotes carry this collateral, or none, as hardware makes them."""

    runtime: TdxRuntime
    collateral: Collateral | None = None

    def evidence(self, report_data: bytes) -> TdxDcapEvidence | DcapQuote:
        quote = self.runtime.evidence(report_data).quote
        if self.collateral is None:
            return DcapQuote(quote=quote)
        return TdxDcapEvidence(quote=quote, collateral=self.collateral)


def test_collateral_of_domains_is_offered_and_remembered_like_any_other(world: DomainWorld, job_id: JobId) -> None:
    pki, domain = world.platform.pki, world.domain("trainer")
    newest, older = (tdx_collateral(pki, made_at(pki) - timedelta(days=days)) for days in (0, 3))
    revoking = newest.model_copy(
        update={"pck_crl": issue_crl(pki.pck_ca, made_at(pki), (pki.pck.certificate.serial_number,))}
    )

    def launch(slot: int, own: Collateral | None, offered: Collateral | None = None) -> int:
        channel = BrokerChannel(lambda raw: world.core.handle(raw, world.time, offered))
        return attest_and_fetch(Showing(domain, own), channel, TRAINER, job_id, slot).attempt

    assert launch(0, None, older) == 1
    with pytest.raises(AuthenticityError, match=r"authenticity\.quote"):
        launch(1, revoking)
    world.restart()
    for own, offered in ((older, None), (None, older), (newest, None)):
        with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
            launch(1, own, offered)


def test_a_broker_in_a_domain_is_verified_and_serves_domains(tmp_path: Path) -> None:
    world = DomainWorld(tmp_path, with_broker=True)
    request = BrokerRequest(nonce=bytes(32), body=DescribeBroker()).encode()
    release = read_document(world.release, Release)
    verified = verify_broker(world.handle(request), request, world.trust, release, NO_PLATFORM_RULES, world.time)
    assert isinstance(verified.claims, TdxClaims)
    assert verified.claims.measurement == MRTD["broker"]
    assert world.launch_domain(TRAINER, world.start_job()).attempt == 1
    world.start_on(world.domain("broker", Domain({"rtmrs": (bytes(48), OTHER, b"\x23" * 48, bytes(48))})))
    with pytest.raises(AppraisalError, match=r"appraisal\.measurement"):
        verify_broker(world.handle(request), request, world.trust, release, NO_PLATFORM_RULES, world.time)
    elsewhere = DomainWorld(tmp_path / "other", with_broker=True)
    with pytest.raises((AppraisalError, AuthenticityError)):
        verify_broker(elsewhere.handle(request), request, world.trust, release, NO_PLATFORM_RULES, world.time)


def test_a_broker_hands_over_from_domain_to_domain(tmp_path: Path) -> None:
    world = DomainWorld(tmp_path, with_broker=True)
    later = report_of(LATER["broker"])
    heir = Heir(
        world,
        world.sign_release(LATER, tag="2"),
        world.domain("broker", Domain({"mr_td": later.mr_td})),  # type: ignore[arg-type]
    )
    other = Domain({"mr_td": later.mr_td, "rtmrs": (bytes(48), OTHER, b"\x23" * 48, bytes(48))})
    with pytest.raises(AppraisalError, match=r"appraisal\.measurement"):
        replace(heir, runtime=world.domain("broker", other)).give()  # type: ignore[arg-type]
    heir.succeed()
    succession = world.describe().succession
    assert succession is not None
    assert succession.predecessor == MRTD["broker"]
    subjects = LogEntry.decode(world.store.entries[-2]).subjects
    assert (subjects.measurement, subjects.heir) == (MRTD["broker"], later.mr_td.hex())


def test_a_user_verifies_a_query_enclave_in_a_domain(world: DomainWorld, job_id: JobId) -> None:
    world.launch_domain(TRAINER, job_id)
    finish(world, job_id)
    launch = world.launch_domain(QUERY, job_id)
    assert launch.terms.model_manifest is not None
    assert launch.placement is not None
    grant = read_document(world.grant(launch.terms.model_manifest), QueryGrant)
    pins = QueryPins(world.release, world.trust, TrustLevel.SIMULATION, NO_PLATFORM_RULES)
    proof = QueryEnclaveProof(
        binding=launch.binding, evidence=launch.evidence, placement=launch.placement,
        manifest=launch.terms.model_manifest, query_bytes=1, answer_bytes=1,
    )  # fmt: skip
    assert verify_query_enclave(proof, grant, pins, world.time).measurement == MRTD["query"]
    other = world.domain("query", Domain({"mr_td": OTHER})).evidence(launch.report_data)
    with pytest.raises(AppraisalError, match=r"appraisal\.measurement"):
        verify_query_enclave(proof.model_copy(update={"evidence": other}), grant, pins, world.time)


# -- what lies open to the host --------------------------------------------------------------------------------------

SERVICE = HexBytes48(OTHER.hex())
NOTHING = TcbTerms()
OPEN: dict[str, tuple[str, dict[str, Any], TcbTerms]] = {
    "debug": ("appraisal.debug", {"attributes": TD_SEPT_VE_DISABLE | 1}, TcbTerms(dangerously_allow=(Exposure.DEBUG,))),
    "sept-ve": ("appraisal.td_attributes", {"attributes": 0}, TcbTerms(dangerously_allow=(Exposure.SEPT_VE,))),
    "service domain": ("appraisal.service_td", {"mr_service_td": OTHER}, TcbTerms(service_domains=(SERVICE,))),
}
"""The refusal, what is another in the domain's report, and terms that name it."""


def open_world(directory: Path, name: str, terms: TcbTerms, **changes: Any) -> tuple[DomainWorld, Domain]:
    """A release whose domains are so, with these terms."""
    _, fields, _ = OPEN[name]
    attributes = fields.get("attributes", TD_SEPT_VE_DISABLE)
    world = DomainWorld(directory, td_attributes=attributes, tcb=terms, **changes)
    return world, Domain(fields, version=5, extended=True)


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize("silent", [None, "release", "owner", "provider"])
def test_nothing_lies_open_that_one_of_the_parties_does_not_name(tmp_path: Path, name: str, silent: str | None) -> None:
    """Release, owner and provider: terms add up, so each of them by itself refuses what it does not name."""
    code, _, terms = OPEN[name]
    of_release, of_owner, of_provider = (
        NOTHING if silent == party else terms for party in ("release", "owner", "provider")
    )
    world, asked = open_world(tmp_path, name, of_release)
    job_id = world.start_job(world.register_data(tcb=of_owner), world.register_bundle(tcb=of_provider))
    if silent is None:
        launch = world.launch_domain(TRAINER, job_id, 0, asked)
        assert renew_lease(world.domain("trainer", asked), world.channel(), launch)
        [held] = world.context.job(job_id).launches
        assert held.appraised.exposed
    else:
        with pytest.raises(AppraisalError) as refused:
            world.launch_domain(TRAINER, job_id, 0, asked)
        assert refused.value.code == code


@pytest.mark.parametrize("name", OPEN)
def test_a_key_broker_never_lies_open(tmp_path: Path, name: str) -> None:
    """Whatever its release's terms and the caller's name: all keys of everybody are in it. Nor does its heir."""
    code, _, terms = OPEN[name]
    world, asked = open_world(tmp_path, name, terms, with_broker=True)
    world.start_on(world.domain("broker", asked))
    request = BrokerRequest(nonce=bytes(32), body=DescribeBroker()).encode()
    release, rules = read_document(world.release, Release), PlatformRules(NO_INVENTORY, (terms,))
    with pytest.raises(AppraisalError) as refused:
        verify_broker(world.handle(request), request, world.trust, release, rules, world.time)
    assert refused.value.code == code
    later = report_of(LATER["broker"])
    heir = Domain({**asked.fields, "mr_td": later.mr_td}, version=5, extended=True)
    with pytest.raises(AppraisalError) as refused:
        Heir(world, world.sign_release(LATER, tag="2"), world.domain("broker", heir)).give()  # type: ignore[arg-type]
    assert refused.value.code == code


@pytest.mark.parametrize("name", OPEN)
def test_a_user_names_himself_what_may_lie_open(tmp_path: Path, name: str) -> None:
    """The release's terms are not enough: who pins no terms of his own is served by closed domains alone."""
    code, _, terms = OPEN[name]
    world, asked = open_world(tmp_path, name, terms)
    job_id = world.start_job(world.register_data(tcb=terms), world.register_bundle(tcb=terms))
    world.launch_domain(TRAINER, job_id, 0, asked)
    world.channel().ask(
        world.completion(
            world.launch_domain(PARAMSERVER, job_id, 0, asked),
            members=(SlotRecord(role="trainer", slot=0, attempt=1, mr_enclave=CodeMeasurement(MRTD["trainer"])),),
        ),
        Completed,
    )
    launch = world.launch_domain(QUERY, job_id, 0, asked)
    assert launch.terms.model_manifest is not None
    assert launch.placement is not None
    grant = read_document(world.grant(launch.terms.model_manifest), QueryGrant)
    proof = QueryEnclaveProof(
        binding=launch.binding, evidence=launch.evidence, placement=launch.placement,
        manifest=launch.terms.model_manifest, query_bytes=1, answer_bytes=1,
    )  # fmt: skip
    for own in ((), (NOTHING,), (terms, NOTHING)):
        pins = QueryPins(world.release, world.trust, TrustLevel.SIMULATION, PlatformRules(NO_INVENTORY, own))
        with pytest.raises(AppraisalError) as refused:
            verify_query_enclave(proof, grant, pins, world.time)
        assert refused.value.code == code
    pins = QueryPins(world.release, world.trust, TrustLevel.SIMULATION, PlatformRules(NO_INVENTORY, (terms,)))
    assert verify_query_enclave(proof, grant, pins, world.time).measurement == MRTD["query"]


@pytest.mark.parametrize("level", ["tpm-ima", "sgx", "tdx", "sev-snp"])
def test_no_terms_of_a_real_tee_name_debug(world: DomainWorld, level: str) -> None:
    debug = OPEN["debug"][2]
    for make, party in ((world.policy_terms, world.owner), (world.bundle_terms, world.provider)):
        assert make(party, tcb=debug).tcb == debug  # of a simulation
        with pytest.raises(ValueError, match="debug goes with trust level simulation alone"):
            make(party, tcb=debug, minimal_trust_level=level)
