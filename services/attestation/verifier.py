"""Verifier (RFC 9334 section 4.1): evidence of a launch in, appraised claims out (side: enclave).

Five checks, in this order; each raises and none can be skipped:
  (1) the binding repeats the challenge: its nonce, this broker, role, subject, slot and attempt;
  (2) the quote is authentic: allowed root -> PCK -> QE -> quote, TCB level known, collateral current;
  (3) no document of its collateral is older than one seen before (`collateral`), whatever the next checks will say; nor
      where (2) refused the quote and the documents stand without it: they may be what revokes it;
  (4) all 64 bytes of report_data are the binding's, so this launch and no other asks;
  (5) the claims meet the release's reference value for the role: code, attributes, TCB; and the machine is none that
      the broker's inventory has revoked (`rules`).

What the caller must still do: spend the challenge, hold trust level and machine against the parties' terms.
"""

from collections.abc import Callable, Collection

from common.dcap import PlatformRules, QuoteClaims, appraise, require_report_data, verify_quote
from common.dcap.collateral_authenticity import standing_marks
from common.dcap.collateral_memory import marks_of
from common.dcap.completion import CompleteEvidence
from common.enclave.trust_settings import TrustSettings
from common.errors import AppraisalError, AuthenticityError
from common.identifiers import Digest, PartyKey
from common.messages.collateral import CollateralMark
from common.messages.launch_binding import LaunchBinding
from common.messages.release import Release
from services.attestation.challenges import OpenChallenge


def verify_launch(
    evidence: CompleteEvidence,
    binding: LaunchBinding,
    challenge: OpenChallenge,
    *,
    broker: Digest,
    trust: TrustSettings,
    release: Release,
    rules: PlatformRules,
    at: int,
    require_not_older: Callable[[Collection[CollateralMark]], None],
) -> QuoteClaims:
    """Make all five checks at time `at`. `require_not_older` makes the third, and remembers.

    Raises `AppraisalError` (1, 2, 4, 5), `AuthenticityError` (2), `FreshnessError` or `FormatError` (2, 3).
    """
    seen = (binding.nonce, binding.broker, binding.role, binding.subject, binding.slot, binding.attempt)
    expected = (challenge.nonce, broker, challenge.role, challenge.subject, challenge.slot, challenge.attempt)
    if seen != expected:  # (1)
        raise AppraisalError("appraisal.binding", expected="the challenge's launch", seen=_text(binding))
    try:
        claims = verify_quote(evidence, trust.allowed_roots, at, release.terms_of(binding.role))  # (2)
    except (AppraisalError, AuthenticityError):
        require_not_older(standing_marks(evidence.collateral, trust.allowed_roots, at))  # (3)
        raise
    require_not_older(marks_of(evidence.collateral))  # (3)
    require_report_data(claims, binding.report_data())  # (4)
    appraise(claims, release.reference(binding.role, claims.trust_level), rules, at)  # (5)
    return claims


def _text(binding: LaunchBinding) -> str:
    signing: PartyKey = binding.signing_public
    return f"{binding.role} {binding.slot}, attempt {binding.attempt} of {binding.subject}, launch {signing}"
