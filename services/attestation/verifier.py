"""Verifier (RFC 9334 section 4.1): evidence of a launch in, appraised claims out (side: enclave).

Four checks, in this order; each raises and none can be skipped:
  (1) the binding repeats the challenge: its nonce, this broker, role, subject, slot and attempt;
  (2) the quote is authentic: allowed root -> PCK -> QE -> quote, TCB level known, collateral current;
  (3) all 64 bytes of report_data are the binding's, so this launch and no other asks;
  (4) the claims meet the release's reference value for the role: code, attributes, TCB.

What the caller must still do: spend the challenge, hold trust level and machine against the parties' terms, and the
collateral against what was seen before (`collateral`).
"""

from common.dcap import QuoteClaims, appraise, require_report_data, verify_quote
from common.dcap.completion import CompleteEvidence
from common.enclave.trust_settings import TrustSettings
from common.errors import AppraisalError
from common.identifiers import Digest, MrEnclave, PartyKey
from common.messages.attestation import LaunchBinding
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
    at: int,
) -> QuoteClaims:
    """Make all four checks at time `at`.

    Raises `AppraisalError` (1 to 4), `AuthenticityError`, `FreshnessError` or `FormatError` (2).
    """
    seen = (binding.nonce, binding.broker, binding.role, binding.subject, binding.slot, binding.attempt)
    expected = (challenge.nonce, broker, challenge.role, challenge.subject, challenge.slot, challenge.attempt)
    if seen != expected:  # (1)
        raise AppraisalError("appraisal.binding", expected="the challenge's launch", seen=_text(binding))
    claims = verify_quote(evidence, trust.allowed_roots, at)  # (2)
    require_report_data(claims, binding.report_data())  # (3)
    appraise(claims, release.reference(binding.role, claims.trust_level), at)  # (4)
    return claims


def measurement_of(claims: QuoteClaims) -> MrEnclave:
    """The measurement as members and manifests name it. Raises `AppraisalError` for a platform without MRENCLAVE."""
    if claims.platform != "sgx":
        raise AppraisalError("appraisal.measurement", expected="an sgx quote", seen=claims.platform)
    return MrEnclave(claims.measurement)


def _text(binding: LaunchBinding) -> str:
    signing: PartyKey = binding.signing_public
    return f"{binding.role} {binding.slot}, attempt {binding.attempt} of {binding.subject}, launch {signing}"
