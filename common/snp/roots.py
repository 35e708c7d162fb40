"""AMD's roots (ARK) are pinned by key, one for each product line, and the key decides the trust level (side: verifier).

A root is allowed for one line alone: Milan's key vouches for no Genoa.
"""

from collections.abc import Collection
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from common.errors import AppraisalError
from common.identifiers import Digest
from common.messages.evidence import TrustLevel
from common.messages.snp_reference_values import SnpProduct

ARK_KEY_SHA256: Final = MappingProxyType({
    SnpProduct.MILAN: Digest("9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9"),
    SnpProduct.GENOA: Digest("429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831"),
    SnpProduct.TURIN: Digest("4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08"),
})  # fmt: skip
"""SHA-256 of the DER SubjectPublicKeyInfo of the second certificate at
https://kdsintf.amd.com/vcek/v1/{Milan,Genoa,Turin}/cert_chain, which microsoft/TEE-Attestation-Verification
(src/pinned_arks) and google/go-sev-guest (verify/trust) carry alike."""


@dataclass(frozen=True, slots=True)
class SnpRoot:
    """A root whose reports are accepted, for one product line."""

    product: SnpProduct
    key_sha256: Digest


def amd_roots() -> tuple[SnpRoot, ...]:
    """The only roots that make a real machine."""
    return tuple(SnpRoot(product, key) for product, key in ARK_KEY_SHA256.items())


def trust_level_of(root: SnpRoot) -> TrustLevel:
    """AMD's key for this line makes a TEE real. Every other root, whoever allows it, is a simulation."""
    return TrustLevel.SEV_SNP if ARK_KEY_SHA256[root.product] == root.key_sha256 else TrustLevel.SIMULATION


def require_allowed_root(root: SnpRoot, roots: Collection[SnpRoot]) -> None:
    """Raise `AppraisalError` (appraisal.root) unless `roots` names this key for this line."""
    if root not in roots:
        allowed = sorted(f"{one.product} {one.key_sha256}" for one in roots)
        raise AppraisalError("appraisal.root", expected=allowed, seen=f"{root.product} {root.key_sha256}")
