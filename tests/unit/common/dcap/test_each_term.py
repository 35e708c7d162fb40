"""Each numbered step of the appraisal is taken out of the code, to see what it alone refuses: of the claims against a
reference value, and of the machine against terms. A step without such a case fails.
"""

import re
from dataclasses import replace
from types import ModuleType
from typing import Any, Final

import pytest

from common.dcap import PlatformClaims, PlatformRules, SgxClaims, TdxClaims, appraisal, tcb_appraisal
from common.dcap.exposure import Exposed
from common.errors import AppraisalError
from common.identifiers import Fmspc, HexBytes48, MrEnclave, PlatformId
from common.messages.evidence import TrustLevel
from common.messages.platform_inventory import PlatformInventory
from common.messages.reference_values import (
    TD_SEPT_VE_DISABLE,
    ReferenceValue,
    SgxReferenceValue,
    SgxSignerReferenceValue,
    TdxReferenceValue,
)
from common.messages.tcb_terms import Exposure, TcbStatus, TcbTerms, TcbTolerance
from tests.fakes.switched_off import checked_steps, planned_steps, without

NOW: Final = 1_760_000_000
CODE, OTHER = MrEnclave("a" * 64), MrEnclave("b" * 64)
A, B, ZERO = HexBytes48("a" * 96), HexBytes48("b" * 96), HexBytes48("0" * 96)
MACHINE: Final = PlatformClaims(
    fmspc=Fmspc("90c06f000000"), platform_ids=(PlatformId("11" * 16),), tcb_status=TcbStatus.UP_TO_DATE,
    tcb_date=NOW - 100, tcb_evaluation=17, advisory_ids=("INTEL-SA-00615",), dynamic=True, cached_keys=True, smt=True,
)  # fmt: skip
SGX: Final = SgxClaims(
    trust_level=TrustLevel.SIMULATION, machine=MACHINE, report_data=bytes(64), mr_enclave=CODE, mr_signer=CODE,
    isv_prod_id=7, isv_svn=3, attribute_flags=5, xfrm=3, misc_select=0,
)  # fmt: skip
TDX: Final = TdxClaims(
    trust_level=TrustLevel.SIMULATION, machine=MACHINE, report_data=bytes(64), mr_td=A, rtmrs=(A, A, A, A),
    mr_config_id=ZERO, mr_owner=ZERO, mr_owner_config=ZERO, mr_seam=A, mr_signer_seam=ZERO,
    tee_tcb_svn=bytes([4, 1, *bytes(14)]), td_attributes=TD_SEPT_VE_DISABLE, xfam=0x618E7,
)  # fmt: skip
OVER: Final = PlatformId("22" * 16)
INVENTORY: Final = PlatformInventory(number=1, platforms=MACHINE.platform_ids, revoked=(OVER,), created=NOW)
RULES: Final = PlatformRules(INVENTORY, (TcbTerms(rejected_advisories=("INTEL-SA-00001",)),))
ENCLAVE: Final = SgxReferenceValue(mr_enclave=CODE)
SIGNED: Final = SgxSignerReferenceValue(mr_signer=CODE, isv_prod_id=7, min_isv_svn=3)
DOMAIN: Final = TdxReferenceValue(mr_td=A, rtmrs=(A, A, A, A), mr_seams=(A,), min_module_version=(1, 4))
OPEN: Final = TdxReferenceValue(mr_td=A, rtmrs=(None, A, A, None))

