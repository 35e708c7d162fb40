"""Which machines a verifier accepts, whatever code runs on them (side: verifier).

One extracted PCK signs what it likes, for every role. So whoever verifies a quote, of whichever enclave, holds its
machine against the same two things: the inventory of machines that the release keys sign, and TCB terms. `appraise`
asks for both; that a verifier has neither is something that it must say (`NO_PLATFORM_RULES`).
"""

from dataclasses import dataclass
from typing import Final

from common.dcap.claims import PlatformClaims
from common.dcap.tcb_appraisal import TCB_REFUSALS
from common.errors import AppraisalError
from common.identifiers import PlatformId
from common.messages.platform_inventory import NO_INVENTORY, PlatformInventory
from common.messages.tcb_terms import TcbTerms


@dataclass(frozen=True, slots=True)
class PlatformRules:
    """The newest inventory that a verifier has seen, and terms of its own beside those of the release."""

    inventory: PlatformInventory
    terms: tuple[TcbTerms, ...] = ()


NO_PLATFORM_RULES: Final = PlatformRules(NO_INVENTORY)
"""Of a verifier that has seen no inventory and has no terms."""

PLATFORM_REFUSALS: Final = frozenset({"appraisal.platform_revoked", "freshness.inventory", *TCB_REFUSALS})
"""Codes that speak of the machine alone, and of what is known of machines."""


def require_unrevoked(machines: frozenset[PlatformId], inventory: PlatformInventory) -> None:
    """Raise `AppraisalError` (appraisal.platform_revoked) where the inventory has revoked one of these machines."""
    seen = sorted(machines & set(inventory.revoked))
    if seen:
        raise AppraisalError("appraisal.platform_revoked", expected="a machine that is not revoked", seen=seen)


def require_acceptable(machines: frozenset[PlatformId], rules: PlatformRules) -> None:
    """Hold machines against the rules that no quote is there of, by name alone: none is revoked, and none denied.

    Raises `AppraisalError` (appraisal.platform_revoked, appraisal.platform).
    """
    require_unrevoked(machines, rules.inventory)
    denied = sorted(machines & {one for terms in rules.terms for one in terms.denied_platforms})
    if denied:
        raise AppraisalError("appraisal.platform", expected="a platform that is not denied", seen=denied)


def machines_of(claims: PlatformClaims) -> frozenset[PlatformId]:
    """All names of a machine."""
    return frozenset(claims.platform_ids)
