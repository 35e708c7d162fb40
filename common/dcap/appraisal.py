"""Is an authentic quote what was expected? (side: verifier; RFC 9334 section 4, appraisal of evidence)."""

import hmac

from common.dcap.claims import QuoteClaims, SgxClaims, TdxClaims
from common.dcap.platform_rules import PlatformRules, machines_of, require_unrevoked
from common.dcap.tcb_appraisal import require_tcb
from common.errors import AppraisalError
from common.messages.evidence import REPORT_DATA_BYTES, TrustLevel
from common.messages.reference_values import (
    ReferenceValue,
    SgxReferenceValue,
    SgxSignerReferenceValue,
    TdxReferenceValue,
)
from common.messages.tcb_terms import Exposure


def appraise(claims: QuoteClaims, reference: ReferenceValue, rules: PlatformRules, at: int) -> None:
    """Hold claims against a reference value of the same platform at time `at` (Unix seconds), and the machine against
    the verifier's rules.

    In this order, each raises `AppraisalError`:
    (1) debug bit clear, unless the reference value's own terms name it (appraisal.debug);
    (2) the code: measurement, or signer, product and security version; registers (appraisal.measurement);
    (3) what no measurement covers: attributes, MISCSELECT, XFRM or XFAM, the TDX module (appraisal.attributes);
    (4) the inventory of machines has not revoked this one (appraisal.platform_revoked);
    (5) the machine meets the reference value's own TCB terms, and those of the verifier (`require_tcb`).

    What is *not* checked: `report_data` (`require_report_data`), the trust level (`require_trust_level`), TCB terms of
    others than the verifier (the broker asks `require_tcb` for each owner and provider).
    """
    if claims.is_debug and Exposure.DEBUG not in reference.tcb.dangerously_allow:  # (1)
        raise AppraisalError("appraisal.debug")
    match claims, reference:
        case SgxClaims(), SgxReferenceValue():
            _require_measurement(claims.mr_enclave, reference.mr_enclave)  # (2)
            _require_sgx_attributes(claims, reference)  # (3)
        case SgxClaims(), SgxSignerReferenceValue():
            _require_signer(claims, reference)  # (2)
            _require_sgx_attributes(claims, reference)  # (3)
        case TdxClaims(), TdxReferenceValue():
            _require_registers(claims, reference)  # (2)
            _require_td_attributes(claims, reference)  # (3)
        case _:
            raise AppraisalError("appraisal.measurement", expected=f"a {reference.type} quote", seen=claims.platform)
    require_unrevoked(machines_of(claims.machine), rules.inventory)  # (4)
    for terms in (reference.tcb, *rules.terms):
        require_tcb(claims.machine, terms, rules.inventory, at)  # (5)


def require_report_data(claims: QuoteClaims, expected: bytes) -> None:
    """Raise `AppraisalError` (appraisal.binding) unless the quote binds exactly these 64 bytes."""
    if len(expected) != REPORT_DATA_BYTES:
        raise ValueError(f"report data has {REPORT_DATA_BYTES} bytes")
    if not hmac.compare_digest(claims.report_data, expected):
        raise AppraisalError("appraisal.binding", expected=expected.hex(), seen=claims.report_data.hex())


def require_trust_level(level: TrustLevel, floor: TrustLevel) -> None:
    """Raise `AppraisalError` (appraisal.trust_level) when `level` is weaker than `floor`."""
    if level.rank < floor.rank:
        raise AppraisalError("appraisal.trust_level", expected=f"{floor} or stronger", seen=level)


def _require_measurement(seen: object, expected: object) -> None:
    if seen != expected:
        raise AppraisalError("appraisal.measurement", expected=expected, seen=seen)


def _require_signer(claims: SgxClaims, reference: SgxSignerReferenceValue) -> None:
    _require_measurement((claims.mr_signer, claims.isv_prod_id), (reference.mr_signer, reference.isv_prod_id))
    if claims.isv_svn < reference.min_isv_svn:
        expected = f"security version {reference.min_isv_svn} or later"
        raise AppraisalError("appraisal.measurement", expected=expected, seen=claims.isv_svn)


def _require_registers(claims: TdxClaims, reference: TdxReferenceValue) -> None:
    _require_measurement(claims.mr_td, reference.mr_td)
    for seen, expected in zip(claims.rtmrs, reference.rtmrs, strict=True):
        if expected is not None:
            _require_measurement(seen, expected)
    _require_measurement(
        (claims.mr_config_id, claims.mr_owner, claims.mr_owner_config),
        (reference.mr_config_id, reference.mr_owner, reference.mr_owner_config),
    )


def _require_sgx_attributes(claims: SgxClaims, reference: SgxReferenceValue | SgxSignerReferenceValue) -> None:
    _require_attributes(
        (claims.attribute_flags, claims.misc_select), (reference.attribute_flags, reference.misc_select)
    )
    _require_features(claims.xfrm, reference.required_xfrm, reference.allowed_xfrm)


def _require_td_attributes(claims: TdxClaims, reference: TdxReferenceValue) -> None:
    _require_attributes((claims.td_attributes,), (reference.td_attributes,))
    _require_features(claims.xfam, reference.required_xfam, reference.allowed_xfam)
    _require_module(claims, reference)


def _require_module(claims: TdxClaims, reference: TdxReferenceValue) -> None:
    if claims.mr_signer_seam != reference.mr_signer_seam:
        raise AppraisalError("appraisal.attributes", expected=reference.mr_signer_seam, seen=claims.mr_signer_seam)
    if claims.module_version < reference.min_module_version:
        expected = f"TDX module {reference.min_module_version} or later"
        raise AppraisalError("appraisal.attributes", expected=expected, seen=claims.module_version)
    if reference.mr_seams and claims.mr_seam not in reference.mr_seams:
        raise AppraisalError("appraisal.attributes", expected=reference.mr_seams, seen=claims.mr_seam)


def _require_attributes(seen: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if seen != expected:
        raise AppraisalError("appraisal.attributes", expected=list(map(hex, expected)), seen=list(map(hex, seen)))


def _require_features(seen: int, required: int, allowed: int) -> None:
    """XFRM or XFAM: which processor state the code was given."""
    if seen & required != required or seen & ~allowed:
        expected = f"{required:#x} and nothing beyond {allowed:#x}"
        raise AppraisalError("appraisal.attributes", expected=expected, seen=hex(seen))
