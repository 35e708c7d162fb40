"""NVIDIA GPUs and switches: are reports authentic, of one host, and of what was expected? (side: verifier).

Pure: bytes and a time in, claims out, or an exception. `verification` is the numbered plan for one report, `host` for
all of a host beside its processor's evidence, `appraisal` for each party's terms. `rim` reads reference values,
`revocation` OCSP answers; both are signed and come from wherever they were kept.
"""

from common.nvidia.appraisal import appraise_host
from common.nvidia.claims import CompositeClaims, DeviceClaims, GpuClaims, HostClaims, SwitchClaims
from common.nvidia.host import gpu_nonce, verify_beside, verify_host
from common.nvidia.roots import NVIDIA_ROOTS
from common.nvidia.verification import verify_device

__all__ = [
    "NVIDIA_ROOTS",
    "CompositeClaims",
    "DeviceClaims",
    "GpuClaims",
    "HostClaims",
    "SwitchClaims",
    "appraise_host",
    "gpu_nonce",
    "verify_beside",
    "verify_device",
    "verify_host",
]
