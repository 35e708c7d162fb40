"""Intel DCAP: is a quote authentic, what does it claim, and is that what was expected? (side: verifier).

Pure: bytes and a time in, claims out, or an exception. `engine` is the one door to dcap-qvl; `verification` is the
numbered plan of what else a quote must satisfy; `appraisal` holds the claims against a reference value and the machine
against the verifier's `platform_rules`, `tcb_appraisal` the machine against terms.
"""

from common.dcap.appraisal import appraise, require_report_data, require_trust_level
from common.dcap.claims import PlatformClaims, QuoteClaims, SgxClaims, TdxClaims
from common.dcap.platform_rules import NO_PLATFORM_RULES, PlatformRules
from common.dcap.roots import INTEL_ROOT_KEY_SHA256, intel_roots
from common.dcap.tcb_appraisal import require_tcb
from common.dcap.verification import verify_quote

__all__ = [
    "INTEL_ROOT_KEY_SHA256",
    "NO_PLATFORM_RULES",
    "PlatformClaims",
    "PlatformRules",
    "QuoteClaims",
    "SgxClaims",
    "TdxClaims",
    "appraise",
    "intel_roots",
    "require_report_data",
    "require_tcb",
    "require_trust_level",
    "verify_quote",
]
