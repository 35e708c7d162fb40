"""Is an authentic report what was expected? (side: verifier; RFC 9334 section 4, appraisal of evidence)."""

import hmac

from common.errors import AppraisalError
from common.messages.evidence import REPORT_DATA_BYTES
from common.messages.snp_reference_values import SevSnpReferenceValue, SnpTcb, SnpTerms
from common.messages.tcb_terms import Exposure
from common.snp.bit_fields import GuestPolicy
from common.snp.claims import MachineClaims, SnpClaims


def appraise(claims: SnpClaims, reference: SevSnpReferenceValue) -> None:
    """Hold claims against a reference value. In this order, each raises `AppraisalError`:

    (1) nothing lies open to the host by the guest's policy but what the value names (appraisal.debug, .guest);
    (2) the code: launch measurement, host data, ID and author key, security version (appraisal.measurement);
    (3) the guest: one socket where that is wanted, and a report from a level that speaks for it (appraisal.guest);
    (4) the machine meets the value's terms (`require_machine`).

    What is *not* checked: `report_data` (`require_report_data`), the trust level, FAMILY_ID and IMAGE_ID (names that
    the signer of an ID block chose).
    """
    require_closed(claims.policy, reference.dangerously_allow)  # (1)
    seen = (claims.mr_launch, claims.host_data, claims.id_key_digest, claims.author_key_digest)
    expected = (reference.measurement, reference.host_data, reference.id_key_digest, reference.author_key_digest)
    if seen != expected:  # (2)
        raise AppraisalError("appraisal.measurement", expected=" ".join(expected), seen=" ".join(seen))
    if claims.guest_svn < reference.min_guest_svn:  # (2)
        least = f"security version {reference.min_guest_svn} or later"
        raise AppraisalError("appraisal.measurement", expected=least, seen=claims.guest_svn)
    if reference.single_socket and not claims.policy.single_socket:  # (3)
        raise AppraisalError("appraisal.guest", expected="a guest that stays on one socket", seen=claims.policy)
    if claims.vmpl > reference.max_vmpl:  # (3)
        level = f"a report from privilege level {reference.max_vmpl} or stronger"
        raise AppraisalError("appraisal.guest", expected=level, seen=claims.vmpl)
    require_machine(claims.machine, reference.terms)  # (4)


def require_machine(machine: MachineClaims, terms: SnpTerms) -> None:
    """Hold a machine against terms. In this order, each raises `AppraisalError`:

    (a) its product line is accepted, and its chip not denied, and listed where any are (appraisal.platform);
    (b) each component of each of its four TCB versions is the floor's or later (appraisal.firmware);
    (c) it is configured as the terms want it (appraisal.platform_configuration).
    """
    floors = [one.least for one in terms.floors if one.product is machine.product]
    if not floors:  # (a)
        raise AppraisalError("appraisal.platform", expected=[one.product for one in terms.floors], seen=machine.product)
    if machine.chip in terms.denied_chips or (terms.chips and machine.chip not in terms.chips):  # (a)
        raise AppraisalError("appraisal.platform", expected="a chip that terms accept", seen=machine.chip)
    for name, tcb in machine.tcbs.items():
        if not all(_reaches(tcb, floor) for floor in floors):  # (b)
            raise AppraisalError("appraisal.firmware", expected=f"{name} TCB of {floors[0]} or later", seen=tcb)
    missing = sorted(set(terms.features) - machine.info.features)
    if missing or (machine.info.smt and not terms.smt):  # (c)
        expected = f"{', '.join(terms.features) or 'any machine'}{'' if terms.smt else ', no SMT'}"
        raise AppraisalError("appraisal.platform_configuration", expected=expected, seen=machine.info)


def require_closed(policy: GuestPolicy, allowing: tuple[Exposure, ...]) -> None:
    """Raise `AppraisalError` (appraisal.debug, appraisal.guest) for what a policy opens and nobody named."""
    for opening in sorted(policy.openings.difference(allowing)):
        code = "appraisal.debug" if opening is Exposure.DEBUG else "appraisal.guest"
        raise AppraisalError(code, expected=f"a guest without {opening}", seen=policy)


def require_report_data(claims: SnpClaims, expected: bytes) -> None:
    """Raise `AppraisalError` (appraisal.binding) unless the report binds exactly these 64 bytes."""
    if len(expected) != REPORT_DATA_BYTES:
        raise ValueError(f"report data has {REPORT_DATA_BYTES} bytes")
    if not hmac.compare_digest(claims.report_data, expected):
        raise AppraisalError("appraisal.binding", expected=expected.hex(), seen=claims.report_data.hex())


def _reaches(seen: SnpTcb, floor: SnpTcb) -> bool:
    return all(getattr(seen, name) >= least for name, least in floor)
