"""Trust domains of a test platform: what is accepted, and one defect for each rule."""

import dcap_qvl
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from common.dcap import NO_PLATFORM_RULES, TdxClaims, appraise, verify_quote
from common.dcap.engine import verify_with_engine
from common.enclave.simulated_quote import encode_report
from common.errors import AppraisalError, AuthenticityError, FormatError, Refusal
from common.identifiers import HexBytes48
from common.messages.evidence import SgxDcapEvidence, TrustLevel
from common.messages.reference_values import TD_SEPT_VE_DISABLE, TdxReferenceValue
from tests.fakes.defective_evidence import defects
from tests.fakes.evidence_forge import KINDS, MR_ENCLAVE, REPORT_DATA, Forge, Kind
from tests.fakes.tdx_quotes import TEE_SVN, sign_td_quote


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    return Forge.make(tmp_path_factory.mktemp("platform") / "cpu").of("tdx v4")


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_domain_is_what_it_claims(forge: Forge, kind: Kind) -> None:
    claims = verify_quote(forge.of(kind).evidence(), forge.roots, forge.time)
    assert isinstance(claims, TdxClaims)
    assert claims.trust_level is TrustLevel.SIMULATION
    assert (claims.mr_td, claims.rtmrs[1], claims.report_data) == ("11" * 48, "22" * 48, REPORT_DATA)
    assert (claims.td_attributes, claims.xfam, claims.tee_tcb_svn) == (TD_SEPT_VE_DISABLE, 0x618E7, TEE_SVN)
    rtmrs = ("21" * 48, "22" * 48, "23" * 48, "00" * 48)
    one, two, three, four = map(HexBytes48, rtmrs)
    reference = TdxReferenceValue(mr_td=HexBytes48("11" * 48), rtmrs=(one, two, three, four))
    appraise(claims, reference, NO_PLATFORM_RULES, forge.time)


@pytest.mark.parametrize("version", [4, 5])
def test_sgx_bodies_in_later_quotes_are_refused_for_the_engine_does_not_know_them(forge: Forge, version: int) -> None:
    pki, body = forge.platform.pki, encode_report(MR_ENCLAVE.raw(), REPORT_DATA)
    quote = sign_td_quote(body, forge.platform.attestation_key, pki.pck.key, pki.pck_chain, version=version, tee=0)
    with pytest.raises(FormatError, match=r"format\.quote"):
        verify_quote(SgxDcapEvidence(quote=quote, collateral=pki.collateral(forge.at)), forge.roots, forge.time)
    root = pki.root.certificate.public_bytes(Encoding.DER)
    with pytest.raises(AuthenticityError) as refused:
        verify_with_engine(quote, pki.collateral(forge.at), root, forge.time)
    assert "SGX TEE quote must have version 3" in str(refused.value.seen)


@pytest.mark.parametrize("bit", [1, 8, 32])
def test_reserved_attributes_are_refused_by_the_engine(forge: Forge, bit: int) -> None:
    reserved = forge.evidence(report=forge.td_report(attributes=TD_SEPT_VE_DISABLE | 1 << bit))
    with pytest.raises(AuthenticityError, match=r"authenticity\.quote"):
        verify_quote(reserved, forge.roots, forge.time)


def test_the_engine_has_no_setting_that_lets_pass_what_it_refuses() -> None:
    """Of debug, SEPT_VE_DISABLE and service domains. When it learns one, `exposed_quote` may go."""
    settings = {
        name for kind in (dcap_qvl.QuoteVerifier, dcap_qvl.QuotePolicy) for name in vars(kind) if name[0] != "_"
    }
    assert settings == {
        "verify_with_policy", "strict", "claims_only", "allow_status", "reject_advisory", "reject_advisories",
        "platform_grace_period", "qe_grace_period", "min_tcb_eval_data_number", "allow_dynamic_platform",
        "allow_cached_keys", "allow_smt", "accepted_sgx_types",
    }  # fmt: skip


def test_a_root_allowed_for_sgx_does_not_vouch_for_a_domain(forge: Forge) -> None:
    with pytest.raises(AppraisalError, match=r"appraisal\.root"):
        verify_quote(forge.evidence(), (forge.platform.allowed_root,), forge.time)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_each_defect_is_refused_by_its_rule(forge: Forge, kind: Kind) -> None:
    for name, (code, evidence) in defects(forge.of(kind)).items():
        with pytest.raises(Refusal) as refused:
            verify_quote(evidence, forge.roots, forge.time)
        assert refused.value.code == code, name


def test_no_byte_that_is_signed_may_change(forge: Forge) -> None:
    good = forge.of("tdx v5 of TD 1.5").evidence()
    for position in range(0, 48 + 6 + 648, 5):
        changed = bytearray(good.quote)
        changed[position] ^= 0x80
        with pytest.raises(Refusal):
            verify_quote(good.model_copy(update={"quote": bytes(changed)}), forge.roots, forge.time)


def test_another_domain_is_not_expected(forge: Forge) -> None:
    claims = verify_quote(forge.evidence(report=forge.td_report(mr_td=bytes(48))), forge.roots, forge.time)
    zero = HexBytes48("0" * 96)
    reference = TdxReferenceValue(mr_td=HexBytes48("1" * 96), rtmrs=(zero,) * 4)
    with pytest.raises(AppraisalError, match=r"appraisal\.measurement"):
        appraise(claims, reference, NO_PLATFORM_RULES, forge.time)
