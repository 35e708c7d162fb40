"""A quote and the collateral for it, from wherever, become evidence that can be verified (side: verifier).

Who brings collateral is no question of trust: all of it is signed by Intel and checked with the quote.
"""

from common.dcap.quote_format import parse_quote
from common.errors import FormatError
from common.messages.evidence import Collateral, DcapQuote, Evidence, SgxDcapEvidence, TdxDcapEvidence

CompleteEvidence = SgxDcapEvidence | TdxDcapEvidence


def complete_evidence(evidence: Evidence, offered: Collateral | None = None) -> CompleteEvidence:
    """Evidence with its own collateral, or else with what the host offers.

    Raises `FormatError` (format.collateral) when there is neither, (format.quote) for what is no quote.
    """
    if not isinstance(evidence, DcapQuote):
        return evidence
    if offered is None:
        raise FormatError("format.collateral", expected="evidence with collateral, or a host that has it")
    kind = SgxDcapEvidence if parse_quote(evidence.quote).tee == "sgx" else TdxDcapEvidence
    return kind(quote=evidence.quote, collateral=offered)
