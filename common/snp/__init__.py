"""AMD SEV-SNP: is a report authentic, what does it claim, and is that what was expected? (side: verifier).

Pure: bytes and a time in, claims out, or an exception. `verification` is the numbered plan of what a report must
satisfy; `appraisal` holds the claims against a reference value, and the machine against its terms. No broker admits
such guests yet (docs/sev-snp.md).
"""

from common.snp.appraisal import appraise, require_report_data
from common.snp.claims import MachineClaims, SnpClaims
from common.snp.roots import ARK_KEY_SHA256, SnpRoot, amd_roots
from common.snp.verification import verify_report

__all__ = [
    "ARK_KEY_SHA256",
    "MachineClaims",
    "SnpClaims",
    "SnpRoot",
    "amd_roots",
    "appraise",
    "require_report_data",
    "verify_report",
]
