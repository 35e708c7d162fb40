"""Claims against reference values: code and what no measurement covers."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.dcap import (
    NO_PLATFORM_RULES,
    SgxClaims,
    TdxClaims,
    appraise,
    require_report_data,
    require_trust_level,
    verify_quote,
)
from common.errors import AppraisalError
from common.identifiers import HexBytes48, MrEnclave
from common.messages.evidence import TrustLevel
from common.messages.reference_values import (
    TD_SEPT_VE_DISABLE,
    ReferenceValue,
    SgxReferenceValue,
    SgxSignerReferenceValue,
    TdxReferenceValue,
)
from common.messages.tcb_terms import TcbStatus
from tests.fakes.evidence_forge import MR_ENCLAVE, REPORT_DATA, Forge

NOW = int(time.time())
A, B = HexBytes48("a" * 96), HexBytes48("b" * 96)
GOOD = SgxReferenceValue(mr_enclave=MR_ENCLAVE)
DOMAIN = TdxReferenceValue(mr_td=A, rtmrs=(A, A, A, B))


@pytest.fixture(scope="module")
def claims(tmp_path_factory: pytest.TempPathFactory) -> SgxClaims:
    forge = Forge.make(Path(tmp_path_factory.mktemp("platform")) / "cpu")
    claims = verify_quote(forge.evidence(), (forge.platform.allowed_root,), NOW)
    assert isinstance(claims, SgxClaims)
    return claims


@pytest.fixture
def domain(claims: SgxClaims) -> TdxClaims:
    return TdxClaims(
        trust_level=TrustLevel.SIMULATION, machine=claims.machine, report_data=REPORT_DATA, mr_td=A,
        rtmrs=(A, A, A, B), mr_config_id=HexBytes48("0" * 96), mr_owner=HexBytes48("0" * 96),
        mr_owner_config=HexBytes48("0" * 96), mr_seam=B, mr_signer_seam=HexBytes48("0" * 96), tee_tcb_svn=bytes(16),
        td_attributes=TD_SEPT_VE_DISABLE, xfam=0x618E7,
    )  # fmt: skip


def _code(claims: SgxClaims | TdxClaims, reference: ReferenceValue) -> str:
    with pytest.raises(AppraisalError) as refused:
        appraise(claims, reference, NO_PLATFORM_RULES, NOW)
    return refused.value.code


def test_what_was_expected_passes(claims: SgxClaims, domain: TdxClaims) -> None:
    appraise(claims, GOOD, NO_PLATFORM_RULES, NOW)
    appraise(domain, DOMAIN, NO_PLATFORM_RULES, NOW)


def test_other_code_is_refused(claims: SgxClaims) -> None:
    assert _code(claims, SgxReferenceValue(mr_enclave=MrEnclave("0" * 64))) == "appraisal.measurement"


def test_debug_is_refused_whatever_the_reference_says(claims: SgxClaims, domain: TdxClaims) -> None:
    debug = replace(claims, attribute_flags=7)
    assert _code(debug, GOOD.model_copy(update={"attribute_flags": 7})) == "appraisal.debug"
    assert _code(replace(domain, td_attributes=1), DOMAIN.model_copy(update={"td_attributes": 1})) == "appraisal.debug"


@pytest.mark.parametrize(
    "change",
    [{"attribute_flags": 0x15}, {"misc_select": 1}, {"xfrm": 0x1}, {"xfrm": 0xE7 | 1 << 62}, {"xfrm": 0x18}],
    ids=str,
)
def test_other_attributes_are_refused(claims: SgxClaims, change: dict[str, Any]) -> None:
    assert _code(replace(claims, **change), GOOD) == "appraisal.attributes"


def test_a_signer_vouches_for_its_product_from_a_security_version_on(claims: SgxClaims) -> None:
    reference = SgxSignerReferenceValue(mr_signer=MrEnclave("c" * 64), isv_prod_id=7, min_isv_svn=3)
    signed = replace(claims, mr_signer=MrEnclave("c" * 64), isv_prod_id=7, isv_svn=3)
    appraise(signed, reference, NO_PLATFORM_RULES, NOW)
    appraise(replace(signed, isv_svn=4), reference, NO_PLATFORM_RULES, NOW)
    for change in ({"isv_svn": 2}, {"isv_prod_id": 8}, {"mr_signer": MR_ENCLAVE}):
        assert _code(replace(signed, **change), reference) == "appraisal.measurement"
    assert _code(replace(signed, misc_select=1), reference) == "appraisal.attributes"


@pytest.mark.parametrize(
    "change",
    [{"mr_td": B}, {"rtmrs": (A, A, B, B)}, {"mr_config_id": A}, {"mr_owner": A}, {"mr_owner_config": A}],
    ids=str,
)
def test_every_register_of_a_domain_counts(domain: TdxClaims, change: dict[str, Any]) -> None:
    assert _code(replace(domain, **change), DOMAIN) == "appraisal.measurement"


@pytest.mark.parametrize("change", [{"td_attributes": TD_SEPT_VE_DISABLE | 1 << 30}, {"xfam": 1}, {"xfam": 1 << 40}])
def test_attributes_of_a_domain_are_its_release_s(domain: TdxClaims, change: dict[str, Any]) -> None:
    assert _code(replace(domain, **change), DOMAIN) == "appraisal.attributes"


def test_a_reference_may_name_the_tdx_modules(domain: TdxClaims) -> None:
    appraise(domain, DOMAIN.model_copy(update={"mr_seams": (A, B)}), NO_PLATFORM_RULES, NOW)
    assert _code(domain, DOMAIN.model_copy(update={"mr_seams": (A,)})) == "appraisal.attributes"


def test_the_reference_s_own_tcb_terms_hold(claims: SgxClaims) -> None:
    old = replace(claims, machine=replace(claims.machine, tcb_status=TcbStatus.OUT_OF_DATE))
    assert _code(old, GOOD) == "appraisal.tcb_status"


def test_a_reference_of_another_platform_is_no_reference(claims: SgxClaims, domain: TdxClaims) -> None:
    assert _code(claims, DOMAIN) == "appraisal.measurement"
    assert _code(domain, GOOD) == "appraisal.measurement"


def test_report_data_is_bound_over_all_its_bytes(claims: SgxClaims) -> None:
    require_report_data(claims, REPORT_DATA)
    for position in (0, 31, 32, 63):
        other = bytearray(REPORT_DATA)
        other[position] ^= 1
        with pytest.raises(AppraisalError, match=r"appraisal\.binding"):
            require_report_data(claims, bytes(other))


def test_trust_levels_have_an_order() -> None:
    require_trust_level(TrustLevel.SGX, TrustLevel.TDX)
    require_trust_level(TrustLevel.TPM_IMA, TrustLevel.SIMULATION)
    for weak, floor in ((TrustLevel.SIMULATION, TrustLevel.TPM_IMA), (TrustLevel.TPM_IMA, TrustLevel.SGX)):
        with pytest.raises(AppraisalError, match=r"appraisal\.trust_level"):
            require_trust_level(weak, floor)