Case = tuple[SgxClaims | TdxClaims, ReferenceValue, str]
CASES: Final[dict[str, Case]] = {
    "(1) debug enclave": (
        replace(SGX, attribute_flags=7), ENCLAVE.model_copy(update={"attribute_flags": 7}), "debug"),
    "(1) debug domain": (
        replace(TDX, td_attributes=1), DOMAIN.model_copy(update={"td_attributes": 1}), "debug"),
    "(2) other code": (replace(SGX, mr_enclave=OTHER), ENCLAVE, "measurement"),
    "(2) other signer": (replace(SGX, mr_signer=OTHER), SIGNED, "measurement"),
    "(2) other product": (replace(SGX, isv_prod_id=8), SIGNED, "measurement"),
    "(2) earlier security version": (replace(SGX, isv_svn=2), SIGNED, "measurement"),
    "(2) other domain": (replace(TDX, mr_td=B), DOMAIN, "measurement"),
    "(2) other RTMR0": (replace(TDX, rtmrs=(B, A, A, A)), DOMAIN, "measurement"),
    "(2) other RTMR1": (replace(TDX, rtmrs=(A, B, A, A)), OPEN, "measurement"),
    "(2) other RTMR2": (replace(TDX, rtmrs=(A, A, B, A)), OPEN, "measurement"),
    "(2) other RTMR3": (replace(TDX, rtmrs=(A, A, A, B)), DOMAIN, "measurement"),
    "(2) MRCONFIGID": (replace(TDX, mr_config_id=B), DOMAIN, "measurement"),
    "(2) MROWNER": (replace(TDX, mr_owner=B), DOMAIN, "measurement"),
    "(2) MROWNERCONFIG": (replace(TDX, mr_owner_config=B), DOMAIN, "measurement"),
    "(3) other ATTRIBUTES": (replace(SGX, attribute_flags=0x15), ENCLAVE, "attributes"),
    "(3) other ATTRIBUTES, by signer": (replace(SGX, attribute_flags=0x15), SIGNED, "attributes"),
    "(3) MISCSELECT": (replace(SGX, misc_select=1), ENCLAVE, "attributes"),
    "(3) XFRM": (replace(SGX, xfrm=1), ENCLAVE, "attributes"),
    "(3) TDATTRIBUTES": (replace(TDX, td_attributes=TD_SEPT_VE_DISABLE | 1 << 30), DOMAIN, "attributes"),
    "(3) XFAM": (replace(TDX, xfam=1), DOMAIN, "attributes"),
    "(3) TDX module": (replace(TDX, mr_seam=B), DOMAIN, "attributes"),
    "(3) TDX module of another signer": (replace(TDX, mr_signer_seam=B), DOMAIN, "attributes"),
    "(3) TDX module of an earlier security version": (
        replace(TDX, tee_tcb_svn=bytes([3, 1, *bytes(14)])), DOMAIN, "attributes"),
    "(3) TDX module of an earlier version": (replace(TDX, tee_tcb_svn=bytes([9, 0, *bytes(14)])), DOMAIN, "attributes"),
    "(4) revoked machine": (replace(SGX, machine=replace(MACHINE, platform_ids=(OVER,))), ENCLAVE, "platform_revoked"),
    "(4) revoked machine, of a domain": (
        replace(TDX, machine=replace(MACHINE, platform_ids=(*MACHINE.platform_ids, OVER))), DOMAIN, "platform_revoked"),
    "(5) TCB status": (replace(SGX, machine=replace(MACHINE, tcb_status=TcbStatus.OUT_OF_DATE)), ENCLAVE, "tcb_status"),
    "(5) not known, as the release wants it": (
        replace(SGX, machine=replace(MACHINE, platform_ids=(PlatformId("33" * 16),))),
        ENCLAVE.model_copy(update={"tcb": TcbTerms(inventory=True)}), "platform"),
    "(5) advisory that the verifier rejects": (
        replace(SGX, machine=replace(MACHINE, advisory_ids=("INTEL-SA-00001",))), ENCLAVE, "advisory"),
}  # fmt: skip
"""What a claim says against which reference value -> the code, after `appraisal.`."""

TERMS: Final[dict[str, tuple[TcbTerms, dict[str, Any], str]]] = {
    "(1) earlier evaluation": (TcbTerms(min_tcb_evaluation=18), {}, "tcb_evaluation"),
    "(2) FMSPC denied": (TcbTerms(denied_fmspcs=(MACHINE.fmspc,)), {}, "platform"),
    "(2) FMSPC not listed": (TcbTerms(allowed_fmspcs=(Fmspc("00806f050000"),)), {}, "platform"),
    "(3) platform denied": (TcbTerms(denied_platforms=MACHINE.platform_ids), {}, "platform"),
    "(3) platform not listed": (TcbTerms(platforms=(PlatformId("33" * 16),)), {}, "platform"),
    "(3) platform not in the inventory": (
        TcbTerms(inventory=True), {"platform_ids": (PlatformId("33" * 16),)}, "platform"),
    "(4) dynamic platform": (TcbTerms(dynamic_platform=False), {}, "platform_configuration"),
    "(4) cached keys": (TcbTerms(cached_keys=False), {}, "platform_configuration"),
    "(4) SMT": (TcbTerms(smt=False), {}, "platform_configuration"),
    "(5) status": (TcbTerms(), {"tcb_status": TcbStatus.OUT_OF_DATE}, "tcb_status"),
    "(5) tolerance that is over": (
        TcbTerms(tolerances=(TcbTolerance(status=TcbStatus.OUT_OF_DATE, until=NOW - 1),)),
        {"tcb_status": TcbStatus.OUT_OF_DATE}, "tcb_status"),
    "(6) advisory": (TcbTerms(rejected_advisories=("INTEL-SA-00615",)), {}, "advisory"),
    "(7) debug": (
        TcbTerms(dangerously_allow=(Exposure.SEPT_VE,)), {"exposed": Exposed(frozenset({Exposure.DEBUG}))}, "debug"),
    "(7) SEPT_VE_DISABLE clear": (
        TcbTerms(dangerously_allow=(Exposure.DEBUG,)), {"exposed": Exposed(frozenset({Exposure.SEPT_VE}))},
        "td_attributes"),
    "(7) profiled": (TcbTerms(), {"exposed": Exposed(frozenset({Exposure.PROFILING}))}, "td_attributes"),
    "(7) migratable": (TcbTerms(), {"exposed": Exposed(frozenset({Exposure.MIGRATION}))}, "td_attributes"),
    "(7) service domain": (
        TcbTerms(service_domains=(A,)), {"exposed": Exposed(service_domain=B)}, "service_td"),
}  # fmt: skip
"""Terms that a machine (with changes) does not meet -> the code, after `appraisal.`."""


