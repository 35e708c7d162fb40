"""Is the machine good enough for these terms, and what lies open on it? (side: verifier).

Terms add up: a launch is held against those of its release, of every owner and of the provider, each by itself.
"""

from typing import Final

from common.dcap.claims import PlatformClaims
from common.dcap.exposure import require_allowed
from common.errors import AppraisalError
from common.messages.platform_inventory import PlatformInventory
from common.messages.tcb_terms import TcbTerms, TcbTolerance

TCB_REFUSALS: Final = (
    "appraisal.tcb_evaluation",
    "appraisal.platform",
    "appraisal.platform_configuration",
    "appraisal.tcb_status",
    "appraisal.advisory",
)
"""What `require_tcb` says of the machine alone; (7) is about what runs on it."""


def require_tcb(machine: PlatformClaims, terms: TcbTerms, inventory: PlatformInventory, at: int) -> None:
    """Hold a machine against terms at time `at` (Unix seconds). In this order, each raises `AppraisalError`:

    (1) the collateral is of an evaluation that is recent enough (appraisal.tcb_evaluation);
    (2) its FMSPC is not denied, and allowed where any are named (appraisal.platform);
    (3) likewise the platform itself, by PPID or platform instance id, and where the terms want that, the inventory
        knows it (appraisal.platform);
    (4) its configuration is accepted: dynamic platform, cached keys, SMT (appraisal.platform_configuration);
    (5) its TCB status is accepted, or tolerated now (appraisal.tcb_status);
    (6) no advisory that is rejected applies to it (appraisal.advisory);
    (7) nothing lies open to its host but what the terms name (appraisal.debug, .td_attributes, .service_td).
    """
    if machine.tcb_evaluation < terms.min_tcb_evaluation:  # (1)
        expected = f"evaluation {terms.min_tcb_evaluation} or later"
        raise AppraisalError("appraisal.tcb_evaluation", expected=expected, seen=machine.tcb_evaluation)
    _require_listed({machine.fmspc}, terms.allowed_fmspcs, terms.denied_fmspcs)  # (2)
    _require_listed(set(machine.platform_ids), terms.platforms, terms.denied_platforms)  # (3)
    if terms.inventory and not set(machine.platform_ids) & set(inventory.platforms):  # (3)
        seen = sorted(machine.platform_ids)
        raise AppraisalError("appraisal.platform", expected="a platform of the installation's inventory", seen=seen)
    _require_configuration(machine, terms)  # (4)
    if machine.tcb_status not in terms.accepted_statuses and not _is_tolerated(machine, terms, at):  # (5)
        raise AppraisalError("appraisal.tcb_status", expected=_accepted(terms), seen=_status(machine))
    rejected = set(machine.advisory_ids) & set(terms.rejected_advisories)
    if rejected:  # (6)
        raise AppraisalError("appraisal.advisory", expected="none of the rejected advisories", seen=sorted(rejected))
    require_allowed(machine.exposed, (terms,))  # (7)


def _require_listed(seen: set[str], allowed: tuple[str, ...], denied: tuple[str, ...]) -> None:
    if seen & set(denied):
        raise AppraisalError("appraisal.platform", expected="a platform that is not denied", seen=sorted(seen))
    if allowed and not seen & set(allowed):
        raise AppraisalError("appraisal.platform", expected="a platform that is listed", seen=sorted(seen))


def _require_configuration(machine: PlatformClaims, terms: TcbTerms) -> None:
    for name, accepted, is_so in (
        ("a dynamic platform", terms.dynamic_platform, machine.dynamic),
        ("cached keys", terms.cached_keys, machine.cached_keys),
        ("SMT", terms.smt, machine.smt),
    ):
        if is_so and not accepted:
            raise AppraisalError("appraisal.platform_configuration", expected=f"a platform without {name}", seen=name)


def _is_tolerated(machine: PlatformClaims, terms: TcbTerms, at: int) -> bool:
    return any(
        tolerance.status == machine.tcb_status and _holds(tolerance, machine, at) for tolerance in terms.tolerances
    )


def _holds(tolerance: TcbTolerance, machine: PlatformClaims, at: int) -> bool:
    in_time = tolerance.until is None or at <= tolerance.until
    return in_time and (tolerance.min_tcb_date is None or machine.tcb_date >= tolerance.min_tcb_date)


def _accepted(terms: TcbTerms) -> list[str]:
    limits = [f"{one.status} until {one.until}, from TCB date {one.min_tcb_date}" for one in terms.tolerances]
    return [*map(str, terms.accepted_statuses), *limits]


def _status(machine: PlatformClaims) -> str:
    return f"{machine.tcb_status}, TCB date {machine.tcb_date}, {', '.join(machine.advisory_ids) or 'no advisories'}"
