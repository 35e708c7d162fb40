"""Roots are pinned by key, and the key alone decides how far their quotes are to be trusted (side: verifier)."""

from collections.abc import Collection
from typing import Final, Literal

from common.errors import AppraisalError
from common.identifiers import Digest
from common.messages.evidence import AllowedRoot, TrustLevel

Tee = Literal["sgx", "tdx"]

INTEL_ROOT_PUBLIC_POINT: Final = bytes.fromhex(
    "040ba9c4c0c0c86193a3fe23d6b02cda10a8bbd4e88e48b4458561a36e705525f5"
    "67918e2edc88e40d860bd0cc4ee26aacc988e505a953558c453f6b0904ae7394"
)
"""Intel SGX Root CA, uncompressed P-256 point: `INTEL_ROOT_PUB_KEY` in Intel's own verification library
(intel/SGXDataCenterAttestationPrimitives, QuoteVerification), equal in both encodings of the certificate at
https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.cer."""

INTEL_ROOT_KEY_SHA256: Final = Digest("a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e")
"""SHA-256 of the DER SubjectPublicKeyInfo of that point."""


def trust_level_of(root_key: Digest, tee: Tee) -> TrustLevel:
    """Intel's key makes a TEE real. Every other root, whoever allows it, is a simulation."""
    return TrustLevel(tee) if root_key == INTEL_ROOT_KEY_SHA256 else TrustLevel.SIMULATION


def intel_roots() -> tuple[AllowedRoot, ...]:
    """The only roots that production accepts."""
    return tuple(AllowedRoot(platform=tee, root_key_sha256=INTEL_ROOT_KEY_SHA256) for tee in ("sgx", "tdx"))


def require_allowed_root(root_key: Digest, tee: Tee, roots: Collection[AllowedRoot]) -> None:
    """Raise `AppraisalError` (appraisal.root) unless `roots` names this key for this TEE."""
    if AllowedRoot(platform=tee, root_key_sha256=root_key) not in roots:
        allowed = sorted(f"{root.platform} {root.root_key_sha256}" for root in roots)
        raise AppraisalError("appraisal.root", expected=allowed, seen=f"{tee} {root_key}")
