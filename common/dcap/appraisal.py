"""Is an authentic quote what was expected? (side: verifier; RFC 9334 section 4, appraisal of evidence)."""

import hmac

from common.dcap.claims import QuoteClaims, SgxClaims, TdxClaims
from common.errors import AppraisalError
from common.messages.evidence import REPORT_DATA_BYTES, ReferenceValue, SgxReferenceValue, TdxReferenceValue, TrustLevel


def appraise(claims: QuoteClaims, reference: ReferenceValue) -> None:
    """Hold claims against a reference value of the same platform.

    In this order, each raises `AppraisalError`:
    (1) debug bit clear; (2) measurement (all registers); (3) attributes; (4) TCB status among the accepted ones.

    What is *not* checked: `report_data` (`require_report_data`), the trust level (`require_trust_level`).
    """
    if claims.is_debug:  # (1)
        raise AppraisalError("appraisal.debug")
    if isinstance(claims, SgxClaims) and isinstance(reference, SgxReferenceValue):
        _require_sgx(claims, reference)
    elif isinstance(claims, TdxClaims) and isinstance(reference, TdxReferenceValue):
        _require_equal((claims.mr_td, claims.rtmrs), (reference.mr_td, reference.rtmrs))  # (2)
    else:
        raise AppraisalError("appraisal.measurement", expected=f"a {reference.type} quote", seen=claims.platform)
    if claims.tcb_status not in reference.accepted_tcb_statuses:  # (4)
        raise AppraisalError(
            "appraisal.tcb_status",
            expected=[str(status) for status in reference.accepted_tcb_statuses],
            seen=claims.tcb_status,
        )


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


def _require_sgx(claims: SgxClaims, reference: SgxReferenceValue) -> None:
    _require_equal(claims.mr_enclave, reference.mr_enclave)  # (2)
    _require_equal(
        (claims.attribute_flags, claims.misc_select),  # (3)
        (reference.attribute_flags, reference.misc_select),
    )


def _require_equal(seen: object, expected: object) -> None:
    if seen != expected:
        raise AppraisalError("appraisal.measurement", expected=expected, seen=seen)
