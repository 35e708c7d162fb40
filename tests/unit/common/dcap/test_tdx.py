"""Trust domains of a test platform: what is accepted, and one defect for each rule."""

import time
from dataclasses import replace

import pytest

from common.dcap import TdxClaims, appraise, verify_quote
from common.errors import AppraisalError, FormatError, Refusal
from common.identifiers import HexBytes48
from common.messages.evidence import AllowedRoot, TrustLevel
from common.messages.reference_values import TD_SEPT_VE_DISABLE, TdxReferenceValue
from tests.fakes.defective_evidence import REPORT_DATA, Forge
from tests.fakes.tdx_quotes import TEE_SVN, TdReport, domains, sgx_in_later_quote, tdx_evidence

NOW = int(time.time())


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    return Forge.make(tmp_path_factory.mktemp("platform") / "cpu")


def roots(forge: Forge) -> tuple[AllowedRoot, ...]:
    key = forge.platform.allowed_root.root_key_sha256
    return tuple(AllowedRoot(platform=tee, root_key_sha256=key) for tee in ("sgx", "tdx"))


@pytest.mark.parametrize(("version", "extended"), [(4, False), (5, False), (5, True)])
def test_a_domain_is_what_it_claims(forge: Forge, version: int, *, extended: bool) -> None:
    claims = verify_quote(tdx_evidence(forge, version=version, extended=extended), roots(forge), NOW)
    assert isinstance(claims, TdxClaims)
    assert claims.trust_level is TrustLevel.SIMULATION
    assert (claims.mr_td, claims.rtmrs[1], claims.report_data) == ("11" * 48, "22" * 48, REPORT_DATA)
    assert (claims.td_attributes, claims.xfam, claims.tee_tcb_svn) == (TD_SEPT_VE_DISABLE, 0x618E7, TEE_SVN)
    rtmrs = ("21" * 48, "22" * 48, "23" * 48, "00" * 48)
    one, two, three, four = map(HexBytes48, rtmrs)
    appraise(claims, TdxReferenceValue(mr_td=HexBytes48("11" * 48), rtmrs=(one, two, three, four)), NOW)


@pytest.mark.parametrize("version", [4, 5])
def test_sgx_bodies_in_later_quotes_are_refused_for_the_engine_does_not_know_them(forge: Forge, version: int) -> None:
    with pytest.raises(FormatError, match=r"format\.quote"):
        verify_quote(sgx_in_later_quote(forge, version), roots(forge), NOW)


def test_a_root_allowed_for_sgx_does_not_vouch_for_a_domain(forge: Forge) -> None:
    with pytest.raises(AppraisalError, match=r"appraisal\.root"):
        verify_quote(tdx_evidence(forge), (forge.platform.allowed_root,), NOW)


def test_each_defect_is_refused_by_its_rule(forge: Forge) -> None:
    for name, (code, evidence) in domains(forge).items():
        with pytest.raises(Refusal) as refused:
            verify_quote(evidence, roots(forge), NOW)
        assert refused.value.code == code, name


def test_no_byte_that_is_signed_may_change(forge: Forge) -> None:
    good = tdx_evidence(forge, version=5, extended=True)
    for position in range(0, 48 + 6 + 648, 5):
        changed = bytearray(good.quote)
        changed[position] ^= 0x80
        with pytest.raises(Refusal):
            verify_quote(good.model_copy(update={"quote": bytes(changed)}), roots(forge), NOW)


def test_another_domain_is_not_expected(forge: Forge) -> None:
    claims = verify_quote(tdx_evidence(forge, replace(TdReport(), mr_td=bytes(48))), roots(forge), NOW)
    zero = HexBytes48("0" * 96)
    with pytest.raises(AppraisalError, match=r"appraisal\.measurement"):
        appraise(claims, TdxReferenceValue(mr_td=HexBytes48("1" * 96), rtmrs=(zero,) * 4), NOW)
