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
from common.messages.reference_values import TD_DEBUG, TD_MIGRATABLE, TD_PROFILING, TD_SEPT_VE_DISABLE
from common.messages.tcb_terms import Exposure, TcbTerms

_EXPECTED: Final = {
    Exposure.DEBUG: "an enclave or domain that is not in debug",
    Exposure.SEPT_VE: "SEPT_VE_DISABLE",
    Exposure.PROFILING: "a domain that may not be profiled",
    Exposure.MIGRATION: "a domain that may not be migrated",
}


_OPENING: Final = {Exposure.DEBUG: TD_DEBUG, Exposure.PROFILING: TD_PROFILING, Exposure.MIGRATION: TD_MIGRATABLE}
_JUDGED: Final = TD_SEPT_VE_DISABLE | TD_DEBUG | TD_PROFILING | TD_MIGRATABLE


@dataclass(frozen=True, slots=True)
class Exposed:
    """What is open, and the service domain (MRSERVICETD) that is bound, if one is."""

    kinds: frozenset[Exposure] = frozenset()
    service_domain: HexBytes48 | None = None


NOT_EXPOSED: Final = Exposed()
"""As every quote should be."""


def exposed_in(quote: UnverifiedQuote) -> Exposed:
    """Read from a quote's body, whether it is authentic or not."""
    if quote.tee == "sgx":
        return Exposed(frozenset({Exposure.DEBUG})) if quote.is_debug else NOT_EXPOSED
    attributes, service = quote.td_attributes, quote.service_td
    if attributes & _JUDGED == TD_SEPT_VE_DISABLE and not any(service):
        return NOT_EXPOSED
    kinds = {kind for kind, bits in _OPENING.items() if attributes & bits}
    if not attributes & TD_SEPT_VE_DISABLE:
        kinds.add(Exposure.SEPT_VE)
    return Exposed(frozenset(kinds), HexBytes48(service.hex()) if any(service) else None)


def require_allowed(exposed: Exposed, allowing: Iterable[TcbTerms]) -> None:
    """Raise `AppraisalError` (appraisal.debug, .td_attributes, .service_td) for what none of these terms names."""
    if exposed is NOT_EXPOSED:
        return
    terms = tuple(allowing)
    unnamed = exposed.kinds.difference(*(one.dangerously_allow for one in terms))
    for kind in sorted(unnamed, key=tuple(Exposure).index):
        code = "appraisal.debug" if kind is Exposure.DEBUG else "appraisal.td_attributes"
        raise AppraisalError(code, expected=_EXPECTED[kind], seen=kind)
    domain = exposed.service_domain
    if domain is not None and not any(domain in one.service_domains for one in terms):
        raise AppraisalError("appraisal.service_td", expected="no service TD, or a named one", seen=domain)
