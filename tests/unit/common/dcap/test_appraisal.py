"""Claims against reference values."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from common.dcap import SgxClaims, appraise, require_report_data, require_trust_level, verify_quote
from common.errors import AppraisalError
from common.identifiers import HexBytes48, MrEnclave
from common.messages.evidence import SgxReferenceValue, TcbStatus, TdxReferenceValue, TrustLevel
from tests.fakes.defective_evidence import MR_ENCLAVE, REPORT_DATA, Forge


@pytest.fixture(scope="module")
def claims(tmp_path_factory: pytest.TempPathFactory) -> SgxClaims:
    forge = Forge.make(Path(tmp_path_factory.mktemp("platform")) / "cpu")
    claims = verify_quote(forge.evidence(), (forge.platform.allowed_root,), int(time.time()))
    assert isinstance(claims, SgxClaims)
    return claims


GOOD = SgxReferenceValue(mr_enclave=MR_ENCLAVE)


def _code(claims: SgxClaims, reference: SgxReferenceValue | TdxReferenceValue) -> str:
    with pytest.raises(AppraisalError) as refused:
        appraise(claims, reference)
    return refused.value.code


def test_what_was_expected_passes(claims: SgxClaims) -> None:
    appraise(claims, GOOD)


def test_other_code_is_refused(claims: SgxClaims) -> None:
    assert _code(claims, SgxReferenceValue(mr_enclave=MrEnclave("0" * 64))) == "appraisal.measurement"


def test_debug_is_refused_whatever_the_reference_says(claims: SgxClaims) -> None:
    debug = replace(claims, attributes=b"\x07" + claims.attributes[1:])
    assert _code(debug, GOOD.model_copy(update={"attribute_flags": 7})) == "appraisal.debug"


@pytest.mark.parametrize("change", [{"attributes": b"\x15" + bytes(15)}, {"misc_select": 1}])
def test_other_attributes_are_refused(claims: SgxClaims, change: dict[str, object]) -> None:
    assert _code(replace(claims, **change), GOOD) == "appraisal.measurement"  # type: ignore[arg-type]


def test_a_tcb_status_is_accepted_by_name_only(claims: SgxClaims) -> None:
    old = replace(claims, tcb_status=TcbStatus.OUT_OF_DATE)
    assert _code(old, GOOD) == "appraisal.tcb_status"
    appraise(old, GOOD.model_copy(update={"accepted_tcb_statuses": (TcbStatus.OUT_OF_DATE,)}))


def test_a_reference_of_another_platform_is_no_reference(claims: SgxClaims) -> None:
    zero = HexBytes48("0" * 96)
    assert _code(claims, TdxReferenceValue(mr_td=zero, rtmrs=(zero,) * 4)) == "appraisal.measurement"


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
