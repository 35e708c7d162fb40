"""What a quote's attributes lay open to whoever runs the host, and which terms name it (side: verifier).

Nothing of it is accepted unnamed, and terms add up: what one party names the next one's terms still refuse. Sources:
Intel SDM vol. 3D, ATTRIBUTES; Intel TDX module ABI specification, ATTRIBUTES and MRSERVICETD.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from common.dcap.quote_format import UnverifiedQuote
from common.errors import AppraisalError
from common.identifiers import HexBytes48
from common.messages.reference_values import TD_MIGRATABLE, TD_PROFILING, TD_SEPT_VE_DISABLE
from common.messages.tcb_terms import Exposure, TcbTerms

_EXPECTED: Final = {
    Exposure.DEBUG: "an enclave or domain that is not in debug",
    Exposure.SEPT_VE: "SEPT_VE_DISABLE",
    Exposure.PROFILING: "a domain that may not be profiled",
    Exposure.MIGRATION: "a domain that may not be migrated",
}


@dataclass(frozen=True, slots=True)
class Exposed:
    """What is open, and the service domain (MRSERVICETD) that is bound, if one is."""

    kinds: frozenset[Exposure] = frozenset()
    service_domain: HexBytes48 | None = None


NOT_EXPOSED: Final = Exposed()
"""As every quote should be."""


def exposed_in(quote: UnverifiedQuote) -> Exposed:
    """Read from a quote's body, whether it is authentic or not."""
    kinds = {Exposure.DEBUG} if quote.is_debug else set()
    if quote.tee == "sgx":
        return Exposed(frozenset(kinds))
    attributes = quote.td_attributes
    if not attributes & TD_SEPT_VE_DISABLE:
        kinds.add(Exposure.SEPT_VE)
    if attributes & TD_PROFILING:
        kinds.add(Exposure.PROFILING)
    if attributes & TD_MIGRATABLE:
        kinds.add(Exposure.MIGRATION)
    service = HexBytes48(quote.service_td.hex()) if any(quote.service_td) else None
    return Exposed(frozenset(kinds), service)


def require_allowed(exposed: Exposed, allowing: Iterable[TcbTerms]) -> None:
    """Raise `AppraisalError` (appraisal.debug, .td_attributes, .service_td) for what none of these terms names."""
    terms = tuple(allowing)
    unnamed = exposed.kinds.difference(*(one.dangerously_allow for one in terms))
    for kind in sorted(unnamed, key=tuple(Exposure).index):
        code = "appraisal.debug" if kind is Exposure.DEBUG else "appraisal.td_attributes"
        raise AppraisalError(code, expected=_EXPECTED[kind], seen=kind)
    domain = exposed.service_domain
    if domain is not None and not any(domain in one.service_domains for one in terms):
        raise AppraisalError("appraisal.service_td", expected="no service TD, or a named one", seen=domain)