def test_every_step_of_both_plans_has_a_case() -> None:
    plans: tuple[tuple[ModuleType, str | None, dict[str, Any]], ...] = (
        (appraisal, appraisal.appraise.__doc__, CASES),
        (tcb_appraisal, tcb_appraisal.require_tcb.__doc__, TERMS),
    )
    for module, plan, cases in plans:
        assert set(planned_steps(str(plan))) == checked_steps(module) == {step_of(name) for name in cases}


def step_of(name: str) -> str:
    return str(re.findall(r"^\((\d)\) ", name)[0])


@pytest.mark.parametrize("name", CASES)
def test_each_step_of_the_appraisal_alone_refuses_what_it_is_for(name: str) -> None:
    claims, reference, code = CASES[name]
    with pytest.raises(AppraisalError, match=rf"appraisal\.{code}"):
        appraisal.appraise(claims, reference, RULES, NOW)
    without(appraisal, step_of(name)).appraise(claims, reference, RULES, NOW)


@pytest.mark.parametrize("name", TERMS)
def test_each_term_alone_refuses_what_it_is_for(name: str) -> None:
    terms, changes, code = TERMS[name]
    machine = replace(MACHINE, **changes)
    with pytest.raises(AppraisalError, match=rf"appraisal\.{code}:"):
        tcb_appraisal.require_tcb(machine, terms, INVENTORY, NOW)
    without(tcb_appraisal, step_of(name)).require_tcb(machine, terms, INVENTORY, NOW)


def test_what_meets_them_passes() -> None:
    of_another_shape = replace(TDX, rtmrs=(B, A, A, B), tee_tcb_svn=bytes([0, 2, *bytes(14)]))
    for claims, reference in ((SGX, ENCLAVE), (SGX, SIGNED), (TDX, DOMAIN), (TDX, OPEN), (of_another_shape, OPEN)):
        appraisal.appraise(claims, reference, RULES, NOW)
    tcb_appraisal.require_tcb(MACHINE, TcbTerms(inventory=True), INVENTORY, NOW)
    exposed = replace(MACHINE, exposed=Exposed(frozenset(Exposure), A))
    named = TcbTerms(dangerously_allow=tuple(Exposure), service_domains=(B, A))
    tcb_appraisal.require_tcb(exposed, named, INVENTORY, NOW)


def test_debug_passes_where_the_reference_value_and_all_terms_name_it() -> None:
    debug = TcbTerms(dangerously_allow=(Exposure.DEBUG,))
    claims = replace(SGX, attribute_flags=7, machine=replace(MACHINE, exposed=Exposed(frozenset({Exposure.DEBUG}))))
    reference = ENCLAVE.model_copy(update={"attribute_flags": 7, "tcb": debug})
    appraisal.appraise(claims, reference, PlatformRules(INVENTORY, (debug,)), NOW)
    for changed, rules in ((ENCLAVE.model_copy(update={"attribute_flags": 7}), PlatformRules(INVENTORY, (debug,))),
                           (reference, RULES)):  # fmt: skip
        with pytest.raises(AppraisalError, match=r"appraisal\.debug"):
            appraisal.appraise(claims, changed, rules, NOW)
    with pytest.raises(AppraisalError, match=r"appraisal\.attributes"):  # named, but not what the release states
        appraisal.appraise(claims, ENCLAVE.model_copy(update={"tcb": debug}), PlatformRules(INVENTORY, (debug,)), NOW)
