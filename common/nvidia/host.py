"""Are these all GPUs of one host, asked for this launch? (side: verifier)

A GPU's report says nothing of the host. What binds them is one nonce: the digest of what the processor's evidence
binds, its report data, which in turn stands for the launch, its keys and the verifier's challenge. So GPUs are asked
after the processor, and answer for this evidence of it and no other. That both are of one machine follows from the code
that the processor measured: it asks the GPUs that it then uses. Host code that relays another machine's GPU is not told
apart by the nonce.

In this order, each raises:

  (1) every report is authentic, for one nonce (`verification`);
  (2) no device is shown twice, and there is a GPU (appraisal.gpu_set);
  (3) all GPUs are of one architecture and chip, with one driver and in one mode, as on one host (appraisal.gpu_set);
  (4) a switch that is shown is one that these GPUs are linked to (appraisal.gpu_set).

What the caller must still do: hold them against each party's terms (`appraise_host`).
"""

from typing import Protocol

from common.crypto import labels
from common.crypto.digests import sha256_raw, transcript
from common.errors import AppraisalError
from common.messages.evidence import TrustLevel
from common.messages.gpu_evidence import GpuEvidence, GpuRoots
from common.nvidia.claims import CompositeClaims, GpuClaims, HostClaims, SwitchClaims
from common.nvidia.roots import trust_level_with
from common.nvidia.verification import verify_device


class ProcessorClaims(Protocol):
    """What is used of the claims of a processor's evidence, whose own report data was held against what it binds."""

    @property
    def trust_level(self) -> TrustLevel:
        """What stands behind it."""

    @property
    def report_data(self) -> bytes:
        """What it binds."""


def gpu_nonce(report_data: bytes) -> bytes:
    """With which nonce (32 bytes) GPUs are asked beside processor evidence of this report data."""
    return sha256_raw(transcript(labels.GPU_NONCE, report_data))


def verify_beside(processor: ProcessorClaims, evidence: GpuEvidence, roots: GpuRoots, at: int) -> CompositeClaims:
    """The claims of a host whose processor's evidence is verified already. Raises what `verify_host` raises."""
    host = verify_host(evidence, gpu_nonce(processor.report_data), roots, at)
    return CompositeClaims(trust_level=trust_level_with(processor.trust_level, roots), host=host)


def verify_host(evidence: GpuEvidence, nonce: bytes, roots: GpuRoots, at: int) -> HostClaims:
    """The claims of all devices that were asked with this nonce. `at` is Unix time in seconds.

    Raises what `verify_device` raises (1), or `AppraisalError` (2, 3, 4).
    """
    devices = [verify_device(one, roots, nonce, at) for one in evidence.devices]  # (1)
    gpus = tuple(one for one in devices if isinstance(one, GpuClaims))
    switches = tuple(one for one in devices if isinstance(one, SwitchClaims))
    if not gpus or len({one.device for one in devices}) != len(devices):  # (2)
        raise AppraisalError(
            "appraisal.gpu_set", expected="GPUs, each device once", seen=[one.device for one in devices]
        )
    kinds = {(one.architecture, one.chip, one.fields.driver_version, one.fields.mode) for one in gpus}
    if len(kinds) != 1:  # (3)
        raise AppraisalError(
            "appraisal.gpu_set", expected="one architecture, driver and mode", seen=sorted(map(str, kinds))
        )
    linked = frozenset[str]().union(*(one.fields.switches for one in gpus))
    if not {one.fields.pdi for one in switches} <= linked:  # (4)
        raise AppraisalError("appraisal.gpu_set", expected=f"switches of {sorted(linked)}", seen=_names(switches))
    return HostClaims(gpus=gpus, switches=switches)


def _names(switches: tuple[SwitchClaims, ...]) -> list[str]:
    return sorted(one.fields.pdi for one in switches)
