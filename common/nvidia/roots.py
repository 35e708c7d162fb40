"""NVIDIA's two roots, pinned by key: one for devices, one for reference values (side: verifier)."""

from typing import Final

from common.identifiers import Digest
from common.messages.evidence import TrustLevel
from common.messages.gpu_evidence import GpuRoots

NVIDIA_ROOTS: Final = GpuRoots(
    device_key_sha256=Digest("a90c4eb5acfd3e3d03a25db6a26b84f720ad0503196c627c21ddd48dd85b06a4"),
    rim_key_sha256=Digest("dec1dc316477aa851eebdf51327ae9f864bc8d89254657ed1e7eb9168af1e1a3"),
)
"""SHA-256 of the DER SubjectPublicKeyInfo of "NVIDIA Device Identity CA" and "NVIDIA CoRIM signing Root CA":
`DEVICE_ROOT_CERT` and `RIM_ROOT_CERT` in NVIDIA's attestation SDK (src/internal/certs.h, commit 73c032ebff68). The only
roots that production accepts."""


def is_real(roots: GpuRoots) -> bool:
    """NVIDIA's keys make a GPU real. Every other pair, whoever allows it, is a simulation."""
    return roots == NVIDIA_ROOTS


def trust_level_with(cpu: TrustLevel, roots: GpuRoots) -> TrustLevel:
    """A processor's trust level, once its GPUs were verified under these roots: what is not real lowers it."""
    return cpu if is_real(roots) else TrustLevel.SIMULATION
